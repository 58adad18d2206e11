"""OAA+: while CAMs are accumulated, what the last map of a tag marks is often hidden, so that the next map lies elsewhere.

Source  Jiang et al., TPAMI 2021, "Online Attention Accumulation for Weakly Supervised Semantic Segmentation" (not on arXiv),
        and the authors' code (PengtaoJiang/OAA-PyTorch): before a step, with probability 0.5, pixels of the image where the
        last accumulated map of one of its tags, divided by its maximum, is above 0.6 are set to the mean colour. The integral
        attention that follows is that of `oaa`.
        Deviations: those of `oaa`; pixels are hidden only until the attention loss begins, which sees whole images, as theirs.
Memory  twice that of `oaa`.
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from labelfactory.learning.learner import Batch, Terms
from models.classifier import Classifier
from models.objectives import oaa
from models.objectives._erasing import erase
from models.objectives._map_memory import MapMemory, cut_windows
from models.objectives.oaa import Oaa


class Config(oaa.Config):
    """Knobs of `oaa_plus`: those of `oaa`, and of what is hidden."""

    drop_rate: float = Field(default=0.5, ge=0, le=1, description="probability that pixels of an image are hidden")
    drop_threshold: float = Field(default=0.6, gt=0, lt=1, description="pixels whose last map is above this are hidden")


class OaaPlus(Oaa):
    """The terms of `oaa`, of images that are partly hidden at first.

    Attributes:
        newest: the last map that was accumulated, of each tag.
    """

    config: Config
    share_multiple = 0  # it draws a number for each image

    def __init__(self, network: Classifier, config: Any, *, targets: Tensor, epochs: int) -> None:
        super().__init__(network, config, targets=targets, epochs=epochs)
        self.newest = MapMemory(targets, config.grid)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags`` and ``attention``; the latter is 0 in the epochs before it begins."""
        if int(self.finished) >= self.start:
            return super().forward(batch)
        hidden = erase(batch["image"], self.hidden(batch), self.network.backbone.mean)
        return super().forward({**batch, "image": hidden})

    def hidden(self, batch: Batch) -> Tensor:
        """[B, 1, H, W] of 0 and 1: the pixels of a batch that are hidden in this step."""
        size = batch["image"].shape[-2:]
        whole = self.newest.of_batch(batch["index"], batch["target"])
        maps = cut_windows(whole, batch["window"], stride=1, size=size, cells=size)
        drawn = (torch.rand(len(maps)) < self.config.drop_rate).to(maps.device)
        marked = maps.amax(dim=1, keepdim=True) > self.config.drop_threshold
        return (marked & drawn[:, None, None, None]).float()

    def take_in(self, index: int, tags: Tensor, maps: Tensor) -> None:
        """Accumulate maps, and keep them as the newest ones."""
        super().take_in(index, tags, maps)
        self.newest.replace(index, tags, maps)
