"""A batch: the candidates that a source finds for an import, unopened, and the problems known by then."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from labelfactory.dataset.left_out import LeftOut

RAW = Path("data/raw")
"""Folder for photographs and masks that a source does not have as files."""

PHOTOGRAPHS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Candidate:
    """One photograph as a source names it."""

    image_id: str
    path: Path  # existing, or to be written
    tags: tuple[str, ...]
    lists: tuple[str, ...] = ()
    where: str = ""  # file and row that name it
    mask: Path | None = None  # its true mask, existing or to be written
    photograph_bytes: Callable[[], bytes] | None = None  # returns its bytes, if `path` is to be written
    mask_bytes: Callable[[], bytes] | None = None  # the same for the mask


@dataclass(frozen=True)
class Batch:
    """Everything that a source found."""

    root: Path  # the folder or file of the command line
    command: str  # the command as the manifest states it: `import folder photos`
    names: tuple[str, ...]  # classes of the source in order; empty: those of its tags
    names_note: str = field(default="", kw_only=True)  # how to name other classes, for the message of an unknown one
    candidates: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...] = ()
    problems: tuple[str, ...] = ()  # stop the import whatever max_bad_fraction is
    mask_values: Mapping[int, str] = field(default_factory=dict)  # pixel value in the true masks → class
