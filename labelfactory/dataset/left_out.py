"""Photographs and masks that an import left out; written beside its manifest.

data/import/left_out.json: a list of {image_id, where, path, reason, what}. `where` is the file and row that name it, `what`
is "photograph"; "mask" if the photograph itself was imported; "other" if another photograph is here under its id, so that
--append could not take it. No file: nothing was left out.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from labelfactory.console import one_line
from labelfactory.files import write_json
from labelfactory.json_files import read_json
from labelfactory.masking import masked_addresses

LEFT_OUT = Path("data/import/left_out.json")
PHOTOGRAPH, MASK, OTHER = "photograph", "mask", "other"


@dataclass(frozen=True)
class LeftOut:
    """A photograph, or its mask alone, that could not be imported, with the reason."""

    image_id: str
    where: str
    path: str
    reason: str
    what: str = PHOTOGRAPH

    def __post_init__(self) -> None:
        """The list is pushed with the import, so it holds no tokens of addresses."""
        for name in ("image_id", "where", "path", "reason"):
            object.__setattr__(self, name, masked_addresses(getattr(self, name)))

    @property
    def line(self) -> str:
        """Row, file and reason in one line."""
        where = f"{self.where}: " if self.where else ""
        file = f"{self.path}: " if self.path and self.path not in self.where else ""
        return one_line(f"{where}{file}{self.reason}")


def write_left_out(items: Iterable[LeftOut], path: Path = LEFT_OUT) -> None:
    """Write the list atomically; an empty list deletes the file."""
    listed = [asdict(item) for item in items]
    if listed:
        write_json(path, listed)
    else:
        path.unlink(missing_ok=True)


def read_left_out(path: Path = LEFT_OUT) -> tuple[LeftOut, ...]:
    """What the import left out; empty if there is no file.

    Raises:
        DataError: the file is damaged.
    """
    if not path.exists():
        return ()
    listed: list[LeftOut] = read_json(path, list[LeftOut], f"Delete {path} and import the photographs again.")
    return tuple(listed)
