"""Pairs of images that share a tag: which images form them in an epoch, and how a batch finds them again."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def pairs_of_epoch(targets: NDArray[np.bool_], rng: np.random.Generator) -> tuple[list[tuple[int, int]], list[int]]:
    """Every image once: with the next one, in a random order, that shares a tag and is still free; else alone.

    Work grows with the number of tags, not with its square.

    Args:
        targets: [N, C], the tags of every image.
        rng: source of the order.

    Returns:
        The pairs, and the images that are left: those without tags, and at most one of each tag.
    """
    order = [int(index) for index in rng.permutation(len(targets))]
    place = {index: position for position, index in enumerate(order)}
    waiting: list[list[int]] = [[i for i in reversed(order) if targets[i, c]] for c in range(targets.shape[1])]
    free = [True] * len(order)
    pairs: list[tuple[int, int]] = []
    alone: list[int] = []
    for index in order:
        if not free[index]:
            continue
        free[index] = False
        queues = [waiting[c] for c in np.flatnonzero(targets[index])]
        for queue in queues:
            while queue and not free[queue[-1]]:
                queue.pop()
        partner = min((queue[-1] for queue in queues if queue), key=place.__getitem__, default=None)
        if partner is None:
            alone.append(index)
        else:
            free[partner] = False
            pairs.append((index, partner))
    return pairs, alone


def paired_batches(targets: NDArray[np.bool_], size: int, rng: np.random.Generator) -> list[list[int]]:
    """An epoch's batches: pairs side by side, in random order, each image in one batch at most.

    Batches of odd size tear pairs apart, and so does an odd number of images, one of them. What makes no full batch is
    left out, unless it is the only one; each image as often as any other.
    """
    pairs, alone = pairs_of_epoch(targets, rng)
    units: list[Sequence[int]] = [*pairs, *(alone[k : k + 2] for k in range(0, len(alone) - 1, 2))]
    order = [image for k in rng.permutation(len(units)) for image in units[k]]
    if len(alone) % 2:  # at a random place, for the last one is left out most often
        order.append(alone[-1])
        place = int(rng.integers(len(order)))
        order[place], order[-1] = order[-1], order[place]
    size = min(size, len(order))
    return [order[start : start + size] for start in range(0, len(order) - size + 1, size)]


def partners(target: Tensor) -> Tensor:
    """The partner of each image of a batch: its neighbour at the places 0 and 1, 2 and 3, …, if they share a tag; else itself.

    It finds the pairs of `paired_batches` again, also in a device's share of a batch. In a batch of odd size, where pairs are
    torn apart, an image without such a neighbour gets the next one that shares a tag and has no partner.

    Args:
        target: [B, C] of 0 and 1.

    Returns:
        [B] int64 on the target's device, a permutation that is its own inverse.
    """
    shared = (target.float() @ target.float().T > 0).tolist()
    count = len(shared)
    found = list(range(count))
    neighbours = [(one, one + 1) for one in range(0, count - 1, 2)]
    for one, other in neighbours + (list(combinations(range(count), 2)) if count % 2 else []):
        if shared[one][other] and found[one] == one and found[other] == other:
            found[one], found[other] = other, one
    return torch.tensor(found, device=target.device)
