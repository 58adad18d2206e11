"""Everything wrong with an import, gathered in one pass and said in one error."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labelfactory.dataset.left_out import LeftOut
from labelfactory.errors import DataError

SHOWN = 20


@dataclass
class Findings:
    """What a source finds wrong while it reads."""

    root: Path
    problems: list[str] = field(default_factory=list)  # stop the import
    left_out: list[LeftOut] = field(default_factory=list)  # cost one photograph each

    def add(self, where: Path | str, reason: str, row: int | None = None) -> None:
        """Note what stops the import: in which file, in which row (from 1), what."""
        self.problems.append(f"{self.place(where, row)}: {reason}")

    def leave_out(
        self, image_id: str, where: Path | str, reason: str, row: int | None = None, *, path: str = "", what: str = ""
    ) -> None:
        """Note what costs one photograph, or its mask when `what` says so."""
        self.left_out.append(LeftOut(image_id, self.place(where, row), path, reason, what or "photograph"))

    def place(self, where: Path | str, row: int | None = None) -> str:
        """File, from the root where it lies inside, and row."""
        shown = where.relative_to(self.root) if isinstance(where, Path) and where.is_relative_to(self.root) else where
        return f"{shown}{'' if row is None else f', row {row}'}"

    def read(self, path: Path) -> list[str]:
        """The rows of a text file; none, and a note, when it cannot be read."""
        try:
            return path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError, ValueError) as error:
            self.add(path, f"not readable: {getattr(error, 'strerror', None) or 'not UTF-8 text'}")
            return []


def raise_problems(
    root: Path, problems: Sequence[str], left_out: Sequence[LeftOut], *, stop: bool, shown: int | None = SHOWN
) -> None:
    """Raise one DataError with the first problems and the count of the rest; nothing when there is no reason to.

    Args:
        root: what was imported.
        problems: each of them stops the import.
        left_out: photographs that cannot be taken; they stop it when `stop` says that they are too many.
        stop: whether they are.
        shown: how many problems are listed; None for all.
    """
    if not problems and not (left_out and stop):
        return
    lines = [f"  {line}" for line in [*problems, *(item.line for item in left_out)]]
    count = f"{len(lines)} problem" + ("s" if len(lines) > 1 else "")
    more = [f"  … and {len(lines) - shown} more"] if shown is not None and len(lines) > shown else []
    remedy = "Mend these and import again; --dry-run lists all of them"
    if not problems:
        remedy += ", and prepare.max_bad_fraction in params.yaml says how many may be left out"
    raise DataError("\n".join([f"{root}: {count}", *lines[:shown], *more]), f"{remedy}.")
