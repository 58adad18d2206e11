"""Pairs of images that share a tag: those of an epoch, and those of a batch."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def pairs_of_epoch(targets: NDArray[np.bool_], rng: np.random.Generator) -> tuple[list[tuple[int, int]], list[int]]:
    """Pair each image with the next one in a random order that shares a tag and is still free; others stay alone.

    Work grows with the number of tags, not with its square.

    Args:
        targets: [N, C], the tags of every image.
        rng: source of the order.

    Returns:
        The pairs, and the images without partner: those without tags, and at most one of each tag.
    """
    order = [int(index) for index in rng.permutation(len(targets))]
    positions = {index: position for position, index in enumerate(order)}
    tagged: list[list[int]] = [[i for i in reversed(order) if targets[i, c]] for c in range(targets.shape[1])]
    free = [True] * len(order)
    pairs: list[tuple[int, int]] = []
    alone: list[int] = []
    for index in order:
        if not free[index]:
            continue
        free[index] = False
        queues = [tagged[c] for c in np.flatnonzero(targets[index])]
        for queue in queues:
            while queue and not free[queue[-1]]:
                queue.pop()
        partner = min((queue[-1] for queue in queues if queue), key=positions.__getitem__, default=None)
        if partner is None:
            alone.append(index)
        else:
            free[partner] = False
            pairs.append((index, partner))
    return pairs, alone


def paired_batches(targets: NDArray[np.bool_], size: int, rng: np.random.Generator) -> list[list[int]]:
    """An epoch's batches: pairs side by side, in random order, each image in one batch at most.

    Batches of odd size split pairs, and an odd number of images splits one. An incomplete batch is left out, unless it is the
    only one; every image is equally likely to be left out.
    """
    pairs, alone = pairs_of_epoch(targets, rng)
    units: list[Sequence[int]] = [*pairs, *(alone[k : k + 2] for k in range(0, len(alone) - 1, 2))]
    order = [image for k in rng.permutation(len(units)) for image in units[k]]
    if len(alone) % 2:  # at a random position: the last one is left out most often
        order.append(alone[-1])
        position = int(rng.integers(len(order)))
        order[position], order[-1] = order[-1], order[position]
    size = min(size, len(order))
    return [order[start : start + size] for start in range(0, len(order) - size + 1, size)]


def partners(target: Tensor) -> Tensor:
    """The partner of each image of a batch: in order, the next free one that shares a tag; itself where there is none.

    These are the pairs of `paired_batches`, also in one device's share of a batch.

    Args:
        target: [B, C] of 0 and 1.

    Returns:
        [B] int64 on the target's device, a permutation that is its own inverse.
    """
    shared = (target.float() @ target.float().T > 0).tolist()
    partner = list(range(len(shared)))
    for one, row in enumerate(shared):
        if partner[one] == one:
            other = next((k for k in range(one + 1, len(row)) if row[k] and partner[k] == k), one)
            partner[one], partner[other] = other, one
    return torch.tensor(partner, device=target.device)
