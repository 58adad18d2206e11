"""All problems of an import, collected in one pass and raised as one error."""

import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labelfactory.console import one_line
from labelfactory.dataset.left_out import LeftOut
from labelfactory.errors import DataError
from labelfactory.foreign_files import FileRefusedError, read_text

SHOWN = 20
EXAMPLES = 3
"""Lines of one kind that are shown."""
_WORD_OF_ITS_OWN = re.compile(r"'[^']*'|`[^`]*`|\"[^\"]*\"|[^\s]*[\d/\\.…][^\s]*")
"""A name, number or file: what differs between lines that say the same."""


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
    root: Path,
    problems: Sequence[str],
    left_out: Sequence[LeftOut],
    *,
    stop: bool,
    shown: int | None = SHOWN,
    notes: Sequence[str] = (),
) -> None:
    """Raise one DataError with the first problems and the count of the rest; do nothing without a reason.

    Args:
        root: the import's source.
        problems: each of them stops the import.
        left_out: photographs that cannot be imported.
        stop: whether those are too many.
        shown: number of lines that are listed; None for all.
        notes: what is no problem and worth to know in the same pass.
    """
    if not problems and not (left_out and stop):
        return
    lines = [one_line(line) for line in [*problems, *(item.line for item in left_out)]]
    count = f"{len(lines)} problem" + ("s" if len(lines) > 1 else "")
    remedy = "Mend these and import again; --dry-run lists all of them"
    if not problems:
        remedy += ", and prepare.max_bad_fraction in params.yaml limits how many may be left out"
    listed = [*first_lines(lines, shown), *first_lines([f"also: {one_line(note)}" for note in notes], shown)]
    raise DataError("\n".join([one_line(f"{root}: {count}"), *(f"  {line}" for line in listed)]), f"{remedy}.")


def first_lines(lines: Sequence[str], shown: int | None) -> list[str]:
    """The first lines, equal ones merged, and the count of the rest; all of them and none merged if `shown` is None."""
    if shown is None:
        return list(lines)
    groups: dict[str, list[str]] = {}
    for line in lines:
        groups.setdefault(_WORD_OF_ITS_OWN.sub("…", line), []).append(line)
    parts = [part for group in groups.values() for part in ([group] if len(group) > EXAMPLES else [[x] for x in group])]
    rest = sum(map(len, parts[shown:]))
    return [*map(_merged, parts[:shown]), *([f"… and {rest} more"] if rest else [])]


def _merged(lines: Sequence[str]) -> str:
    """One line for several that differ in names and numbers alone: their count, and three examples of what differs."""
    if len(lines) == 1:
        return lines[0]
    words = [line.split(" ") for line in lines[:EXAMPLES]]
    head = _same(words)
    tail = _same([line[head:][::-1] for line in words])
    middles = [" ".join(line[head : len(line) - tail]) for line in words]
    differ = [f"[{' | '.join(middles)} | …]"] if any(middles) else []
    return " ".join([f"{len(lines)} times:", *words[0][:head], *differ, *words[0][len(words[0]) - tail :]])


def _same(words: Sequence[Sequence[str]]) -> int:
    """Number of words that all lines begin with."""
    return next((k for k, at in enumerate(zip(*words, strict=False)) if len(set(at)) > 1), min(map(len, words)))
