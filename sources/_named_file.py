"""The file that a JSON or a dataset means by a name, in the folder of the photographs."""

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from labelfactory.foreign_files import PHOTOGRAPHS


def named_file(folder: Path, name: str) -> str | None:
    """The path from the folder of the file that a name means.

    A name that is a file of the folder means that one. Else the longest end of it that is one does: exports state folders
    of another machine (`C:\\data\\0.jpg`, `../upload/0.jpg`, a URL).

    Args:
        folder: of the photographs.
        name: of the JSON.

    Returns:
        With slashes, without `..`. The name itself, if no file is there; None if it would lead out of the folder.
    """
    found = next((path for path in _readings(name) if _is_file(folder, path)), None)
    if found is not None:
        return found
    inside = "\0" not in name and Path(os.path.abspath(folder / name)).is_relative_to(os.path.abspath(folder))  # noqa: PTH100
    return name if inside else None


@dataclass(frozen=True)
class NamedFiles:
    """The files of a folder by name, also those of folders below it that the names leave out."""

    folder: Path
    part: str = ""  # the folder below it that counts where several have a file of the name

    def path_of(self, name: str) -> str | None:
        """As `named_file`; else the only file of that name below the folder, as CVAT puts them into images/default."""
        path = named_file(self.folder, name)
        if path is None or _is_file(self.folder, path):
            return path
        found = self._by_name.get(PurePosixPath(name.replace("\\", "/")).name, [])
        chosen = [path for path in found if self.part in PurePosixPath(path).parts] if len(found) > 1 else found
        return chosen[0] if len(chosen) == 1 else path

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        paths: dict[str, list[str]] = {}
        for path in sorted(self.folder.rglob("*")):
            inside = path.relative_to(self.folder)
            if path.suffix.lower() in PHOTOGRAPHS and not any(part.startswith(".") for part in inside.parts):
                paths.setdefault(path.name, []).append(inside.as_posix())
        return paths


def _readings(name: str) -> Iterator[str]:
    """What a name may mean, the likeliest first."""
    if "\0" in name:
        return
    stated = PurePosixPath(name)
    if not stated.is_absolute() and ".." not in stated.parts:
        yield name
    plain = urlsplit(name).path if "://" in name else name.replace("\\", "/")
    for text in dict.fromkeys(
        (plain, unquote(plain), *(unicodedata.normalize(form, plain) for form in ("NFC", "NFD")))
    ):
        parts = [part for part in PurePosixPath(text).parts if part not in ("/", "..") and not part.endswith(":")]
        for start in range(len(parts)):
            end = "/".join(parts[start:])
            yield end
            if not PurePosixPath(end).suffix:
                yield from (f"{end}{suffix}" for suffix in PHOTOGRAPHS)


def _is_file(folder: Path, path: str) -> bool:
    try:
        return (folder / path).is_file()
    except (OSError, ValueError):  # too long, half a character
        return False
