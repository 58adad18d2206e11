"""The random walk's transition matrix as a few planes of affinities: memory linear in the image, on any device.

Two cells of an h × w grid are joined when one of the pair offsets leads from one to the other. A pair that would leave
the grid does not exist, so border cells simply have fewer neighbours (as with IRN's padding).

Symbols: A affinities (symmetric, 1 on the diagonal, element-wise power beta applied), d = row sums of A, D = diag(d),
P = D^-1 A one step of the walk, S = D^-1/2 A D^-1/2 = D^1/2 P D^-1/2 its symmetric form, eigenvalues in [-1, 1].
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor

from labelfactory.errors import ShapeError

_BLOCK = 32_768
"""Values in one slice on the CPU: they fit in the cache, and are below PyTorch's grain size for threads."""
_WINDOWS = 2**25
"""Neighbours of cells that are processed together on an accelerator: 128 MiB."""


class SparseTransition:
    """One step of the random walk over an h × w grid.

    Layout: S is kept, one flat plane for each offset. A grid row is padded on its right by the longest |dx|, so an
    offset (dy, dx) is one constant shift of the flat array, and one step is a multiply-add of shifted slices. Results
    are the same bits for any number of threads. On an accelerator, where each slice would be too small for a kernel
    launch, S is laid out as a window of weights around each cell, and a step is one product with the windows of the
    scores, summed.

    Args:
        affinities: for each offset one [h, w] plane with values in [0, 1]: entry (y, x) is the affinity of the cells
            (y, x) and (y + dy, x + dx). An entry whose partner lies outside the grid is not read. A [P, h, w] tensor
            will do; with an iterator of planes only one of them is in memory at a time.
        offsets: the P pair offsets (dy, dx), one of each two opposite ones: dy > 0, or dy = 0 and dx > 0.
        beta: element-wise power on the affinities.
        windows: whether a step uses windows; by default on accelerators only.

    Raises:
        ShapeError: planes and offsets disagree, or an offset points the wrong way.

    Source: Ahn & Kwak, CVPR 2018, arXiv:1803.10464, the paragraph on the random walk.
    """

    @torch.no_grad()
    def __init__(
        self,
        affinities: Iterable[Tensor],
        offsets: Sequence[tuple[int, int]],
        *,
        beta: float = 1.0,
        windows: bool | None = None,
    ) -> None:
        _check_offsets(offsets)
        planes = iter(affinities)
        first = next(planes, None)
        if first is None or first.ndim != 2:
            raise ShapeError("affinities must be [h, w] planes, one for each offset")
        height, width = first.shape
        self.grid = (height, width)
        self._reach = (max(dy for dy, _ in offsets), max(abs(dx) for _, dx in offsets))
        self._row = width + self._reach[1]
        self._size = height * self._row
        self._shifts = [dy * self._row + dx for dy, dx in offsets]
        self._margin = self._reach[0] * self._row + self._reach[1]

        self._planes = torch.zeros(len(offsets), self._margin + self._size, device=first.device)
        filled = 0
        for plane in chain([first], planes):
            if filled == len(offsets) or tuple(plane.shape) != self.grid:
                raise ShapeError(f"plane {filled} of {len(offsets)} offsets, grid {self.grid}: got {list(plane.shape)}")
            self._fill(filled, plane, offsets[filled], beta)
            filled += 1
        if filled != len(offsets):
            raise ShapeError(f"{filled} planes of affinities for {len(offsets)} offsets")
        self._normalise()
        at_once = first.device.type != "cpu" if windows is None else windows
        self._windows = self._as_windows(offsets) if at_once else None

    @property
    def degrees(self) -> Tensor:
        """[h, w] float32, the row sums d of A. At least 1: the diagonal."""
        return self._on_grid(self._root[None]).squeeze(0).square()

    def apply(self, scores: Tensor) -> Tensor:
        """Take one step: each cell becomes the affinity-weighted mean of its neighbours and itself.

        Args:
            scores: [K, h, w] float32.

        Returns:
            [K, h, w] float32, P · scores for each channel.
        """
        state = self.enter(scores)
        out = torch.zeros_like(state)
        self.step(state, out)
        return self.leave(out)

    @torch.no_grad()
    def enter(self, scores: Tensor) -> Tensor:
        """Bring scores [K, h, w] into the symmetric, flat, padded form that `step` works on: D^1/2 scores.

        Raises:
            ShapeError: the scores are not on this transition's grid.
        """
        if scores.ndim != 3 or tuple(scores.shape[1:]) != self.grid:
            raise ShapeError(f"scores {list(scores.shape)} are not on the transition's grid {list(self.grid)}")
        state = torch.zeros(len(scores), self._size + 2 * self._margin, device=self._planes.device)
        self._on_grid(self._inner(state)).copy_(scores)
        self._inner(state).mul_(self._root)
        return state

    @torch.no_grad()
    def leave(self, state: Tensor) -> Tensor:
        """Undo `enter`."""
        return (self._on_grid(self._inner(state)) / self._on_grid(self._root[None])).contiguous()

    @torch.no_grad()
    def step(self, state: Tensor, out: Tensor, *, gain: float = 1.0, keep: float = 0.0) -> None:
        """out ← gain · S · state + keep · out, for two different tensors of the form that `enter` returns."""
        if self._windows is not None:
            self._step_in_windows(self._windows, state, out, gain, keep)
            return
        planes = self._planes.unbind()
        for lo, hi in self.blocks(len(state)):
            count = hi - lo
            block = out.narrow(1, lo, count)
            if keep:
                block.mul_(keep)
            else:
                block.zero_()
            block.addcmul_(self._diagonal.narrow(0, lo - self._margin, count), state.narrow(1, lo, count), value=gain)
            for plane, shift in zip(planes, self._shifts, strict=True):
                ahead, back = plane.narrow(0, lo, count), plane.narrow(0, lo - shift, count)
                block.addcmul_(ahead, state.narrow(1, lo + shift, count), value=gain)
                block.addcmul_(back, state.narrow(1, lo - shift, count), value=gain)

    def _step_in_windows(self, windows: Tensor, state: Tensor, out: Tensor, gain: float, keep: float) -> None:
        rows, columns = windows.shape[:2]
        for lo, hi in self.blocks(len(state)):
            start = state.storage_offset() + lo - self._margin
            around = state.as_strided(
                (len(state), rows, columns, hi - lo), (state.stride(0), self._row, 1, 1), storage_offset=start
            )
            # the weights first: the product takes their layout, in which cells are contiguous
            moved = (windows[..., lo - self._margin : hi - self._margin] * around).sum(dim=(1, 2))
            block = out[:, lo:hi]
            if keep:
                block.mul_(keep)
            else:
                block.zero_()
            block.add_(moved, alpha=gain)

    def blocks(self, channels: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of the flat form, to be processed one after the other."""
        if self._windows is not None:
            size = max(1, _WINDOWS // (max(1, channels) * self._windows[..., 0].numel()))
        else:
            size = max(1, _BLOCK // max(1, channels))
        for lo in range(0, self._size, size):
            yield self._margin + lo, self._margin + min(lo + size, self._size)

    def _inner(self, state: Tensor) -> Tensor:
        return state[:, self._margin : self._margin + self._size]

    def _on_grid(self, flat: Tensor) -> Tensor:
        return flat.view(len(flat), self.grid[0], self._row)[:, :, : self.grid[1]]

    def _fill(self, number: int, plane: Tensor, offset: tuple[int, int], beta: float) -> None:
        (height, width), (dy, dx) = self.grid, offset
        if dy >= height or abs(dx) >= width:
            return
        rows, columns = slice(0, height - dy), slice(max(0, -dx), width - max(0, dx))
        target = self._on_grid(self._planes[number : number + 1, self._margin :])
        target[0, rows, columns] = plane[rows, columns].float() ** beta

    def _as_windows(self, offsets: Sequence[tuple[int, int]]) -> Tensor:
        """S as [2 dy + 1, 2 dx + 1, size]: each cell's weights for the cells around it; the planes are then dropped."""
        dys, dxs = self._reach
        start, end = self._margin, self._margin + self._size
        windows = torch.zeros(2 * dys + 1, 2 * dxs + 1, self._size, device=self._planes.device)
        windows[dys, dxs] = self._diagonal
        for plane, (dy, dx), shift in zip(self._planes, offsets, self._shifts, strict=True):
            windows[dys + dy, dxs + dx] = plane[start:]
            windows[dys - dy, dxs - dx] = plane[start - shift : end - shift]
        self._planes = self._planes.new_empty(0)
        return windows

    def _normalise(self) -> None:
        """Turn the planes from A into S, and keep D^1/2 and the diagonal of S."""
        start, end = self._margin, self._margin + self._size
        degrees = torch.ones(self._size, dtype=torch.float64, device=self._planes.device)
        for plane, shift in zip(self._planes, self._shifts, strict=True):
            degrees += plane[start:]
            degrees += plane[start - shift : end - shift]
        inverse_root = torch.zeros(end + self._margin, device=self._planes.device)
        inverse_root[start:end] = degrees.rsqrt()
        for plane, shift in zip(self._planes, self._shifts, strict=True):
            plane[start:] *= inverse_root[start:end] * inverse_root[start + shift : end + shift]
        self._root = degrees.sqrt().float()
        self._diagonal = degrees.reciprocal().float()


def _check_offsets(offsets: Sequence[tuple[int, int]]) -> None:
    if not offsets or len(set(offsets)) != len(offsets):
        raise ShapeError("pair offsets must be given, each of them once")
    for dy, dx in offsets:
        if dy < 0 or (dy == 0 and dx <= 0):
            raise ShapeError(f"offset {(dy, dx)} is not in the half plane dy > 0, or dy = 0 and dx > 0")
