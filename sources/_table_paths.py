"""The file that a cell of a table names: with another system's slashes, without a suffix, below a folder of another computer."""

import os
import re
import shlex
from collections import Counter
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from labelfactory.foreign_files import PHOTOGRAPHS

LABEL_STUDIO = "/data/local-files/?d="
"""Begins Label Studio's address of a file on its own disk; the path follows, quoted."""


class OutsideError(ValueError):
    """A path leads out of the folder, or names several files; its text is the reason."""


class TablePaths:
    """Finds the files of a table.

    Args:
        home: the folder that paths are relative to and must stay inside of.
        cut: text that is removed from the front of paths.
    """

    def __init__(self, home: Path, cut: str = "") -> None:
        self._home, self._cut = home, cut
        self._stems: dict[Path, dict[str, list[str]]] = {}  # of each folder: name without suffix → photographs
        self.counts: Counter[str] = Counter()  # photographs that were found in another way than their text says

    def find(self, stated: str) -> tuple[str, Path]:
        """The path as it is called from here on, and the file, which may be missing.

        Raises:
            OutsideError: it is outside of the folder, or could be one of several files.
        """
        if LABEL_STUDIO in stated:
            stated = unquote(stated.partition(LABEL_STUDIO)[2])
            self.counts["paths were read from Label Studio's addresses"] += 1
        shorter = stated.removeprefix(self._cut) if self._cut else stated
        if shorter != stated:
            self.counts[f"--cut-prefix {self._cut!r} was cut"] += 1
            stated = shorter.lstrip("/\\")
        path = self._inside(stated)
        if "\\" in stated and not os.path.lexists(path):
            stated = stated.replace("\\", "/")
            path = self._inside(stated)
            self.counts["backslashes in paths were read as slashes"] += 1
        if path.suffix.lower() not in PHOTOGRAPHS and not os.path.lexists(path):
            named = self._photographs(path.parent).get(path.name, [])
            if len(named) > 1:
                raise OutsideError(f"{stated!r} could be {' or '.join(named)}; write the suffix")
            if named:
                self.counts["the suffix was found in the folder"] += 1
                stated, path = stated + Path(named[0]).suffix, path.with_name(named[0])
        return stated, path

    def _inside(self, stated: str) -> Path:
        path = self._home / stated
        inside = Path(os.path.abspath(self._home))  # noqa: PTH100 - resolve() would follow a link out of the root
        elsewhere = re.match(r"[A-Za-z]:[\\/]|\\\\", stated)  # Windows'
        if not elsewhere and Path(os.path.abspath(path)).is_relative_to(inside):  # noqa: PTH100
            return path
        home = self._home.resolve() if self._home == Path() else self._home
        raise OutsideError(f"{stated!r} is outside of {home}; --root names another folder{self._cut_it(stated)}")

    def _cut_it(self, stated: str) -> str:
        """What to type if the end of the path is a file below the folder."""
        starts = [match.end() for match in re.finditer(r"[\\/]", stated)]
        for start in starts:
            end = stated[start:].replace("\\", "/")
            if (
                end
                and not end.startswith("/")
                and ".." not in PurePosixPath(end).parts
                and (self._home / end).is_file()
            ):
                return f", or --cut-prefix {shlex.quote(stated[:start])} leaves {end!r}"
        return ""

    def _photographs(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._stems:
            stems: dict[str, list[str]] = {}
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if path.suffix.lower() in PHOTOGRAPHS:
                    stems.setdefault(path.stem, []).append(path.name)
            self._stems[folder] = stems
        return self._stems[folder]
