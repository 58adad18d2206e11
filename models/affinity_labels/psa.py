"""PSA's affinity labels: a CRF under a strong and under a weak background; void where the two disagree."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelfactory.schema import BACKGROUND, VOID
from labelfactory.settings.registry import MethodConfig
from models.affinity_labels._channels import all_background, check_cam
from models.refinement._crf import CrfConfig
from models.refinement.dense_crf import DenseCrf


class Config(MethodConfig):
    """Knobs of `psa`."""

    alpha_low: float = Field(default=4, gt=0, description="exponent of the strong background")
    alpha_high: float = Field(default=32, gt=0, description="exponent of the weak background")
    crf: CrfConfig = Field(
        default=CrfConfig(
            steps=10, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=80, bilateral_srgb=13, bilateral_compat=10
        ),
        description="the CRF on the whole photograph; a mapping says what differs",
    )


def confident_labels(
    image: NDArray[np.uint8],
    cam: NDArray[np.floating],
    *,
    thresholds: Mapping[str, float],
    scale: float,
    alpha_low: float,
    alpha_high: float,
    crf: CrfConfig,
) -> NDArray[np.uint8]:
    """Label the pixels that can be trusted.

    The background's score is (1 - max CAM) ** alpha, so a low alpha makes it strong and a high one weak. A pixel is
    foreground if it has a class under the strong background, background if it is background under the weak one.

    Args:
        image: [H, W, 3] uint8 RGB.
        cam: [K, H, W] float in [0, 1] at the image's size; K = 0 for an image without tags: all background.
        thresholds: not read; the methods of this family share one signature.
        scale: of the image against its photograph; the CRF's kernels scale with it.
        alpha_low: exponent of the strong background; PSA takes 4.
        alpha_high: exponent of the weak background; PSA takes 32.
        crf: the CRF's parameters on the whole photograph.

    Returns:
        [H, W] uint8: 0 background, k + 1 for channel k, 255 void.

    Raises:
        ShapeError: image and CAM differ in size.

    Source: Ahn & Kwak, CVPR 2018, arXiv:1803.10464, section 3.2. Deviation: the authors pool the CRF's scores by 8
    before the argmax; here labels have the image's size, and training chooses the grid.
    """
    check_cam(image, cam)
    if len(cam) == 0:
        return all_background(image)
    dense = DenseCrf(image, crf.scaled(scale))
    against_strong = _crf_argmax(dense, cam, alpha_low)
    against_weak = _crf_argmax(dense, cam, alpha_high)
    labels = np.where(against_strong == BACKGROUND, VOID, against_strong)
    labels[against_weak == BACKGROUND] = BACKGROUND
    return labels.astype(np.uint8)


def _crf_argmax(dense: DenseCrf, cam: NDArray[np.floating], alpha: float) -> NDArray[np.integer]:
    background = (1.0 - cam.max(axis=0, keepdims=True)).clip(0.0, 1.0) ** alpha
    best: NDArray[np.integer] = dense.refine_scores(np.concatenate([background, cam])).argmax(axis=0)
    return best
