"""Everything wrong with an import, gathered in one pass and said in one error."""

from dataclasses import dataclass, field
from pathlib import Path

from labelfactory.errors import DataError

SHOWN = 20


@dataclass
class Findings:
    """Everything wrong with the folder, gathered before anything is said."""

    root: Path
    lines: list[str] = field(default_factory=list)

    def add(self, where: Path | str, reason: str, row: int | None = None) -> None:
        """Note one problem: in which file, in which row (from 1), what."""
        shown = where.relative_to(self.root) if isinstance(where, Path) and where.is_relative_to(self.root) else where
        self.lines.append(f"  {shown}{'' if row is None else f', row {row}'}: {reason}")

    def read(self, path: Path) -> list[str]:
        """The rows of a text file; none, and a note, when it cannot be read."""
        try:
            return path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            self.add(path, f"not readable: {getattr(error, 'strerror', None) or 'not UTF-8 text'}")
            return []

    def raise_if_any(self) -> None:
        """Raise one DataError with the first 20 problems and the count of the rest."""
        if self.lines:
            count = f"{len(self.lines)} problem" + ("s" if len(self.lines) > 1 else "")
            more = [f"  … and {len(self.lines) - SHOWN} more"] if len(self.lines) > SHOWN else []
            raise DataError(
                "\n".join([f"{self.root}: {count}", *self.lines[:SHOWN], *more]),
                "Mend these, or leave a list out with --lists, and import again.",
            )
