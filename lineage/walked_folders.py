"""Every file below a folder, each once, behind links to folders too."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path


def files_below(root: Path, *, without: Collection[Path] = ()) -> Iterator[Path]:
    """The files below a folder, each by one path: by one without links where it has one.

    A link to a folder is followed, unless that is the folder `root` itself or one above it. A folder that cannot be listed is
    passed over.

    Args:
        root: the folder.
        without: folders that are left out, by whatever path they are reached.
    """
    home = Path(os.path.realpath(root))
    seen = {*map(str, home.parents), *map(os.path.realpath, without)}
    folders, links = [root], list[Path]()
    while folders:
        folder = folders.pop()
        if os.path.realpath(folder) in seen:
            continue
        seen.add(os.path.realpath(folder))
        for path in _inside(folder):
            if path.is_dir():
                (links if path.is_symlink() else folders).append(path)
            elif path.is_file():
                yield path
        if not folders:
            folders, links = links, []


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
