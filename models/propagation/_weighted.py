"""A step of the walk whose affinities are multiplied by factors of a method's own.

Not a method of `SparseTransition`, since that file is in the key of AffinityNet's training.
"""

from collections.abc import Callable

from torch import Tensor

from models.propagation._transition import SparseTransition

Offset = tuple[int, int]


def weighted(transition: SparseTransition, factor: Callable[[Offset], Tensor]) -> SparseTransition:
    """The transition with each affinity times a factor.

    Args:
        transition: a step over an h × w grid.
        factor: for an offset (dy, dx), [h, w] in [0, 1]: the factor of the cells (y, x) and (y + dy, x + dx); 0 cuts them apart.
            What has its partner outside of the grid is not read.

    Returns:
        A step over the same grid. Factors of 1 leave it as it is, up to rounding.
    """
    offsets = _offsets(transition)
    if not offsets:
        return transition
    root = transition.degrees.sqrt()  # A_ij = S_ij · sqrt(d_i · d_j)
    planes = (_plane(transition, offset) * root * partner(root, offset) * factor(offset) for offset in offsets)
    return SparseTransition(planes, offsets, windows=transition._windows is not None)


def partner(field: Tensor, offset: Offset) -> Tensor:
    """For each cell of a field [..., h, w] the value of the cell at an offset (dy, dx); outside of the grid, any."""
    return field.roll((-offset[0], -offset[1]), dims=(-2, -1))


def _offsets(transition: SparseTransition) -> list[Offset]:
    """Offsets that lead from a cell of the grid to another one. The flat shift of such an offset is that of no other one."""
    (height, width), (down, across) = transition.grid, transition._reach
    down, across = min(down, height - 1), min(across, width - 1)
    every = ((dy, dx) for dy in range(down + 1) for dx in range(-across, across + 1))
    return [offset for offset in every if offset > (0, 0) and _shift(transition, offset) in transition._shifts]


def _shift(transition: SparseTransition, offset: Offset) -> int:
    return offset[0] * transition._row + offset[1]


def _plane(transition: SparseTransition, offset: Offset) -> Tensor:
    """The values of S at an offset, [h, w]."""
    if transition._windows is not None:
        (down, across), (dy, dx) = transition._reach, offset
        flat = transition._windows[down + dy, across + dx]
    else:
        number = transition._shifts.index(_shift(transition, offset))
        flat = transition._planes[number, transition._margin :]
    return transition._on_grid(flat[None])[0]
