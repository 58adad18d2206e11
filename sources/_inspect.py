"""Open every candidate once, on all cores: its digest, its size, and the problems of photograph and true mask."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Condition

import numpy as np

from labelfactory.console import first_of
from labelfactory.dataset.images import (
    MIN_SIDE,
    decode_mask,
    decode_photograph,
    encode_mask,
    fits_both_ways,
    orientation_of,
    upright,
)
from labelfactory.dataset.picture_files import MASKS, NUMBERS, opened_picture
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError
from labelfactory.foreign_files import RAW, FileRefusedError
from labelfactory.names import file_name
from labelfactory.progress import progress
from labelfactory.schema import BACKGROUND, VOID
from sources._batch import Candidate
from sources._mask_files import read_mask_file
from sources._true_masks import TrueMasks, as_numbers

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
    mask_size: tuple[int, int] | None = None  # height and width in the mask's file
    written_mask: Callable[[], bytes] | None = None  # the mask as it is written, where it is not kept as it is

    def as_imported(self, candidate: Candidate) -> Candidate:
        """The candidate with the files that are imported: its mask is none, its own, or one that is to be written."""
        if self.mask_sha256 is None:
            candidate = replace(candidate, mask=None, mask_bytes=None)
        elif self.written_mask is not None:
            mask = RAW / "masks" / f"{file_name(candidate.image_id)}.png"
            candidate = replace(candidate, mask=mask, mask_bytes=self.written_mask)
        return candidate.named_by_content(self.sha256, self.mask_sha256)

    @property
    def fits_both_ways(self) -> bool:
        """Whether it has a true mask whose size does not say if it lies over the stored or the upright photograph."""
        size = (self.height, self.width)
        return self.mask_sha256 is not None and self.mask_size == size and fits_both_ways(size, self.orientation)


def inspect_all(
    candidates: Sequence[Candidate],
    mask_values: Iterable[int] | None,
    *,
    command: str = "import",
    masks: TrueMasks | None = None,
) -> list[Inspection]:
    """Inspect every candidate.

    Args:
        candidates: of one source.
        mask_values: values that the pixels of a true mask may have, beside 0 and 255; None: only the size of a mask is
            read, and the pixels of those that were looked at before.
        command: title of the progress.
        masks: how true masks are read; None: as class numbers.
    """
    allowed = None if mask_values is None else np.array(sorted({BACKGROUND, VOID, *mask_values}))
    how = masks or as_numbers({value: str(value) for value in mask_values or ()})
    inspections, room = [], _Room(PIXELS_AT_ONCE)
    with ThreadPoolExecutor() as pool, progress(command, len(candidates)) as tick:
        for result in pool.map(lambda candidate: inspect(candidate, allowed, room, how), candidates):
            inspections.append(result)
            tick(size=result.size)
    return inspections


def inspect(candidate: Candidate, allowed: np.ndarray | None, room: _Room, masks: TrueMasks) -> Inspection:
    """Open one candidate; arguments as for `inspect_all`, and the room for its pixels."""
    try:
        data = candidate.read_photograph()
        with opened_picture(data) as opened:  # only its header is read
            pixels, mode = opened.width * opened.height, opened.mode
        with room.taken(pixels):
            decoded = decode_photograph(data)
            height, width = size = decoded.shape[:2]
            flat = all((row == decoded[0, 0]).all() for row in decoded)
            del decoded
        turned = orientation_of(data)
    except FileRefusedError as error:
        return Inspection(reason=error.reason)
    except DataError as error:
        return Inspection(reason=error.problem)
    if min(size) < MIN_SIDE:
        return Inspection(reason=f"{size[1]}×{size[0]} pixels: too small, a side needs {MIN_SIDE}")
    of_photograph = Inspection(
        sha256=digest_bytes(data),
        size=len(data) if candidate.photograph_bytes else 0,
        width=width,
        height=height,
        mode=mode,
        orientation=turned,
        flat=flat,
    )
    try:
        with room.taken(pixels):
            return _with_mask(of_photograph, candidate, allowed, masks)
    except FileRefusedError as error:
        return replace(of_photograph, mask_reason=f"the mask is not readable: {error.reason}")
    except DataError as error:
        return replace(of_photograph, mask_reason=error.problem)


def _with_mask(
    inspection: Inspection, candidate: Candidate, allowed: np.ndarray | None, masks: TrueMasks
) -> Inspection:
    """With what is found of the true mask.

    Raises:
        DataError: it cannot be taken.
    """
    size = (inspection.height, inspection.width)
    if candidate.mask_size:  # not drawn: a claim of any size costs memory
        _check_size(candidate.mask_size, size)
    data = candidate.read_mask()
    if data is None:
        return inspection
    if not data:
        raise DataError("the mask is empty")
    if masks.refused and not candidate.mask_size:
        return inspection
    mode, mask_size = _mask_header(data)
    _check_size(mask_size, size)
    values = None
    inspection = replace(inspection, mask_size=mask_size)
    stored = masks.over == "stored" and mask_size == size and fits_both_ways(size, inspection.orientation)
    if stored or (not candidate.mask_size and (masks.meaning != "numbers" or mode not in NUMBERS)):
        turned = inspection.orientation if stored else 1
        data = _as_written(data, masks, turned)
        inspection = replace(inspection, written_mask=lambda: _as_written(candidate.read_mask() or b"", masks, turned))
    if allowed is not None or candidate.image_id in masks.looked_at or candidate.mask_size:
        values = np.unique(decode_mask(data))
        wrong = np.setdiff1d(values, allowed) if allowed is not None else ()
        if len(wrong):
            raise DataError(f"the mask contains {_some(np.asarray(wrong))}, which is not a class")
    seen = None if values is None else frozenset(int(value) for value in values)
    return replace(inspection, mask_sha256=digest_bytes(data), mask_values=seen)


def _as_written(data: bytes, masks: TrueMasks, turned: int) -> bytes:
    """A mask as class numbers, upright."""
    file = read_mask_file(data)
    values = masks.values(file).astype(np.uint8)
    return encode_mask(upright(values[file.places], turned))


def _check_size(mask: tuple[int, ...], photograph: tuple[int, int]) -> None:
    if tuple(mask) not in (photograph, photograph[::-1]):  # the latter is turned by labelfactory.dataset.truth
        raise DataError(f"the mask is {mask[1]}×{mask[0]} pixels, its photograph {photograph[1]}×{photograph[0]}")


def _mask_header(data: bytes) -> tuple[str, tuple[int, int]]:
    """Mode, and height and width, without decoding the pixels.

    Raises:
        DataError: not an image.
    """
    try:
        with opened_picture(data, formats=MASKS) as opened:
            return opened.mode, (opened.height, opened.width)
    except DataError as error:
        raise DataError(f"not a readable mask: {error.problem}") from None


def _some(values: np.ndarray) -> str:
    return first_of([str(int(value)) for value in values], 5)
