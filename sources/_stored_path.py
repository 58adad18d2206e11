"""Paths as a manifest states them."""

import os
from pathlib import Path

from labelfactory.foreign_files import RAW, is_inside


def stored(path: Path) -> str:
    """The path in the manifest: relative to the current folder if inside it, else absolute, with links followed."""
    full = Path(os.path.abspath(path))  # noqa: PTH100 - a link inside the project keeps its name
    if not (full.is_relative_to(Path.cwd()) and is_inside(full, Path.cwd(), RAW)):
        full = full.resolve()
    return (full.relative_to(Path.cwd()) if full.is_relative_to(Path.cwd()) else full).as_posix()
