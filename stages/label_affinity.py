"""Keep the confident pixels of each seed; the others are void.

Reads   data/dataset           photographs of the training list
        data/cams              cam [K, h, w] float16 in [0, 1], class_ids [K] uint8
        data/seed_thresholds   the two thresholds of method irn
Writes  data/affinity_labels   label: mask [h, w] uint8 over the whole photograph, at `scale` times its size, 255 void
Source  irn: Ahn et al., CVPR 2019, arXiv:1904.05044. psa: Ahn & Kwak, CVPR 2018, arXiv:1803.10464.
        Deviation: the CRF may run on a smaller photograph; its kernels in pixels scale with it.
"""

from pydantic import Field

from labelfactory.dataset.images import shrink
from labelfactory.rows.columns import MaskColumn
from labelfactory.rows.shards import Row, Sample
from labelfactory.schema import VOID, labels_from_channels
from labelfactory.settings.params import Section
from labelfactory.settings.registry import method_of
from labelfactory.settings.thresholds import read_thresholds, thresholds_digest
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import main
from models.seeds import scores_at_size


class LabelAffinityConfig(Section):
    """Section `label_affinity` of params.yaml."""

    moved = dict.fromkeys(("gt_prob", "alpha_low", "alpha_high", "crf"), "method")

    method: method_of("models.affinity_labels") = Field(description="two thresholds, or two exponents")  # type: ignore[valid-type]
    scale: float = Field(gt=0, le=1, description="scale of the photograph for the CRF and its kernels")


class LabelAffinity(PerImageStage[LabelAffinityConfig]):
    """Makes the training labels of AffinityNet."""

    reads = ("dataset", "cams", "seed_thresholds")
    writes = "affinity_labels"
    reads_rows = ("cams",)
    columns = {"label": MaskColumn()}
    uses_gpu = False

    def fixed(self) -> dict[str, str]:
        """The thresholds."""
        return {"thresholds": thresholds_digest(self.folder("seed_thresholds"))}

    def setup(self) -> None:
        """Read the thresholds."""
        thresholds = read_thresholds(self.folder("seed_thresholds"))
        self.thresholds = {name: threshold.value for name, threshold in thresholds.items()}

    def process(self, sample: Sample) -> Row:
        """Confident labels of one photograph."""
        image = shrink(sample.photograph(), self.cfg.scale)
        cam = scores_at_size(sample.of("cams")["cam"], image.shape[:2])
        label_of = self.cfg.method.bind("confident_labels")
        channels = label_of(image, cam, thresholds=self.thresholds, scale=self.cfg.scale)
        void = channels == VOID
        channels[void] = 0
        label = labels_from_channels(channels, sample.of("cams")["class_ids"])
        label[void] = VOID
        return {"label": label}


if __name__ == "__main__":
    main(LabelAffinity)
