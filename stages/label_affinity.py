"""Keep of each seed what can be trusted; what lies between is void.

Reads   data/dataset           photographs of the training list
        data/cams              cam [K, h, w] float16 in [0, 1], class_ids [K] uint8
        data/seed_thresholds   the two thresholds of method irn
Writes  data/affinity_labels   label: mask [h, w] uint8 over the whole photograph, at `scale` times its size, 255 void
Source  irn: Ahn et al., CVPR 2019, arXiv:1904.05044. psa: Ahn & Kwak, CVPR 2018, arXiv:1803.10464.
        Deviation: the CRF may look at a smaller photograph; its reach in pixels shrinks with it.
"""

from typing import Literal

from pydantic import Field

from labelfactory.dataset.images import shrink
from labelfactory.rows.columns import MaskColumn
from labelfactory.rows.shards import Row, Sample
from labelfactory.schema import VOID, labels_from_channels
from labelfactory.settings.params import Section
from labelfactory.settings.thresholds import read_thresholds, thresholds_digest
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import main
from models.affinity_labels import irn, psa
from models.refinement.dense_crf import CrfConfig
from models.seeds import scores_at_size


class LabelAffinityConfig(Section):
    """Section `label_affinity` of params.yaml."""

    method: Literal["irn", "psa"]
    scale: float = Field(gt=0, le=1)  # of the photograph that the CRF looks at
    gt_prob: float = Field(gt=0, lt=1)  # irn: how far the CRF trusts a label
    alpha_low: float = Field(gt=0)  # psa: exponent of the strong background
    alpha_high: float = Field(gt=0)  # psa: exponent of the weak background
    crf: CrfConfig


class LabelAffinity(PerImageStage[LabelAffinityConfig]):
    """Makes the labels that AffinityNet learns from."""

    reads = ("dataset", "cams", "seed_thresholds")
    writes = "affinity_labels"
    reads_rows = ("cams",)
    columns = {"label": MaskColumn()}
    uses_gpu = False

    def fixed(self) -> dict[str, str]:
        """The thresholds."""
        return {"thresholds": thresholds_digest(self.folder("seed_thresholds"))}

    def setup(self) -> None:
        """Read the thresholds and scale the CRF."""
        self.thresholds = read_thresholds(self.folder("seed_thresholds"))
        self.crf = self.cfg.crf.scaled(self.cfg.scale)

    def process(self, sample: Sample) -> Row:
        """Confident labels of one photograph."""
        image = shrink(sample.photograph(), self.cfg.scale)
        cam = scores_at_size(sample.of("cams")["cam"], image.shape[:2])
        if self.cfg.method == "irn":
            channels = irn.confident_labels(
                image,
                cam,
                crf=self.crf,
                foreground=self.thresholds["affinity_foreground"].value,
                background=self.thresholds["affinity_background"].value,
                gt_prob=self.cfg.gt_prob,
            )
        else:
            channels = psa.confident_labels(
                image, cam, crf=self.crf, alpha_low=self.cfg.alpha_low, alpha_high=self.cfg.alpha_high
            )
        void = channels == VOID
        channels[void] = 0
        label = labels_from_channels(channels, sample.of("cams")["class_ids"])
        label[void] = VOID
        return {"label": label}


if __name__ == "__main__":
    main(LabelAffinity)
