"""Opens every candidate once, on all cores: its digest, its size, and what is wrong with it or with its true mask."""

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
class Looked:
    """What looking at one candidate said."""

    sha256: str = ""
    mask_sha256: str | None = None
    reason: str = ""  # why the photograph cannot be taken
    mask_reason: str = ""  # why its mask cannot
    size: int = 0  # bytes that are written under data/ for it
    width: int = 0  # pixels, upright
    height: int = 0


def look_at_all(
    candidates: Sequence[Candidate], mask_values: Iterable[int] | None, *, command: str = "import"
) -> list[Looked]:
    """Look at every candidate.

    Args:
        candidates: what a source found.
        mask_values: values that a true mask may hold, to be held against its pixels; None to read no more of a mask than
            its size. 0 and 255 are always allowed.
        command: what the progress is called.
    """
    allowed = None if mask_values is None else np.array(sorted({BACKGROUND, VOID, *mask_values}))
    looked = []
    with ThreadPoolExecutor() as pool, progress(command, len(candidates)) as tick:
        for result in pool.map(lambda candidate: look(candidate, allowed), candidates):
            looked.append(result)
            tick(size=result.size)
    return looked


def look(candidate: Candidate, allowed: np.ndarray | None) -> Looked:
    """Look at one candidate."""
    try:
        data = candidate.photograph_bytes() if candidate.photograph_bytes else candidate.path.read_bytes()
    except OSError as error:
        return Looked(reason=error.strerror or str(error) or "not readable")
    except DataError as error:
        return Looked(reason=error.problem)
    except ValueError as error:  # a path with a NUL
        return Looked(reason=f"not readable: {error}")
    try:
        height, width = size = decode_photograph(data).shape[:2]
    except DataError as error:
        return Looked(reason=error.problem)
    except Exception as error:  # a decoder fed with a hostile file raises anything; one file must not stop a million
        return Looked(reason=f"not decodable: {type(error).__name__}: {error}")
    if min(size) < MIN_SIDE:
        return Looked(reason=f"{size[1]}×{size[0]} pixels: too small, a side needs {MIN_SIDE}")
    mask_sha256, mask_reason = _look_at_mask(candidate, size, allowed)
    written = len(data) if candidate.photograph_bytes else 0
    return Looked(digest_bytes(data), mask_sha256, "", mask_reason, written, width, height)


def _look_at_mask(candidate: Candidate, size: tuple[int, ...], allowed: np.ndarray | None) -> tuple[str | None, str]:
    """Digest of the true mask, and what is wrong with it; (None, "") where there is none."""
    if candidate.mask is None:
        return None, ""
    try:
        data = candidate.mask_bytes() if candidate.mask_bytes else candidate.mask.read_bytes()
        if not data:
            return None, "the mask is empty"
        height, width = _mask_size(data)
        if (height, width) not in (tuple(size), tuple(size[::-1])):  # turned: labelfactory.dataset.truth turns it
            return None, f"the mask is {width}×{height} pixels, its photograph {size[1]}×{size[0]}"
        if allowed is not None:
            wrong = np.setdiff1d(np.unique(decode_mask(data)), allowed)
            if len(wrong):
                return None, f"the mask holds {_some(wrong)}, which is no class"
    except OSError as error:
        return None, f"the mask is not readable: {error.strerror or error}"
    except DataError as error:
        return None, error.problem
    return digest_bytes(data), ""


def _mask_size(data: bytes) -> tuple[int, int]:
    """Height and width from the mask's header; its pixels stay packed.

    Raises:
        DataError: not an image, or one in colours instead of numbers.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            mode, (width, height) = opened.mode, opened.size
    except UnidentifiedImageError:
        raise DataError("not a readable mask: not an image") from None
    except Exception as error:  # a decoder fed with a hostile file raises anything
        raise DataError(f"not a readable mask: {error}") from None
    if mode not in ("P", "L"):
        raise DataError(f"a mask must be a palette or grey image, this one is {mode}")
    return height, width


def _some(values: np.ndarray) -> str:
    shown = ", ".join(str(int(v)) for v in values[:5])
    return f"{shown} and {len(values) - 5} more" if len(values) > 5 else shown
