"""The base class of every mask objective: a learner of the segmenter, and whether it reads the masks' confidence."""

from typing import Any

from torch import Tensor

from labelfactory.learning.learner import Learner
from models.grids import resample
from models.segmenters import Segmenter


class MaskObjective(Learner):
    """How a segmenter is trained on masks. A subclass writes `forward`; its knobs are the fields of `Config`.

    A batch holds ``image`` [B, 3, H, W] float32 in [0, 255], ``mask`` [B, H, W] uint8, 255 void, ``trust`` [B, H, W] float32
    in [0, 1], and ``index`` [B] int64.

    Args:
        network: the segmenter.
        config: the method's knobs.
    """

    network: Segmenter

    def __init__(self, network: Segmenter, config: Any) -> None:
        super().__init__(network)
        self.config = config

    @staticmethod
    def reads_trust(config: Any) -> bool:
        """Whether `trust` is the stored confidence of each mask; else it is 1 everywhere."""
        return False

    def logits(self, images: Tensor) -> Tensor:
        """Logits [B, n_classes, H, W] float32, one value per pixel, of images [B, 3, H, W]."""
        size = (images.shape[-2], images.shape[-1])
        return resample(self.network(images).float(), stride=self.network.stride, image_size=size, size=size)
