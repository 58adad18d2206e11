"""Puzzle-CAM: the CAM of an image must be that of its tiles, put together again.

Source  Jo & Yu, ICIP 2021, arXiv:2101.11253, and the authors' code (shjo-april/PuzzleCAM): the image is cut into 2 × 2 tiles,
        the network sees each tile alone, and their class maps are joined. Losses: the tags of the whole, the tags of the
        joined map's mean, and a weight times the L1 distance of the two maps (before ReLU) of the tags, a mean over all
        classes in which others count as 0. The weight rises linearly from 0 to 4 over the first half of the training.
        Deviations: tiles share their outermost row of pixels, so that their cells are those of the whole grid, and the image
        is resized to a size that allows it; the weight rises from epoch to epoch, not from step to step.
"""

from pydantic import Field

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.grids import resize_images
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._maps import tagged_mean
from models.objectives._schedule import ScheduledObjective
from models.objectives._tiles import cut_tiles, join_tiles, tileable_size


class Config(MethodConfig):
    """Knobs of `puzzle_cam`."""

    pieces: int = Field(default=2, ge=2, le=4, description="tiles on a side of the image")
    weight: float = Field(default=4.0, ge=0, le=100, description="greatest weight of the distance between the maps")
    ramp: float = Field(default=0.5, ge=0, le=1, description="share of the epochs over which the weight rises from 0")


class PuzzleCam(ScheduledObjective):
    """The tag loss of the whole and of the joined tiles, and the distance between their maps."""

    config: Config

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags``, ``tiles`` and ``distance``."""
        target, pieces, stride = batch["target"], self.config.pieces, self.network.backbone.output_stride
        size = tileable_size(*batch["image"].shape[-2:], stride=stride, pieces=pieces)
        images = resize_images(batch["image"], size)
        features = self.network.activation(images)
        whole = self.network.evidence(features).float()
        tiles = self.network.evidence(self.network.activation(cut_tiles(images, pieces))).float()
        joined = join_tiles(tiles, pieces)
        weight = self.config.weight * self.ramp(self.config.ramp)
        return {
            "tags": multilabel_soft_margin(self.network.logits(features), target),
            "tiles": multilabel_soft_margin(joined.mean(dim=(2, 3)), target),
            "distance": weight * tagged_mean((whole - joined).abs(), target),
        }
