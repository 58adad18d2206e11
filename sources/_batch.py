"""A batch: the candidates that a source finds for an import, unopened, and the problems known by then."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from labelfactory.dataset.left_out import LeftOut
from labelfactory.foreign_files import check_path, read_file
from sources._unpacked_files import name_with_digest


@dataclass(frozen=True)
class Candidate:
    """One photograph as a source names it."""

    image_id: str
    path: Path  # existing, or to be written: then the import adds a digest to its name
    tags: tuple[str, ...]
    lists: tuple[str, ...] = ()
    where: str = ""  # file and row that name it
    mask: Path | None = None  # its true mask, existing or to be written
    photograph_bytes: Callable[[], bytes] | None = None  # returns its bytes, if `path` is to be written
    mask_bytes: Callable[[], bytes] | None = None  # the same for the mask
    mask_size: tuple[int, int] | None = None  # height and width of a mask that is drawn, as the source claims them
    within: Path | None = None  # the folder of the table or JSON that names `path`: no link may lead out of it
    fetched: bool = False  # `photograph_bytes` fetches it, and keeps it in `path`

    @property
    def is_unpacked(self) -> bool:
        """Whether the import writes the photograph, so that its path does not say which photograph it is."""
        return self.photograph_bytes is not None and not self.fetched

    def named_by_content(self, sha256: str, mask_sha256: str | None) -> "Candidate":
        """The candidate whose files that are to be written have a digest in their names: other bytes are another file."""
        path = name_with_digest(self.path, sha256) if self.is_unpacked else self.path
        mask = self.mask
        if mask is not None and mask_sha256 is not None and self.mask_bytes is not None:
            mask = name_with_digest(mask, mask_sha256)
        return replace(self, path=path, mask=mask)

    def to_write(self) -> Iterator[tuple[Path, Callable[[], bytes]]]:
        """The files that the import writes, and what gives their bytes; files that exist are the user's."""
        for path, load in ((self.path, self.photograph_bytes), (self.mask, self.mask_bytes)):
            if path is not None and load is not None:
                yield path, load

    def read_photograph(self) -> bytes:
        """The bytes of the photograph.

        A link in a folder that the user named is followed; one that a table leads to must stay in the table's folder or the
        project.

        Raises:
            DataError: it is missing, not a regular file, too large, or may not be read.
        """
        if self.photograph_bytes:
            return self.photograph_bytes()
        return read_file(check_path(self.path, "read", within=self.within) if self.within else self.path)

    def read_mask(self) -> bytes | None:
        """The bytes of the true mask; None if there is none. Raises DataError as `read_photograph`."""
        if self.mask is None:
            return None
        return self.mask_bytes() if self.mask_bytes else read_file(self.mask)


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
    decisions: tuple[str, ...] = ()  # where two readings were possible: which was taken, why, for how many images
    passed_over: Mapping[str, int] = field(default_factory=dict)  # suffix or kind of file that is no photograph → count
