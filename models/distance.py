"""How far a picture is from the photographs that a segmenter learnt from.

The figure is a Mahalanobis distance of mean features at two depths, divided by a limit: above 1 the picture is farther than
99 % of the photographs that were learnt from. It tells other kinds of pictures (drawings, pages of text, noise), and hardly an
animal that was not learnt: docs/experiments.md has the rates.

Source  Lee et al. 2018, arXiv:1807.03888. Deviations: one Gaussian for all classes, since photographs show several; each depth
        scaled to length 1; the covariance is that of few directions and one variance for all others, which few photographs
        can tell and which a checkpoint has room for.
"""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from labelfactory.dataset.images import Photograph
from labelfactory.dataset.tensors import to_tensor
from labelfactory.digests import digest_payload
from models.backbones import Backbone
from models.grids import aligned_size, resize_images

Floats = NDArray[np.float64]

TEXT = "distance"
"""Its name in the header of a checkpoint."""
FORMAT = 1
LONG_SIDE = 257
"""Of a photograph at the backbone's input, pixels."""
DIRECTIONS = 32
"""At most, and at most a quarter of the photographs."""
QUANTILE = 0.99
"""Share of the photographs learnt from that are within the limit."""
LEAST = 20
"""Photographs; from fewer there is no figure."""
FOLDS = 10
"""Parts of the photographs; each is measured by a Gaussian of the others, as a new photograph is."""
SMALLEST = 1e-9
"""Variance; keeps photographs that are all alike from a division by 0."""


@dataclass(frozen=True)
class Distance:
    """What a checkpoint knows of the photographs that were learnt from.

    Attributes:
        mean: [D] float64, of their features.
        directions: [R, D] float32, orthonormal: those in which the features vary most.
        variances: [R] float32, along these.
        rest: variance along every other direction.
        limit: distance that 99 % of the photographs do not exceed, each measured without itself.
        photographs: number of these.
    """

    mean: Floats
    directions: NDArray[np.float32]
    variances: NDArray[np.float32]
    rest: float
    limit: float
    photographs: int

    def of(self, features: Floats) -> Floats:
        """Distances of pictures by their features, [N, D] → [N]; 1 is the limit."""
        directions, variances = self.directions.astype(np.float64), self.variances.astype(np.float64)
        return _Gaussian(self.mean, directions, variances, self.rest).distances(features) / self.limit

    def to_text(self) -> str:
        """JSON for the header of a checkpoint."""
        arrays = {name: np.asarray(getattr(self, name), kind) for name, kind in ARRAYS.items()}
        numbers = {name: getattr(self, name) for name in NUMBERS}
        packed = {name: base64.b64encode(array.tobytes()).decode() for name, array in arrays.items()}
        return json.dumps({"format": FORMAT, **numbers, **packed, "digest": digest_payload({**arrays, **numbers})})

    @classmethod
    def from_text(cls, text: str) -> "Distance | None":
        """The inverse of `to_text`; None for a newer format.

        Raises:
            ValueError: the text is damaged.
        """
        try:
            stated = json.loads(text)
            if stated["format"] > FORMAT:
                return None
            numbers = {name: kind(stated[name]) for name, kind in NUMBERS.items()}
            arrays = {
                name: np.frombuffer(base64.b64decode(stated[name], validate=True), kind)
                for name, kind in ARRAYS.items()
            }
            arrays["directions"] = arrays["directions"].reshape(-1, len(arrays["mean"]))
            if digest_payload({**arrays, **numbers}) != stated["digest"]:
                raise ValueError("another digest")
            return cls(**arrays, **numbers)  # type: ignore[arg-type]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"the distance is not readable: {error}") from None


ARRAYS = {"mean": "<f8", "directions": "<f4", "variances": "<f4"}
NUMBERS = {"rest": float, "limit": float, "photographs": int}


@dataclass(frozen=True)
class _Gaussian:
    mean: Floats  # [D]
    directions: Floats  # [R, D]
    variances: Floats  # [R]
    rest: float

    @classmethod
    def of(cls, features: Floats) -> "_Gaussian":
        """That of features [N, D], with N at least 2."""
        count, depth = features.shape
        mean = features.mean(axis=0)
        _, sizes, directions = np.linalg.svd(features - mean, full_matrices=False)
        kept = min(DIRECTIONS, count // 4, depth - 1)
        variances = sizes**2 / count
        rest = float(variances[kept:].sum()) / (depth - kept)
        return cls(mean, directions[:kept], np.maximum(variances[:kept], SMALLEST), max(rest, SMALLEST))

    def distances(self, features: Floats) -> Floats:
        """[N, D] → [N]."""
        centred = features - self.mean
        along = centred @ self.directions.T
        beside = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        distances: Floats = np.sqrt((along**2 / self.variances).sum(axis=1) + beside / self.rest)
        return distances


def measure(features: Floats) -> Distance | None:
    """The distance from photographs by their features.

    Args:
        features: [N, D], of the photographs that were learnt from.

    Returns:
        None for fewer than `LEAST` photographs, or features that are not finite.
    """
    count = len(features)
    if count < LEAST or not np.isfinite(features).all():
        return None
    part = np.arange(count) % FOLDS
    without = np.concatenate([_Gaussian.of(features[part != k]).distances(features[part == k]) for k in range(FOLDS)])
    limit = float(np.quantile(without, QUANTILE, method="higher"))
    whole = _Gaussian.of(features)
    directions, variances = whole.directions.astype(np.float32), whole.variances.astype(np.float32)
    return Distance(whole.mean, directions, variances, whole.rest, max(limit, SMALLEST), count)


def features_of(backbone: Backbone, photographs: Iterable[Photograph], device: torch.device) -> Floats:
    """Mean features of photographs, whole and at one size.

    Args:
        backbone: in evaluation mode, on the device.
        photographs: each [H, W, 3] uint8 RGB.
        device: the backbone's.

    Returns:
        [N, D] float64: the means of c4 and c5 over the photograph, each of length 1.
    """
    return np.stack([_features(backbone, photograph, device) for photograph in photographs])


@torch.no_grad()
def _features(backbone: Backbone, photograph: Photograph, device: torch.device) -> Floats:
    image = to_tensor(photograph)[None].to(device)
    height, width = image.shape[-2:]
    size = aligned_size(height, width, stride=backbone.output_stride, scale=LONG_SIDE / max(height, width))
    deep = backbone(resize_images(image, size))
    means = (maps[0].float().mean(dim=(1, 2)).cpu().numpy().astype(np.float64) for maps in (deep.c4, deep.c5))
    return np.concatenate([mean / max(float(np.linalg.norm(mean)), SMALLEST) for mean in means])
