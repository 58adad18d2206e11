"""Superpixels: connected regions of one colour, for refinement and propagation.

`superpixels` is SLIC: k-means of the pixels in colour and place, from a grid of centres, each of which looks at its surroundings
alone. The first call on a machine compiles for some seconds.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from labelfactory.errors import ShapeError

ROUNDS = 10
"""Of k-means, as in the paper."""
SMALLEST = 4
"""A part of fewer than 1 / 4 of the pixels of a mean region joins a neighbour, as in the authors' code."""

Labels = NDArray[np.int32]


def superpixels(image: NDArray[np.uint8], *, regions: int, compactness: float) -> Labels:
    """Divide a photograph into about `regions` regions.

    A mirrored photograph gives the mirrored regions, but for pixels that are equally near to two centres, as where all has
    one colour.

    Args:
        image: [H, W, 3] uint8 RGB.
        regions: number of centres; at most one for each pixel.
        compactness: a difference of so many units of Lab weighs as much as the distance between two centres.

    Returns:
        [H, W] int32, 0 to the number of regions − 1, row by row. Each region is 4-connected.

    Raises:
        ShapeError: not an [H, W, 3] uint8 image.

    Source: Achanta et al., "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods", TPAMI 2012. Deviations: a centre
    starts with the mean colour of its cell of the grid, in place of the pixel of least gradient; parts that are too small
    join the neighbour of the nearest colour, all at once, in place of the one that was found before.
    """
    from models._superpixel_loops import clusters, connected  # loads numba, which commands do not need to start

    lab = _lab(image)
    height, width, _ = lab.shape
    side = (height * width / regions) ** 0.5
    rows, columns = (min(pixels, max(1, round(pixels / side))) for pixels in (height, width))
    labels = clusters(lab, rows, columns, float(compactness), ROUNDS)
    return connected(labels, lab, height * width // (rows * columns) // SMALLEST)


def merged_by_colour(labels: Labels, image: NDArray[np.uint8], *, difference: float) -> Labels:
    """Join adjacent regions of like mean colour; what is joined can be joined on.

    Args:
        labels: [H, W] int32 of `superpixels`.
        image: [H, W, 3] uint8 RGB.
        difference: in units of Lab; two adjacent regions that differ by at most this become one.

    Returns:
        [H, W] int32, 0 to the number of regions − 1.
    """
    means = region_means(labels, _lab(image).transpose(2, 0, 1)) * np.array([[100 / 255], [1], [1]])
    pairs = ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:]))
    count = means.shape[1]
    codes = np.concatenate([(one.astype(np.int64) * count + other)[one != other] for one, other in pairs])
    first, second = np.divmod(np.unique(codes), count)
    alike = np.sqrt(np.square(means[:, first] - means[:, second]).sum(axis=0)) <= difference
    joined = coo_matrix((np.ones(alike.sum()), (first[alike], second[alike])), shape=(count, count))
    names: Labels = connected_components(joined, directed=False)[1].astype(np.int32)
    return names[labels]


def region_means(labels: Labels, planes: NDArray[np.number]) -> NDArray[np.float64]:
    """The mean of each plane in each region, [K, regions], of planes [K, H, W]."""
    flat = labels.ravel()
    sizes = np.bincount(flat)
    sums = [np.bincount(flat, weights=plane.ravel(), minlength=len(sizes)) for plane in planes]
    return np.reshape(sums, (len(planes), len(sizes))) / sizes


def _lab(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The photograph in OpenCV's Lab of 8 bits, writable and in C's order."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ShapeError(f"an image of {image.dtype}{list(image.shape)}, not [H, W, 3] uint8")
    lab: Any = cv2.cvtColor(np.array(image, order="C"), cv2.COLOR_RGB2LAB)
    return np.asarray(lab, dtype=np.uint8)
