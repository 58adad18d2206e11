"""Open every candidate once, on all cores: its digest, its size, and the problems of photograph and true mask."""

import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from labelfactory.dataset.images import MIN_SIDE, decode_mask, decode_photograph
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError
from labelfactory.progress import progress
from labelfactory.schema import BACKGROUND, VOID
from sources._batch import Candidate


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
    inspections = []
    with ThreadPoolExecutor() as pool, progress(command, len(candidates)) as tick:
        for result in pool.map(lambda candidate: inspect(candidate, allowed), candidates):
            inspections.append(result)
            tick(size=result.size)
    return inspections


def inspect(candidate: Candidate, allowed: np.ndarray | None) -> Inspection:
    """Inspect one candidate; `allowed` are the values of its mask, None to leave them unread."""
    try:
        data = candidate.photograph_bytes() if candidate.photograph_bytes else candidate.path.read_bytes()
    except OSError as error:
        return Inspection(reason=error.strerror or str(error) or "not readable")
    except DataError as error:
        return Inspection(reason=error.problem)
    except ValueError as error:  # a path with a NUL
        return Inspection(reason=f"not readable: {error}")
    try:
        height, width = size = decode_photograph(data).shape[:2]
    except DataError as error:
        return Inspection(reason=error.problem)
    except Exception as error:  # a decoder may raise anything on a hostile file, which must not stop the others
        return Inspection(reason=f"not decodable: {type(error).__name__}: {error}")
    if min(size) < MIN_SIDE:
        return Inspection(reason=f"{size[1]}×{size[0]} pixels: too small, a side needs {MIN_SIDE}")
    mask_sha256, mask_reason = _inspect_mask(candidate, size, allowed)
    written = len(data) if candidate.photograph_bytes else 0
    return Inspection(digest_bytes(data), mask_sha256, "", mask_reason, written, width, height)


def _inspect_mask(candidate: Candidate, size: tuple[int, ...], allowed: np.ndarray | None) -> tuple[str | None, str]:
    """Digest and problem of the true mask; (None, "") if there is none."""
    if candidate.mask is None:
        return None, ""
    try:
        data = candidate.mask_bytes() if candidate.mask_bytes else candidate.mask.read_bytes()
        if not data:
            return None, "the mask is empty"
        height, width = _mask_size(data)
        if (height, width) not in (
            tuple(size),
            tuple(size[::-1]),
        ):  # the latter is turned by labelfactory.dataset.truth
            return None, f"the mask is {width}×{height} pixels, its photograph {size[1]}×{size[0]}"
        if allowed is not None:
            wrong = np.setdiff1d(np.unique(decode_mask(data)), allowed)
            if len(wrong):
                return None, f"the mask contains {_some(wrong)}, which is not a class"
    except OSError as error:
        return None, f"the mask is not readable: {error.strerror or error}"
    except DataError as error:
        return None, error.problem
    return digest_bytes(data), ""


def _mask_size(data: bytes) -> tuple[int, int]:
    """Height and width from the mask's header, without decoding its pixels.

    Raises:
        DataError: not an image, or one in colours instead of numbers.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            mode, (width, height) = opened.mode, opened.size
    except UnidentifiedImageError:
        raise DataError("not a readable mask: not an image") from None
    except Exception as error:  # a decoder may raise anything on a hostile file
        raise DataError(f"not a readable mask: {error}") from None
    if mode not in ("P", "L"):
        raise DataError(f"a mask must be a palette or grey image, this one is {mode}")
    return height, width


def _some(values: np.ndarray) -> str:
    shown = ", ".join(str(int(v)) for v in values[:5])
    return f"{shown} and {len(values) - 5} more" if len(values) > 5 else shown
