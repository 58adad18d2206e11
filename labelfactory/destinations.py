"""Places that a user names for results: never the project's own."""

from pathlib import Path

from labelfactory.errors import DataError

OWN = ("data", ".git", ".dvc", "dvc.yaml", "dvc.lock", "params.yaml", "prefect.yaml")
"""Folders and files of a project, in its root folder, which is the working directory."""


def refuse_own(out: Path) -> None:
    """Refuse a place for results before anything is written there.

    Raises:
        DataError: it belongs to the project, by its path or by where its links lead.
    """
    place = out.resolve()
    for own in OWN:
        if place.is_relative_to(Path(own).resolve()) or place.is_relative_to(Path.cwd() / own):
            raise DataError(f"{out}: {own} belongs to the project", "Name another place for the results.")
