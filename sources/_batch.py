"""What a source finds: candidates for an import, before anything is opened, and what is already known to be wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from labelfactory.dataset.left_out import LeftOut

RAW = Path("data/raw")
"""Where photographs and masks go that do not lie on the disk as files yet."""

PHOTOGRAPHS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Candidate:
    """One photograph as a source names it."""

    image_id: str
    path: Path  # where it lies, or will lie
    tags: tuple[str, ...]
    lists: tuple[str, ...] = ()
    where: str = ""  # file and row that name it
    mask: Path | None = None  # where its true mask lies, or will lie
    photograph_bytes: Callable[[], bytes] | None = None  # gives its bytes where `path` is still to be written
    mask_bytes: Callable[[], bytes] | None = None  # the same for the mask


@dataclass(frozen=True)
class Batch:
    """Everything that a source found."""

    root: Path  # the folder or file that was named
    command: str  # how the import is said in the manifest: `import folder photos`
    names: tuple[str, ...]  # classes of the source in order; empty: those that its tags name
    names_note: str = field(default="", kw_only=True)  # how to name others, for whoever misses some
    candidates: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...] = ()
    problems: tuple[str, ...] = ()  # what stops the import whatever max_bad_fraction says
    mask_values: Mapping[int, str] = field(default_factory=dict)  # pixel value in the true masks → class
