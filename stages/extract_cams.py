"""Compute the CAMs of each photograph's tags.

Reads   data/dataset      photographs and tags of the training list
        data/classifier   checkpoint
Writes  data/cams         cam [K, h, w] float16 in [0, 1] at stride 4, class_ids [K] uint8; K tags of the image
Source  Zhou et al., CVPR 2016, arXiv:1512.04150; scales × flip, ReLU, sum, division by the maximum as in Ahn & Kwak,
        CVPR 2018, arXiv:1803.10464. Deviation: the photograph is resized to k × stride + 1, see models/grids.py.
"""

from collections.abc import Hashable, Sequence
from functools import cached_property

import torch
from pydantic import Field

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.dataset.tensors import to_tensor
from labelfactory.devices import Precision
from labelfactory.rows.columns import ArrayColumn
from labelfactory.rows.shards import Row, Sample
from labelfactory.settings.params import Scales, Section
from labelfactory.settings.registry import method_of
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import main
from models.autocast import inference_precision
from models.cams import multiscale_cams, network_sizes
from models.classifier import classifier_from


class ExtractCamsConfig(Section):
    """Section `extract_cams` of params.yaml."""

    method: method_of("models.cams") = Field(description="the CAM method")  # type: ignore[valid-type]
    scales: Scales = Field(description="scales of the photograph at the network's input")
    flip: bool = Field(description="run on the mirror image too")
    precision: Precision = Field(description="of the network")
    batch_size: int = Field(ge=1, le=256, description="images in a batch, of equal input sizes")


class ExtractCams(PerImageStage[ExtractCamsConfig]):
    """Makes the CAMs of each photograph's tags."""

    reads = ("dataset", "classifier")
    writes = "cams"
    columns = {"cam": ArrayColumn("float16"), "class_ids": ArrayColumn("uint8")}

    def fixed(self) -> dict[str, str]:
        """The classifier."""
        return {"classifier": self.passport_of("classifier").weights_digest}

    def setup(self) -> None:
        """Load the classifier."""
        state, passport = self.checkpoint_of("classifier")
        self.classifier = classifier_from(passport.architecture, state).to(self.device)

    @property
    def batch_size(self) -> int:
        """Images in a batch."""
        return self.cfg.batch_size

    def group(self, record: ImageRecord) -> Hashable:
        """Images whose inputs to the network have equal sizes."""
        return network_sizes(record.height, record.width, scales=self.cfg.scales, stride=self.net_stride)

    @cached_property
    def net_stride(self) -> int:
        """The classifier's output stride."""
        stride: int = self.passport_of("classifier").architecture["output_stride"]
        return stride

    def process_batch(self, samples: Sequence[Sample]) -> list[Row]:
        """CAMs of a batch of photographs with equal input sizes."""
        class_ids = [self.sharded.classes.ids(sample.record.tags) for sample in samples]
        photographs = [to_tensor(sample.photograph()) for sample in samples]
        first, least = photographs[0][None].to(self.device), min(self.cfg.scales)
        with inference_precision(self.cfg.precision, self.classifier, first, scale=least):
            cams = multiscale_cams(
                self.classifier,
                self.cfg.method,
                photographs,
                class_ids=[torch.from_numpy(ids.astype("int64") - 1) for ids in class_ids],
                scales=self.cfg.scales,
                flip=self.cfg.flip,
            )
        return [
            {"cam": cam.cpu().numpy().astype("float16"), "class_ids": ids}
            for cam, ids in zip(cams, class_ids, strict=True)
        ]


if __name__ == "__main__":
    main(ExtractCams)
