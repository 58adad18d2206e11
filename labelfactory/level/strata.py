"""Which images a person audits: a stratified sample, drawn by permanent random numbers.

Strata are groups of images with the same rarest tag, each cut by an order such as quality. Every image has a random number that
never changes, from the seed and the photograph's digest; a stratum's sample are its images with the least numbers. That is simple
random sampling without replacement in each stratum; more images are the ones with the next numbers, and the larger sample is again
simple random, so that chances stay right when a sample grows.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfactory.errors import ShapeError

Numbers = NDArray[np.float64]
Labels = NDArray[np.int64]

LEAST = 3
"""Images of a stratum that are drawn at least, if it has so many. Two would show a spread, but so poorly that intervals of 50
images are a tenth wider."""
PARTS = 3
"""Parts into which a group is cut at most."""
IMAGES_A_PART = 5
"""A group is cut only as far as that many audited images fall on each part."""


def permanent_number(seed: int, digest: str) -> float:
    """A random number in [0, 1) that a photograph keeps, from the seed and its SHA-256."""
    return int.from_bytes(hashlib.sha256(f"{seed} {digest}".encode()).digest()[:6]) / 2**48


def rarest(tags: NDArray[np.bool_]) -> Labels:
    """The rarest tag of each image.

    Args:
        tags: [N, C] whether an image has a tag.

    Returns:
        [N] the column, the first of equally rare ones; −1 without a tag.
    """
    counts = tags.sum(axis=0)
    order = np.where(tags, counts, len(tags) + 1)
    return np.where(tags.any(axis=1), order.argmin(axis=1), -1).astype(np.int64)


@dataclass(frozen=True)
class Design:
    """A stratified design.

    Attributes:
        names: [H] of the strata: the group, and the part of it.
        stratum: [N] the stratum of each image.
        taken: [H] how many images are drawn of each.
    """

    names: tuple[str, ...]
    stratum: Labels
    taken: Labels


def make_design(groups: Sequence[str], order: Numbers, spread: Numbers, count: int) -> Design:
    """Cut a population into strata, and share out a sample over them.

    Args:
        groups: [N] the group of each image.
        order: [N] by which groups are cut into parts of equal number.
        spread: [N] how far an image's error is expected to move the estimate, at least 0; strata with more get more.
        count: images to draw.

    Raises:
        ShapeError: lengths differ, or there is nothing to draw from.
    """
    n = len(groups)
    if not n or len(order) != n or len(spread) != n:
        raise ShapeError(f"{n} groups, {len(order)} places in the order and {len(spread)} spreads")
    names = _merged(np.array(groups, dtype=object), spread, count)
    shares = shared_out(count, *_sizes_and_weights(names, spread))
    stratum, labels = np.zeros(n, dtype=np.int64), list[str]()
    for name, share in zip(np.unique(names), shares, strict=True):
        members = np.flatnonzero(names == name)
        parts = int(np.clip(share // IMAGES_A_PART, 1, min(PARTS, len(members))))
        ranked = members[np.argsort(order[members], kind="stable")]
        for part, inside in enumerate(np.array_split(ranked, parts), 1):
            stratum[inside] = len(labels)
            labels.append(f"{name} {part}/{parts}" if parts > 1 else str(name))
    return Design(tuple(labels), stratum, shared_out(count, *_sizes_and_weights(stratum, spread)))


def shared_out(count: int, sizes: Labels, weights: Numbers, least: Labels | None = None) -> Labels:
    """Share a sample out over strata, for the least variance of the estimate.

    One more image in a stratum of weight W and n images lessens the variance by W² / (n (n + 1)); the next image goes where that is
    most. Each stratum has `LEAST` images first, if it has so many.

    Args:
        count: images in all; fewer where there are not so many.
        sizes: [H] images of each stratum.
        weights: [H] images times the spread of one.
        least: [H] images that are drawn already, which stay.
    """
    taken = np.minimum(sizes, LEAST) if least is None else np.maximum(least, np.minimum(sizes, LEAST))
    taken = taken.astype(np.int64)
    while taken.sum() < min(count, int(sizes.sum())):
        gain = np.where(taken < sizes, (weights + 1e-12) ** 2 / (taken * (taken + 1.0)), -1.0)
        taken[int(gain.argmax())] += 1
    return taken


def drawn(design: Design, numbers: Numbers) -> NDArray[np.bool_]:
    """Which images are in the sample: of each stratum those with the least permanent numbers, [N] bool."""
    chosen = np.zeros(len(numbers), dtype=bool)
    for stratum, taken in enumerate(design.taken):
        members = np.flatnonzero(design.stratum == stratum)
        chosen[members[np.argsort(numbers[members], kind="stable")[:taken]]] = True
    return chosen


def _sizes_and_weights(labels: Any, spread: Numbers) -> tuple[Labels, Numbers]:
    """Images of each label, and their number times the root mean square of their spreads; in the order of labels."""
    _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    squares = np.bincount(inverse, weights=spread**2)
    return sizes.astype(np.int64), np.sqrt(squares * sizes)


def _merged(groups: Any, spread: Numbers, count: int) -> Any:
    """Groups with the least weight are joined to `others` until each has `IMAGES_A_PART` of the sample on average."""
    names = np.unique(groups)
    _, weights = _sizes_and_weights(groups, spread)
    kept = max(count // IMAGES_A_PART - 1, 0)
    if len(names) <= kept + 1:
        return groups
    small = set(names[np.argsort(weights, kind="stable")[: len(names) - kept]])
    return np.array(["others" if group in small else group for group in groups], dtype=object)
