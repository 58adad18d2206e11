"""Mean-field inference of the dense CRF over one photograph.

Probabilities of the channels sum to 1, so what is filtered is the difference of each channel from the first: one plane fewer, and
no constant is left over. Both kernels are normalised as in the authors' code, by the square roots of what the filter makes of 1.

Source: Krähenbühl & Koltun, NIPS 2011, arXiv:1210.5644. Deviation: the kernel of places is a separable Gaussian, no lattice.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.refinement._lattice import Lattice, build_lattice
from models.refinement._lattice_filter import add_read, blurred
from models.refinement._softmax import softmax
from models.refinement._spatial import add_smoothed, gaussian_weights

TINY = 1e-20
"""Keeps a norm finite, as in the authors' code."""

Floats = NDArray[np.float32]


class _Appearance(NamedTuple):
    lattice: Lattice
    norm: Floats


class _Smoothness(NamedTuple):
    weights: Floats
    norm: Floats


class Kernels:
    """Both kernels over one photograph, built when they are first asked for. They depend on the reaches alone.

    Args:
        image: [H, W, 3] uint8 RGB.
        gaussian_sxy, bilateral_sxy, bilateral_srgb: as in `CrfConfig`.
    """

    def __init__(
        self, image: NDArray[np.uint8], *, gaussian_sxy: float, bilateral_sxy: float, bilateral_srgb: float
    ) -> None:
        self._image = image
        self._gaussian_sxy = gaussian_sxy
        self._bilateral = (bilateral_sxy, bilateral_srgb)
        self.size = image.shape[:2]

    @cached_property
    def _appearance(self) -> _Appearance:
        lattice = build_lattice(self._image, *self._bilateral)
        ones = np.ones(len(lattice.vertices), dtype=np.float32)
        mass = np.zeros_like(ones)
        add_read(mass, blurred(ones, ones, lattice), ones, 1.0, lattice.vertices, lattice.weights)
        return _Appearance(lattice, _norm(mass))

    @cached_property
    def _smoothness(self) -> _Smoothness:
        weights = gaussian_weights(self._gaussian_sxy, self.size)
        ones = np.ones(self.size, dtype=np.float32)
        mass = np.zeros_like(ones)
        add_smoothed(mass, ones, ones, 1.0, weights)
        return _Smoothness(weights, _norm(mass))

    def add_smoothness(self, total: Floats, field: Floats, compat: float) -> None:
        """Add `compat` · (the smoothness kernel over `field`) to `total`; both are [N]."""
        weights, norm = self._smoothness
        add_smoothed(total.reshape(self.size), field.reshape(self.size), norm, float(compat), weights)

    def add_appearance(self, total: Floats, field: Floats, compat: float) -> None:
        """Add `compat` · (the appearance kernel over `field`) to `total`; both are [N]."""
        lattice, norm = self._appearance
        add_read(total, blurred(field, norm, lattice), norm, float(compat), lattice.vertices, lattice.weights)


def infer(energy: Floats, kernels: Kernels, *, steps: int, gaussian_compat: float, bilateral_compat: float) -> Floats:
    """Probabilities [K, H, W] after `steps` of mean field from unary energies [K, H, W]; K is at least 2."""
    planes = energy.reshape(len(energy), -1)
    unary = planes[:1] - planes[1:]
    probabilities = np.empty(planes.shape, dtype=np.float32)
    softmax(probabilities, unary)
    for _ in range(steps):
        logits = unary.copy()
        for total, probability in zip(logits, probabilities[1:], strict=True):
            field = probability - probabilities[0]
            if gaussian_compat > 0:
                kernels.add_smoothness(total, field, gaussian_compat)
            if bilateral_compat > 0:
                kernels.add_appearance(total, field, bilateral_compat)
        softmax(probabilities, logits)
    return probabilities.reshape(energy.shape)


def _norm(mass: Floats) -> Floats:
    norm: Floats = (1 / np.sqrt(mass + np.float32(TINY))).astype(np.float32)
    return norm
