"""Saliency from one photograph's spectrum: what its log amplitude has beyond its own local mean stands out.

Source  Hou & Zhang, CVPR 2007, "Saliency Detection: A Spectral Residual Approach" (no arXiv id): side of 64 pixels, mean
        over 3 × 3 frequencies; the Gaussian and the scaling to [0, 1] of the authors' published script (σ 2.5, zeros
        outside; the paper says σ 8). No label is learnt from. Deviations: the longer side, not the width, has the 64
        pixels; a photograph is never enlarged; the mean over frequencies is periodic, as the spectrum is, so that a
        mirrored photograph gives the mirrored map.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from labelfactory.settings.registry import MethodConfig

TINY = 1e-9
"""Of an amplitude; where there is none, its logarithm stays finite."""


class Config(MethodConfig):
    """Knobs of `spectral_residual`."""

    side: int = Field(default=64, ge=8, le=1024, description="longer side of the photograph it looks at, pixels")
    window: int = Field(default=3, ge=3, le=63, description="side of the mean over frequencies, odd")
    sigma: float = Field(
        default=2.5, gt=0, le=64, description="of the Gaussian over the map, pixels of that photograph"
    )

    @field_validator("window")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"{value} must be odd, so that the mean is centred")
        return value


def prior_map(
    photograph: NDArray[np.uint8],
    source: NDArray[np.uint8] | None = None,
    *,
    side: int,
    window: int,
    sigma: float,
) -> NDArray[np.uint8]:
    """The saliency of a photograph [H, W, 3] uint8: [h, w] uint8, max(h, w) at most `side`, from 0 to 255 exactly.

    Zeros where every pixel is alike. `source` is not used.
    """
    grey = cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY)
    factor = min(1.0, side / max(grey.shape))
    height, width = (max(1, round(length * factor)) for length in grey.shape)
    small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA).astype(np.float64) / 255
    if small.min() == small.max():  # its spectrum is rounding alone
        return np.zeros(small.shape, dtype=np.uint8)
    smooth = cv2.GaussianBlur(residual_energy(small, window), (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return scaled(np.asarray(smooth, dtype=np.float64))


def residual_energy(grey: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Energy at each pixel of a picture [h, w] once its log amplitude is replaced by the residual, phases kept; ≥ 0."""
    spectrum = np.fft.fft2(grey)
    log_amplitude = np.log(np.abs(spectrum) + TINY)
    residual = log_amplitude - periodic_mean(log_amplitude, window)
    restored = np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))
    energy: NDArray[np.float64] = np.abs(restored) ** 2
    return energy


def periodic_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Mean over window × window neighbours of each place of [h, w], as if the values went on periodically."""
    shifts = range(-(window // 2), window // 2 + 1)
    rows = sum((np.roll(values, shift, axis=0) for shift in shifts), np.zeros_like(values)) / window
    both: NDArray[np.float64] = sum((np.roll(rows, shift, axis=1) for shift in shifts), np.zeros_like(values)) / window
    return both


def scaled(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Values [h, w] from their least, 0, to their greatest, 255; zeros where all are alike."""
    span = float(values.max() - values.min())
    levels: NDArray[np.uint8] = np.rint((values - values.min()) / (span or 1.0) * 255).astype(np.uint8)
    return levels
