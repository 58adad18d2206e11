"""L2G: CAMs of parts of the image show more detail than that of the whole; a head that sees the whole learns to give them.

Source  Jiang et al., CVPR 2022, arXiv:2204.03206 (its abstract was read), and the authors' code without saliency
        (PengtaoJiang/L2G): six crops of an image, four in its corners and two at random, with sides of 320 of 448 pixels, learn
        the image's tags; their CAMs, of the tags, divided by their maxima, of which each place keeps the highest, are the
        targets of the soft-max over classes of the whole image's maps, by 10 times the mean squared difference.
        Deviations: one network has both maps, a linear layer for the crops and a head for the whole (theirs: two networks, of
        which the global one learns from the crops alone); the linear layer learns the tags of the whole image too; the
        target of the background, which theirs leaves to a channel that nothing teaches, is 1 minus the highest map; the map is
        the head's probability; crops lie on the cells of the whole image's grid.
Time    of a step: that of the image and of the crops, which is four times that of the image with the defaults.
"""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.classifier import Classifier
from models.grids import aligned_size, resize_images
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective
from models.objectives._maps import relative


class Config(MethodConfig):
    """Knobs of `l2g`; defaults are the authors'."""

    patches: int = Field(
        default=6, ge=1, le=32, description="crops of an image: its corners first, others at random places"
    )
    share: float = Field(default=0.714, gt=0, lt=1, description="side of a crop as a share of the image's")
    weight: float = Field(default=10.0, gt=0, le=1000, description="weight of the squared difference of the maps")


class GlobalClassifier(Classifier):
    """A classifier with a head for the class of each place of a whole image; its own maps are that head's probabilities."""

    def __init__(self, backbone: Backbone, n_classes: int) -> None:
        super().__init__(backbone, n_classes)
        self.whole = nn.Conv2d(backbone.head_channels, 1 + n_classes, 1)
        nn.init.normal_(self.whole.weight, std=0.01)
        nn.init.zeros_(self.whole.bias)  # type: ignore[arg-type]

    def probabilities(self, features: Tensor) -> Tensor:
        """[B, 1 + C, h, w] float32, the background first, of features [B, D, h, w] of whole images."""
        logits: Tensor = self.whole(features)
        return logits.float().softmax(dim=1)

    def maps(self, images: Tensor) -> Tensor:
        """The probability of each class at each place, [B, C, h, w] float32."""
        return self.probabilities(self.activation(images))[:, 1:]


class L2g(Objective):
    """The tag losses of the image and its crops, and the difference of their maps."""

    network: GlobalClassifier
    config: Config
    share_multiple = 0  # crops lie at random places

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> GlobalClassifier:
        """The classifier with its head for whole images."""
        return GlobalClassifier(backbone, n_classes)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags``, ``local`` and ``transfer``."""
        network, target, stride = self.network, batch["target"], self.network.backbone.output_stride
        images = resize_images(batch["image"], aligned_size(*batch["image"].shape[-2:], stride=stride))
        features = network.activation(images)
        probabilities = network.probabilities(features)
        sides = [crop_cells(cells, self.config.share) for cells in features.shape[-2:]]
        corners = crop_places(features.shape[-2:], sides, self.config.patches)
        pixels = [(side - 1) * stride + 1 for side in sides]
        local = network.activation(cut(images, [(top * stride, left * stride) for top, left in corners], pixels))
        tags = target.repeat(len(corners), 1)
        expected = local_targets(network.evidence(local).detach(), tags)
        return {
            "tags": multilabel_soft_margin(network.logits(features), target),
            "local": multilabel_soft_margin(network.logits(local), tags),
            "transfer": self.config.weight * (cut(probabilities, corners, sides) - expected).square().mean(),
        }


def crop_cells(cells: int, share: float) -> int:
    """Cells on a side of a crop of a grid; two at least, if there are two."""
    return min(cells, max(2, round(share * (cells - 1)) + 1))


def crop_places(grid: Sequence[int], sides: Sequence[int], count: int) -> list[tuple[int, int]]:
    """First row and column of crops with these sides [h, w]: in the four corners, then at random places."""
    bottom, right = (cells - side for cells, side in zip(grid, sides, strict=True))
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)][:count]
    drawn = [
        (int(torch.randint(bottom + 1, ())), int(torch.randint(right + 1, ()))) for _ in range(count - len(corners))
    ]
    return corners + drawn


def cut(maps: Tensor, corners: Sequence[tuple[int, int]], sides: Sequence[int]) -> Tensor:
    """[count × B, C, *sides] of maps or images [B, C, H, W]: of every crop all images, crop after crop."""
    height, width = sides
    return torch.cat([maps[..., top : top + height, left : left + width] for top, left in corners])


def local_targets(evidence: Tensor, target: Tensor) -> Tensor:
    """What the head for whole images learns: [B, 1 + C, h, w], of which a class and the background have together 1.

    Args:
        evidence: [B, C, h, w] of crops.
        target: [B, C] of 0 and 1, the tags.
    """
    maps = relative(evidence) * target[:, :, None, None]
    highest = maps.amax(dim=1, keepdim=True)
    return torch.cat([1 - highest, maps * (maps == highest)], dim=1)
