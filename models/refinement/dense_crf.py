"""The fully connected CRF: near pixels of similar colour should have the same label.

It runs on one core and holds Python's global interpreter lock: use processes, not threads. Its memory and time grow with the
number of channels, so pass only the classes that can be present.
"""

from typing import Literal

import numpy as np
import pydensecrf.densecrf as dcrf
from numpy.typing import NDArray
from pydantic import Field

from labelfactory.errors import ShapeError
from labelfactory.settings.params import Section
from labelfactory.settings.registry import MethodConfig
from models.refinement._refined import scores_with_background
from models.seeds import channels_above

_LEAST_SCORE = 1e-5
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


class Config(MethodConfig):
    """Knobs of `dense_crf`."""

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


def refine(
    image: NDArray[np.uint8],
    scores: NDArray[np.floating],
    *,
    threshold: float,
    scale: float,
    unary: Literal["labels", "scores"],
    gt_prob: float,
    crf: CrfConfig,
) -> NDArray[np.float32]:
    """Probabilities [1 + K, H, W], the background first, of scores [K, H, W] cut at the background's threshold."""
    if unary == "labels":
        labels = channels_above(scores, threshold)
        return refine_labels(image, labels, len(scores) + 1, gt_prob=gt_prob, config=crf.scaled(scale))
    return refine_scores(image, scores_with_background(scores, threshold), config=crf.scaled(scale))


def refine_scores(image: NDArray[np.uint8], scores: NDArray[np.floating], *, config: CrfConfig) -> NDArray[np.float32]:
    """Refine per-pixel scores; the unary energy is -log(score).

    Args:
        image: [H, W, 3] uint8 RGB.
        scores: [K, H, W], at least 0. They need not sum to 1 over the channels: only ratios count, but for the clip at
            1e-5.
        config: the CRF's parameters.

    Returns:
        [K, H, W] float32 probabilities, sum 1 over the channels.

    Raises:
        ShapeError: image and scores differ in size, or there is no channel.

    Source: Krähenbühl & Koltun, NIPS 2011, arXiv:1210.5644.
    """
    check_sizes(image, scores.shape[1:], scores.shape[0])
    if len(scores) == 1:
        return np.ones(scores.shape, dtype=np.float32)
    return _infer(image, -np.log(np.clip(scores.astype(np.float32), _LEAST_SCORE, None)), config)


def refine_labels(
    image: NDArray[np.uint8], labels: NDArray[np.integer], channels: int, *, gt_prob: float, config: CrfConfig
) -> NDArray[np.float32]:
    """Refine a labelling; each label is assumed to be right with probability `gt_prob`.

    Args:
        image: [H, W, 3] uint8 RGB.
        labels: [H, W] channel numbers in 0..channels - 1.
        channels: number K of channels.
        gt_prob: in (0, 1).
        config: the CRF's parameters.

    Returns:
        [K, H, W] float32 probabilities, sum 1 over the channels.

    Raises:
        ShapeError: image and labels differ in size, or a label is out of range.

    Source: Krähenbühl & Koltun, NIPS 2011, arXiv:1210.5644; the unary energy is that of pydensecrf's
    `unary_from_labels`, used so by IRN.
    """
    probabilities = label_probabilities(labels, channels, gt_prob=gt_prob)
    check_sizes(image, labels.shape, channels)
    if channels == 1:
        return probabilities
    return _infer(image, -np.log(probabilities), config)


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


def _infer(image: NDArray[np.uint8], energy: NDArray[np.float32], config: CrfConfig) -> NDArray[np.float32]:
    channels, height, width = energy.shape
    crf = dcrf.DenseCRF2D(width, height, channels)
    crf.setUnaryEnergy(np.ascontiguousarray(energy.reshape(channels, -1)))
    if config.gaussian_compat > 0:
        crf.addPairwiseGaussian(sxy=config.gaussian_sxy, compat=config.gaussian_compat)
    if config.bilateral_compat > 0:
        pixels = np.array(image, order="C")  # a copy: pydensecrf refuses read-only arrays
        crf.addPairwiseBilateral(
            sxy=config.bilateral_sxy, srgb=config.bilateral_srgb, rgbim=pixels, compat=config.bilateral_compat
        )
    return np.array(crf.inference(config.steps), dtype=np.float32).reshape(channels, height, width)
