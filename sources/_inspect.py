"""Open every candidate once, on all cores: its digest, its size, and the problems of photograph and true mask."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition

import numpy as np

from labelfactory.dataset.images import MIN_SIDE, decode_mask, decode_photograph, orientation_of
from labelfactory.dataset.picture_files import opened_mask, opened_picture
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError
from labelfactory.foreign_files import FileRefusedError
from labelfactory.progress import progress
from labelfactory.schema import BACKGROUND, VOID
from sources._batch import Candidate

PIXELS_AT_ONCE = 100_000_000
"""Pixels that are decoded at one time on all cores together: one photograph of the largest size, or several usual ones."""


class _Room:
    """Lets threads decode while their photographs have no more than `pixels` together; one alone always may."""

    def __init__(self, pixels: int) -> None:
        self._pixels, self._used, self._changed = pixels, 0, Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Waits until there is room for a photograph."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + pixels <= self._pixels)
            self._used += pixels
        try:
            yield
        finally:
            with self._changed:
                self._used -= pixels
                self._changed.notify_all()


@dataclass(frozen=True)
class Inspection:
    """The result of opening one candidate."""

    sha256: str = ""
    mask_sha256: str | None = None
    reason: str = ""  # why the photograph cannot be imported
    mask_reason: str = ""  # why its mask cannot
    size: int = 0  # bytes that are written under data/ for it
    width: int = 0  # pixels, upright
    height: int = 0
    mode: str = ""  # as Pillow calls it
    orientation: int = 1  # by EXIF; 1 is upright
    flat: bool = False  # of one colour
    mask_values: frozenset[int] | None = None  # of the true mask; None where it was not looked at


def inspect_all(
    candidates: Sequence[Candidate], mask_values: Iterable[int] | None, *, command: str = "import"
) -> list[Inspection]:
    """Inspect every candidate.

    Args:
        candidates: of one source.
        mask_values: values that the pixels of a true mask may have, beside 0 and 255; None: only the size of a mask is
            read.
        command: title of the progress.
    """
    allowed = None if mask_values is None else np.array(sorted({BACKGROUND, VOID, *mask_values}))
    inspections, room = [], _Room(PIXELS_AT_ONCE)
    with ThreadPoolExecutor() as pool, progress(command, len(candidates)) as tick:
        for result in pool.map(lambda candidate: inspect(candidate, allowed, room), candidates):
            inspections.append(result)
            tick(size=result.size)
    return inspections


def inspect(candidate: Candidate, allowed: np.ndarray | None, room: _Room) -> Inspection:
    """Inspect one candidate; `allowed` are the values of its mask, None to leave them unread; `room` limits its pixels."""
    try:
        data = candidate.read_photograph()
        with opened_picture(data) as opened:  # only its header is read
            pixels, mode = opened.width * opened.height, opened.mode
        with room.taken(pixels):
            decoded = decode_photograph(data)
            height, width = size = decoded.shape[:2]
            flat = all((row == decoded[0, 0]).all() for row in decoded)
            del decoded
    except FileRefusedError as error:
        return Inspection(reason=error.reason)
    except DataError as error:
        return Inspection(reason=error.problem)
    if min(size) < MIN_SIDE:
        return Inspection(reason=f"{size[1]}×{size[0]} pixels: too small, a side needs {MIN_SIDE}")
    with room.taken(pixels):
        mask_sha256, mask_reason = _inspect_mask(candidate, size, allowed)
    written = len(data) if candidate.photograph_bytes else 0
    return Inspection(
        digest_bytes(data), mask_sha256, "", mask_reason, written, width, height, mode, orientation_of(data), flat
    )


def _inspect_mask(candidate: Candidate, size: tuple[int, ...], allowed: np.ndarray | None) -> tuple[str | None, str]:
    """Digest and problem of the true mask; (None, "") if there is none."""
    fits = (tuple(size), tuple(size[::-1]))  # the latter is turned by labelfactory.dataset.truth
    try:
        if candidate.mask_size and candidate.mask_size not in fits:  # not drawn: a claim of any size costs memory
            return None, _other_size(candidate.mask_size, size)
        data = candidate.read_mask()
        if data is None:
            return None, ""
        if not data:
            return None, "the mask is empty"
        mask_size = _mask_size(data)
        if mask_size not in fits:
            return None, _other_size(mask_size, size)
        if allowed is not None:
            wrong = np.setdiff1d(np.unique(decode_mask(data)), allowed)
            if len(wrong):
                return None, f"the mask contains {_some(wrong)}, which is not a class"
    except FileRefusedError as error:
        return None, f"the mask is not readable: {error.reason}"
    except DataError as error:
        return None, error.problem
    return digest_bytes(data), ""


def _other_size(mask: tuple[int, ...], photograph: tuple[int, ...]) -> str:
    return f"the mask is {mask[1]}×{mask[0]} pixels, its photograph {photograph[1]}×{photograph[0]}"


def _mask_size(data: bytes) -> tuple[int, int]:
    """Height and width from the mask's header, without decoding its pixels.

    Raises:
        DataError: not an image, or one in colours instead of numbers.
    """
    with opened_mask(data) as opened:
        return opened.height, opened.width


def _some(values: np.ndarray) -> str:
    shown = ", ".join(str(int(v)) for v in values[:5])
    return f"{shown} and {len(values) - 5} more" if len(values) > 5 else shown
