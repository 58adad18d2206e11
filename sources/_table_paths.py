"""The file that a cell of a table names: with another system's slashes, without a suffix, below a folder of another computer."""

import os
import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

from labelfactory.foreign_files import PHOTOGRAPHS
from sources._named_file import named_file

LABEL_STUDIO = "/data/local-files/?d="
"""Begins Label Studio's address of a file on its own disk; the path follows, quoted."""


class OtherFileError(ValueError):
    """A path leads out of the folder, or could mean several files; its text is the reason."""


class TablePaths:
    """Finds the files of a table below the folder that its paths are relative to and must stay inside of."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._stems: dict[Path, dict[str, list[str]]] = {}  # of each folder: name without suffix → photographs
        self._meant: dict[str, str] = {}  # file that was found by the end of a path → that path
        self.counts: Counter[str] = Counter()  # photographs that were found in another way than their text says

    def find(self, stated: str) -> tuple[str, Path]:
        """The path as it is called from here on, and the file, which may be missing.

        Raises:
            OtherFileError: it is outside of the folder, or could mean one of several files.
        """
        if LABEL_STUDIO in stated:
            stated = unquote(stated.partition(LABEL_STUDIO)[2])
            self.counts["paths were read from Label Studio's addresses"] += 1
        path = self._home / stated
        inside = self._is_inside(stated)
        if inside and os.path.lexists(path):
            return stated, path
        if (
            inside
            and path.suffix.lower() not in PHOTOGRAPHS
            and (named := self._photographs(path.parent).get(path.name))
        ):
            if len(named) > 1:
                raise OtherFileError(f"{stated!r} could be {' or '.join(named)}; write the suffix")
            self.counts["the suffix was found in the folder"] += 1
            return stated + Path(named[0]).suffix, path.with_name(named[0])
        meant = named_file(self._home, stated)
        if meant is not None and meant != stated and os.path.lexists(self._home / meant):
            return self._as_meant(stated, meant), self._home / meant
        if not inside:
            home = self._home.resolve() if self._home == Path() else self._home
            raise OtherFileError(f"{stated!r} is outside of {home}; --root names another folder")
        return stated, path

    def _as_meant(self, stated: str, meant: str) -> str:
        if meant == stated.replace("\\", "/"):
            self.counts["backslashes in paths were read as slashes"] += 1
            return meant
        other = self._meant.setdefault(meant, stated)
        if other != stated:
            raise OtherFileError(f"{stated!r} and {other!r} could both mean {meant!r}; --root names another folder")
        self.counts["paths that lead elsewhere were found by their ends"] += 1
        return meant

    def _is_inside(self, stated: str) -> bool:
        inside = Path(os.path.abspath(self._home))  # noqa: PTH100 - resolve() would follow a link out of the root
        elsewhere = re.match(r"[A-Za-z]:[\\/]|\\\\", stated)  # Windows'
        return not elsewhere and Path(os.path.abspath(self._home / stated)).is_relative_to(inside)  # noqa: PTH100

    def _photographs(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._stems:
            stems: dict[str, list[str]] = {}
            for path in sorted(folder.iterdir()) if os.path.isdir(folder) else ():  # noqa: PTH112 - a name may be too long
                if path.suffix.lower() in PHOTOGRAPHS:
                    stems.setdefault(path.stem, []).append(path.name)
            self._stems[folder] = stems
        return self._stems[folder]
