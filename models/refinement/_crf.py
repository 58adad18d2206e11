"""Parts that the dense CRFs share: parameters, unary energies, and checks."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelfactory.errors import ShapeError
from labelfactory.settings.params import Section
from labelfactory.settings.registry import MethodConfig

LEAST_SCORE = 1e-5
"""Scores are clipped to this before the logarithm, as in pydensecrf's own `unary_from_softmax`."""


class CrfConfig(Section):
    """Parameters of the dense CRF; a kernel with compat 0 is left out.

    Values in print (steps; sxy, compat; sxy, srgb, compat): PSA on CAM scores 10; 3, 3; 80, 13, 10. IRN on labels, with
    gt_prob 0.7: 10; 3, 3; 50, 5, 10. DeepLab v2: 10; 3, 1; 67, 3, 4.
    """

    steps: int = Field(ge=0, le=100, description="mean-field iterations")
    gaussian_sxy: float = Field(gt=0, description="reach of the smoothness kernel, pixels")
    gaussian_compat: float = Field(ge=0, description="weight of the smoothness kernel")
    bilateral_sxy: float = Field(gt=0, description="reach of the appearance kernel, pixels")
    bilateral_srgb: float = Field(gt=0, description="reach of the appearance kernel, grey levels")
    bilateral_compat: float = Field(ge=0, description="weight of the appearance kernel")

    def scaled(self, factor: float) -> "CrfConfig":
        """The same parameters for a photograph resized by `factor`: both reaches in pixels are multiplied by it."""
        reach = {"gaussian_sxy": self.gaussian_sxy * factor, "bilateral_sxy": self.bilateral_sxy * factor}
        return self.model_copy(update=reach)

    def reaches(self) -> dict[str, float]:
        """What the kernels depend on."""
        return {name: getattr(self, name) for name in ("gaussian_sxy", "bilateral_sxy", "bilateral_srgb")}


class CrfMethodConfig(MethodConfig):
    """Knobs of a method that is a dense CRF."""

    unary: Literal["labels", "scores"] = Field(
        default="labels", description="the unary energy: from the labels, or from the scores"
    )
    gt_prob: float = Field(default=0.7, gt=0, lt=1, description="with `labels`, the probability that a label is right")
    crf: CrfConfig = Field(
        default=CrfConfig(
            steps=10, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=50, bilateral_srgb=5, bilateral_compat=10
        ),
        description="the CRF on the whole photograph; a mapping says what differs",
    )


def energy_of_scores(image: NDArray[np.uint8], scores: NDArray[np.floating]) -> NDArray[np.float32]:
    """-log of scores [K, H, W], clipped at 1e-5, float32.

    Raises:
        ShapeError: image and scores differ in size, or there is no channel.
    """
    check_sizes(image, scores.shape[1:], scores.shape[0])
    energy: NDArray[np.float32] = -np.log(np.clip(scores.astype(np.float32), LEAST_SCORE, None))
    return energy


def energy_of_labels(
    image: NDArray[np.uint8], labels: NDArray[np.integer], channels: int, *, gt_prob: float
) -> NDArray[np.float32]:
    """-log of `label_probabilities`, [K, H, W] float32.

    Raises:
        ShapeError: image and labels differ in size, or a label is out of range.
        ValueError: `gt_prob` is not in (0, 1).
    """
    probabilities = label_probabilities(labels, channels, gt_prob=gt_prob)
    check_sizes(image, labels.shape, channels)
    energy: NDArray[np.float32] = -np.log(probabilities)
    return energy


def label_probabilities(labels: NDArray[np.integer], channels: int, *, gt_prob: float) -> NDArray[np.float32]:
    """Spread a labelling [H, W] to [K, H, W] float32: `gt_prob` at the label, the rest shared by the other channels.

    Raises:
        ShapeError: a label is not in 0..channels - 1.
        ValueError: `gt_prob` is not in (0, 1).
    """
    if not 0.0 < gt_prob < 1.0:
        raise ValueError(f"gt_prob must lie between 0 and 1, got {gt_prob}")
    if labels.ndim != 2 or channels < 1 or (labels.size and not 0 <= labels.min() <= labels.max() < channels):
        raise ShapeError(f"labels must be [H, W] channel numbers under {channels}, got {list(labels.shape)}")
    if channels == 1:
        return np.ones((1, *labels.shape), dtype=np.float32)
    table = np.full((channels, channels), (1.0 - gt_prob) / (channels - 1), dtype=np.float32)
    np.fill_diagonal(table, gt_prob)
    return np.ascontiguousarray(table[:, labels])


def check_sizes(image: NDArray[np.uint8], size: tuple[int, ...], channels: int) -> None:
    """Compare an image with the [H, W] of its scores.

    Raises:
        ShapeError: not an [H, W, 3] uint8 image of that size, or no channel.
    """
    if image.dtype != np.uint8 or image.shape != (*size, 3) or len(size) != 2 or channels < 1:
        raise ShapeError(f"image {image.dtype}{list(image.shape)} with scores of {channels} channels of {list(size)}")
