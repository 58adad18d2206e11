"""CPN: the CAMs of two complementary halves of an image, patch by patch, must add up to the CAM of the image.

Source  Zhang et al., ICCV 2021, arXiv:2108.03852, and the authors' code (Ferenas/CPN): half of the patches of an image are
        hidden in one copy, the others in a second; the losses of the tags and of the lowest places are means over the three,
        as in SEAM. TCP: L1 distance of the image's CAM to the sum of the copies' CAMs, each times the share of the image that
        its copy shows; the copies' CAMs get no gradient. The same of refined CAMs, with gradients. CPCR: what the image's CAM
        has beyond one copy's must be the refined CAM of the other copy; of these differences the largest 20 % count. CAMs are
        stretched to [0, 1], those that are not tagged are 0; the background is 1 − the highest. Terms have weight 1; none of
        these is a knob.
        Deviations: patches are cells of a grid of random fineness (theirs: about 300 superpixels, or a grid of 1 or 2 patches
        a side); the CAM is refined by SEAM's pixel correlation alone, without the region's part that they add to it; CAMs are
        compared on the network's grid; hidden pixels take the backbone's mean colour.
"""

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.grids import aligned_size, resize_images
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective
from models.objectives._erasing import erase
from models.objectives.seam import SeamClassifier, hardest_mean, lowest_mean, stretch

LOWEST = 0.25
"""Share of the places that are taken to show no tagged object."""


class Config(MethodConfig):
    """Knobs of `cpn`."""

    finest: int = Field(default=16, ge=2, le=64, description="most patches on a side of the view; at least 2")
    hardest: float = Field(
        default=0.2, gt=0, le=1, description="share of the largest differences that CPCR learns from"
    )


class Cpn(Objective):
    """The losses of the image and its two copies, and the distances between their CAMs."""

    network: SeamClassifier
    config: Config
    share_multiple = 0  # it draws patches

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> SeamClassifier:
        """The classifier with a pixel correlation module, whose own maps are the refined CAMs."""
        return SeamClassifier(backbone, n_classes)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags``, ``min_pool``, ``sum`` and ``rest``."""
        target, tagged = batch["target"], batch["target"][:, :, None, None]
        size = aligned_size(*batch["image"].shape[-2:], stride=self.network.backbone.output_stride)
        images = resize_images(batch["image"], size)
        hidden = random_patches(len(images), size, self.config.finest, images.device)
        colour, shown = self.network.backbone.mean, 1 - hidden.mean(dim=(1, 2, 3), keepdim=True)
        views = [
            self.network.view(x) for x in (images, erase(images, hidden, colour), erase(images, 1 - hidden, colour))
        ]
        shares = [torch.ones_like(shown), shown, 1 - shown]
        cams = [stretch(view.evidence) * tagged * share for view, share in zip(views, shares, strict=True)]
        refined = [stretch(view.refined[:, 1:]) * tagged * share for view, share in zip(views, shares, strict=True)]
        distances = ((cams[1] + cams[2]).detach() - cams[0]).abs().mean() + (
            refined[1] + refined[2] - refined[0]
        ).abs().mean()
        rests = [rest(cams[0], cams[one], refined[other]) for one, other in ((1, 2), (2, 1))]
        return {
            "tags": torch.stack([multilabel_soft_margin(view.logits, target) for view in views]).mean(),
            "min_pool": torch.stack([lowest_mean(view.refined[:, 1:] * tagged, LOWEST) for view in views]).mean(),
            "sum": distances,
            "rest": torch.stack([hardest_mean(difference, self.config.hardest) for difference in rests]).sum(),
        }


def random_patches(count: int, size: tuple[int, int], finest: int, device: torch.device) -> Tensor:
    """[count, 1, *size] of 0 and 1: a grid of 2 to `finest` patches a side, each 1 with a probability of one half."""
    grids = []
    for _ in range(count):
        side = int(torch.randint(2, finest + 1, ()))
        grids.append(F.interpolate(torch.randint(0, 2, (1, 1, side, side)).float(), size=size, mode="nearest"))
    return torch.cat(grids).to(device)


def rest(whole: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """How far a copy's maps are from what the image's have beyond the other copy's: [B, 1 + C, h, w] of maps [B, C, h, w].

    Of that rest, in which the background takes part, the strongest class keeps a place; it gets no gradient.
    """
    shows = [torch.cat([1 - maps.amax(dim=1, keepdim=True), maps], dim=1) for maps in (whole, one, other)]
    beyond = (shows[0] - shows[1]).detach()
    beyond = beyond * (beyond == beyond.amax(dim=1, keepdim=True))
    return (beyond - shows[2]).abs()
