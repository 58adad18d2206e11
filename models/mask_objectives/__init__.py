"""Mask objectives: how a segmenter is trained on noisy masks. Each file holds one subclass of `MaskObjective`."""

from models.mask_objectives._base import MaskObjective

__all__ = ["MaskObjective"]
