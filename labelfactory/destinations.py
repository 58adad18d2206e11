"""Places that a user names for results: never the project's own."""

from contextlib import suppress
from pathlib import Path

from labelfactory.errors import DataError
from labelfactory.files import disk_errors

OWN = ("data", ".git", ".dvc", "dvc.yaml", "dvc.lock", "params.yaml", "prefect.yaml")
"""Folders and files of a project, in its root folder, which is the working directory."""


def refuse_own(out: Path) -> None:
    """Refuse a place for results before anything is written there.

    Raises:
        DataError: it belongs to the project, by its path or by where its links lead.
        DiskError: nothing can be there: a part of the path is a file, a link that leads to itself, or too long a name.
    """
    with disk_errors(out), suppress(FileNotFoundError):
        out.stat()
    place = out.resolve()
    for own in OWN:
        if place.is_relative_to(Path(own).resolve()) or place.is_relative_to(Path.cwd() / own):
            raise DataError(f"{out}: {own} belongs to the project", "Name another place for the results.")
