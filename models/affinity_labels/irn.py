"""IRN's affinity labels: a high threshold for the foreground, a low one for the background, void between."""

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
    """Knobs of `irn`."""

    gt_prob: float = Field(default=0.7, gt=0, lt=1, description="for the CRF, the probability that a label is right")
    crf: CrfConfig = Field(
        default=CrfConfig(
            steps=10, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=50, bilateral_srgb=5, bilateral_compat=10
        ),
        description="the CRF on the whole photograph; a mapping says what differs",
    )


def confident_labels(
    image: NDArray[np.uint8],
    cam: NDArray[np.floating],
    *,
    thresholds: Mapping[str, float],
    scale: float,
    gt_prob: float,
    crf: CrfConfig,
) -> NDArray[np.uint8]:
    """Label the pixels that can be trusted.

    At each threshold a pixel takes its best class if that exceeds the threshold, else the background; a CRF refines
    each of the two labellings. A pixel is foreground if it has a class at the high threshold, background if it is
    background at both.

    Args:
        image: [H, W, 3] uint8 RGB.
        cam: [K, H, W] float in [0, 1] at the image's size; K = 0 for an image without tags: all background.
        thresholds: `affinity_foreground`, the high one (IRN takes 0.30), and `affinity_background` (IRN takes 0.05).
        scale: of the image against its photograph; the CRF's kernels scale with it.
        gt_prob: probability that a label is right; IRN takes 0.7.
        crf: the CRF's parameters on the whole photograph.

    Returns:
        [H, W] uint8: 0 background, k + 1 for channel k, 255 void.

    Raises:
        ShapeError: image and CAM differ in size.

    Source: Ahn et al., CVPR 2019, arXiv:1904.05044, and the authors' cam_to_ir_label.
    """
    check_cam(image, cam)
    if len(cam) == 0:
        return all_background(image)
    dense = DenseCrf(image, crf.scaled(scale))
    at_high, at_low = (
        _crf_argmax(dense, cam, thresholds[f"affinity_{side}"], gt_prob) for side in ("foreground", "background")
    )
    labels = np.where(at_high == BACKGROUND, VOID, at_high)
    labels[(at_high == BACKGROUND) & (at_low == BACKGROUND)] = BACKGROUND
    return labels.astype(np.uint8)


def _crf_argmax(dense: DenseCrf, cam: NDArray[np.floating], threshold: float, gt_prob: float) -> NDArray[np.integer]:
    seed = np.where(cam.max(axis=0) > threshold, cam.argmax(axis=0) + 1, BACKGROUND)
    best: NDArray[np.integer] = dense.refine_labels(seed, len(cam) + 1, gt_prob=gt_prob).argmax(axis=0)
    return best
