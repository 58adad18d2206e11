"""The dense CRF of the authors' code, through pydensecrf: the reference of `dense_crf`.

The package is optional, since it has to be compiled: `pip install 'labelfactory[pydensecrf]'`. It holds Python's global interpreter
lock: use processes, not threads.
"""

import importlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from labelfactory.errors import MissingError
from models.refinement._crf import CrfConfig, CrfMethodConfig, energy_of_labels, energy_of_scores
from models.refinement._refined import scores_with_background
from models.seeds import channels_above


class Config(CrfMethodConfig):
    """Knobs of `pydensecrf`."""

    def check_packages(self) -> None:
        """Raises MissingError where the package is not there."""
        _library()


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
    """As `DenseCrf.refine_scores` of dense_crf."""
    return _infer(image, energy_of_scores(image, scores), config)


def refine_labels(
    image: NDArray[np.uint8], labels: NDArray[np.integer], channels: int, *, gt_prob: float, config: CrfConfig
) -> NDArray[np.float32]:
    """As `DenseCrf.refine_labels` of dense_crf."""
    return _infer(image, energy_of_labels(image, labels, channels, gt_prob=gt_prob), config)


def _infer(image: NDArray[np.uint8], energy: NDArray[np.float32], config: CrfConfig) -> NDArray[np.float32]:
    channels, height, width = energy.shape
    if channels == 1:
        return np.ones(energy.shape, dtype=np.float32)
    crf = _library().DenseCRF2D(width, height, channels)
    crf.setUnaryEnergy(np.ascontiguousarray(energy.reshape(channels, -1)))
    if config.gaussian_compat > 0:
        crf.addPairwiseGaussian(sxy=config.gaussian_sxy, compat=config.gaussian_compat)
    if config.bilateral_compat > 0:
        pixels = np.array(image, order="C")  # a copy: pydensecrf refuses read-only arrays
        crf.addPairwiseBilateral(
            sxy=config.bilateral_sxy, srgb=config.bilateral_srgb, rgbim=pixels, compat=config.bilateral_compat
        )
    return np.array(crf.inference(config.steps), dtype=np.float32).reshape(channels, height, width)


def _library() -> Any:
    try:
        return importlib.import_module("pydensecrf.densecrf")
    except ImportError:
        raise MissingError(
            "pydensecrf is not installed, or was not compiled",
            "Type `pip install 'labelfactory[pydensecrf]'`, which needs a C++ compiler, or take the method dense_crf.",
        ) from None
