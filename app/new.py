"""`labelfactory new DIR`: a project folder for another data set, with the environment of this one."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

import labelfactory
from flows.line.dvc_state import keep_state_private
from labelfactory.errors import DataError, UserError
from labelfactory.files import disk_errors, make_folder, remove_made, temporary_path
from labelfactory.settings.wiring import WIRING_FILE

IDENTITY = ("-c", "user.name=labelfactory", "-c", "user.email=labelfactory@localhost", "-c", "commit.gpgsign=false")
DVC_CONFIG = "[core]\n    analytics = false\n    check_update = false\n"
"""Without the remote of the first project: two imports in one bucket would overwrite each other."""
RESULTS = ("dvc.lock", "data/import.dvc", "data/corrections.dvc", "data/audits.dvc")
"""Tracked files that speak of the first project's data."""


def new(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Does not exist yet, or is empty.")]) -> None:
    """Make a project folder for another data set: code and parameters as committed here, DVC, git, and this environment."""
    source = Path(labelfactory.__file__).resolve().parent.parent
    _check(folder, source)
    make_folder(folder.resolve().parent)
    temporary = temporary_path(folder.resolve())
    made = None
    try:
        with disk_errors(folder):
            temporary.mkdir()
            made = temporary.lstat()
            _fill(temporary, source)
            temporary.replace(folder.resolve())  # takes the place of an empty folder
        keep_state_private(folder.resolve())
    finally:
        remove_made(temporary, made)
    typer.echo(f"{folder}: a project without data; code and parameters are those that {source} has committed")
    typer.echo(f"Type `cd {folder} && source .venv/bin/activate`, then import; `git pull` there fetches later code.")
    if _git(source, "status", "--porcelain", "--untracked-files=no"):
        typer.echo(f"{source} has changes that are not committed: they are not in it")


def _check(folder: Path, source: Path) -> None:
    """Raises UserError where the folder is no place for a project, or the code is in no repository."""
    place = folder.resolve()
    if folder.is_symlink() or (place.exists() and (not place.is_dir() or any(place.iterdir()))):
        raise DataError(f"{folder}: is there already", "Name a folder that does not exist yet, or is empty.")
    projects = [parent for parent in place.parents if parent == source or (parent / WIRING_FILE).is_file()]
    if projects or place == source:
        project = projects[-1] if projects else source
        raise DataError(
            f"{folder}: lies in a project, {project}", f"Name a folder beside it: {project.parent / place.name}."
        )
    if not (source / ".git").exists():
        raise UserError(f"{source}: the code lies in no git repository", "Install it from a clone: README.md says how.")


def _fill(folder: Path, source: Path) -> None:
    """Clone the code, take out what speaks of the first project's data, and link the environment."""
    _git(source.parent, "clone", "--quiet", "--", str(source), str(folder))
    _git(folder, "rm", "--quiet", "--ignore-unmatch", "--", *RESULTS)
    make_folder(folder / ".dvc")
    (folder / ".dvc" / "config").write_text(DVC_CONFIG, encoding="utf-8")
    _git(folder, "add", "--all")
    if _git(folder, "status", "--porcelain"):
        _git(folder, *IDENTITY, "commit", "--quiet", "--no-verify", "--message", "A project for another data set")
    with (folder / ".git" / "info" / "exclude").open("a", encoding="utf-8") as stream:
        stream.write("/.venv\n")  # .gitignore means a folder, not a link
    (folder / ".venv").symlink_to(Path(sys.prefix).resolve())


def _git(folder: Path, *words: str) -> str:
    """What git prints. Raises UserError with its last line where it fails."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise UserError("git is not installed", "Install git: DVC and the passports need it.") from None
    except subprocess.CalledProcessError as error:
        said = [*error.stderr.strip().splitlines(), f"ended with {error.returncode}"][0]
        raise UserError(f"git {words[0]}: {said}", "Mend what git names.") from None
    return done.stdout.strip()
