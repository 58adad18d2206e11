"""The fully connected CRF: near pixels of similar colour should have the same label.

It runs on one core. Its memory and time grow with the number of channels, so pass only the classes that can be present. Half of the
time goes into the two kernels, which depend on the photograph and on the reaches alone: a `DenseCrf` builds them once, for as
many runs as it is asked for. The first run on a machine compiles for some seconds.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from models.refinement._crf import CrfConfig, CrfMethodConfig, energy_of_labels, energy_of_scores
from models.refinement._refined import scores_with_background
from models.seeds import channels_above

if TYPE_CHECKING:
    from models.refinement._mean_field import Kernels


class Config(CrfMethodConfig):
    """Knobs of `dense_crf`."""


class DenseCrf:
    """The CRF over one photograph.

    Args:
        image: [H, W, 3] uint8 RGB.
        config: the CRF's parameters.

    Source: Krähenbühl & Koltun, NIPS 2011, arXiv:1210.5644. Deviations: docs/decisions/0013.
    """

    def __init__(self, image: NDArray[np.uint8], config: CrfConfig) -> None:
        self._image, self._config = image, config
        self._kernels: Kernels | None = None

    def with_config(self, config: CrfConfig) -> "DenseCrf":
        """The same photograph with other parameters; the kernels are those of this one where the reaches are."""
        other = DenseCrf(self._image, config)
        if config.reaches() == self._config.reaches():
            other._kernels = self._built()
        return other

    def refine_scores(self, scores: NDArray[np.floating]) -> NDArray[np.float32]:
        """Refine per-pixel scores; the unary energy is -log(score).

        Args:
            scores: [K, H, W], at least 0. They need not sum to 1 over the channels: only ratios count, but for the clip at
                1e-5.

        Returns:
            [K, H, W] float32 probabilities, sum 1 over the channels.

        Raises:
            ShapeError: image and scores differ in size, or there is no channel.
        """
        return self._infer(energy_of_scores(self._image, scores))

    def refine_labels(self, labels: NDArray[np.integer], channels: int, *, gt_prob: float) -> NDArray[np.float32]:
        """Refine a labelling; each label is assumed to be right with probability `gt_prob`.

        Args:
            labels: [H, W] channel numbers in 0..channels - 1.
            channels: number K of channels.
            gt_prob: in (0, 1).

        Returns:
            [K, H, W] float32 probabilities, sum 1 over the channels.

        Raises:
            ShapeError: image and labels differ in size, or a label is out of range.

        The unary energy is that of pydensecrf's `unary_from_labels`, used so by IRN.
        """
        return self._infer(energy_of_labels(self._image, labels, channels, gt_prob=gt_prob))

    def _infer(self, energy: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(energy) == 1:
            return np.ones(energy.shape, dtype=np.float32)
        from models.refinement._mean_field import infer  # loads numba, which commands do not need to start

        config = self._config
        return infer(
            energy,
            self._built(),
            steps=config.steps,
            gaussian_compat=config.gaussian_compat,
            bilateral_compat=config.bilateral_compat,
        )

    def _built(self) -> "Kernels":
        from models.refinement._mean_field import Kernels

        if self._kernels is None:
            self._kernels = Kernels(self._image, **self._config.reaches())
        return self._kernels


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
    dense = DenseCrf(image, crf.scaled(scale))
    if unary == "labels":
        return dense.refine_labels(channels_above(scores, threshold), len(scores) + 1, gt_prob=gt_prob)
    return dense.refine_scores(scores_with_background(scores, threshold))
