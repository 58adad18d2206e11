"""All problems of an import, collected in one pass and raised as one error."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labelfactory.console import one_line
from labelfactory.dataset.left_out import LeftOut
from labelfactory.errors import DataError
from labelfactory.foreign_files import FileRefusedError, read_text

SHOWN = 20


@dataclass
class Findings:
    """The problems that a source finds while it reads."""

    root: Path
    problems: list[str] = field(default_factory=list)  # stop the import
    left_out: list[LeftOut] = field(default_factory=list)  # lose one photograph each
    decisions: list[str] = field(default_factory=list)  # as in a batch
    passed_over: Counter[str] = field(default_factory=Counter)  # as in a batch

    def add(self, where: Path | str, reason: str, row: int | None = None) -> None:
        """Note a problem that stops the import: its file, its row (from 1) and the reason."""
        self.problems.append(f"{self.location(where, row)}: {reason}")

    def leave_out(
        self, image_id: str, where: Path | str, reason: str, row: int | None = None, *, path: str = "", what: str = ""
    ) -> None:
        """Note a photograph that is left out, or only its mask if `what` is "mask"."""
        self.left_out.append(LeftOut(image_id, self.location(where, row), path, reason, what or "photograph"))

    def location(self, where: Path | str, row: int | None = None) -> str:
        """File and row; a file below the root is relative to it."""
        shown = where.relative_to(self.root) if isinstance(where, Path) and where.is_relative_to(self.root) else where
        return f"{shown}{'' if row is None else f', row {row}'}"

    def read(self, path: Path) -> list[str]:
        """The rows of a text file; none, and a problem, if it is not readable."""
        try:
            return text_rows(path)
        except FileRefusedError as error:
            self.add(path, f"not readable: {error.reason}")
            return []


def text_rows(path: Path) -> list[str]:
    """The rows of a text file, as editors count them: `str.splitlines` would also split at characters such as U+2028.

    Raises:
        FileRefusedError: as `read_text`.
    """
    text = io.StringIO(read_text(path), newline=None).read()  # every kind of line end becomes \n
    return text.removesuffix("\n").split("\n") if text else []


def raise_problems(
    root: Path, problems: Sequence[str], left_out: Sequence[LeftOut], *, stop: bool, shown: int | None = SHOWN
) -> None:
    """Raise one DataError with the first problems and the count of the rest; do nothing without a reason.

    Args:
        root: the import's source.
        problems: each of them stops the import.
        left_out: photographs that cannot be imported.
        stop: whether those are too many.
        shown: number of problems that are listed; None for all.
    """
    if not problems and not (left_out and stop):
        return
    lines = [f"  {one_line(line)}" for line in [*problems, *(item.line for item in left_out)]]
    count = f"{len(lines)} problem" + ("s" if len(lines) > 1 else "")
    more = [f"  … and {len(lines) - shown} more"] if shown is not None and len(lines) > shown else []
    remedy = "Mend these and import again; --dry-run lists all of them"
    if not problems:
        remedy += ", and prepare.max_bad_fraction in params.yaml limits how many may be left out"
    raise DataError("\n".join([one_line(f"{root}: {count}"), *lines[:shown], *more]), f"{remedy}.")
