"""The folder of an earlier export: it is replaced only if it contains what that export wrote and nothing else."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from labelfactory.console import first_of
from labelfactory.destinations import is_as_written, refuse_own
from labelfactory.digests import digest_file
from labelfactory.errors import DataError
from labelfactory.json_files import read_json

PROVENANCE = "provenance.json"
COMMAND = "labelfactory export"
REMEDY = "Name another folder with --out."
SHOWN = 3
"""Names in an error; there may be thousands."""


def refuse_others(out: Path, formats: Collection[str]) -> None:
    """Refuse a folder with anything that would be lost: what no export wrote, and what was changed since.

    Args:
        out: the folder of a new export.
        formats: names of the formats.

    Raises:
        DataError: it contains something else, is a link, or belongs to the project.
    """
    refuse_own(out)
    if out.is_symlink() or out.name in ("", ".."):
        raise DataError(f"{out}: is a link, or has no name of its own", REMEDY)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    stated = _provenance(out)
    if stated.get("format") not in formats or "masks_digest" not in stated:
        raise DataError(f"{out}: contains something other than an export", REMEDY)
    if not isinstance(stated.get("files"), dict):
        raise DataError(
            f"{out}: an export that does not list its files, so something else may lie among them",
            "Remove that folder yourself, or name another one with --out.",
        )
    found = digests(out)
    if is_as_written(out / PROVENANCE, COMMAND):
        del found[PROVENANCE]
    other = [path for path, digest in found.items() if digest is None or stated["files"].get(path) != digest]
    if other:
        raise DataError(
            f"{out}: contains what the export there did not write, or what was changed since: {first_of(other, SHOWN)}",
            "Move that elsewhere, or name another folder with --out.",
        )


def digests(folder: Path) -> dict[str, str | None]:
    """Path → SHA-256 of each file below a folder; None for a link, and for everything else that is no file and no folder."""
    found: dict[str, str | None] = {}
    for path in sorted(folder.rglob("*")):
        whole = path.is_file() and not path.is_symlink()
        if whole or path.is_symlink() or not path.is_dir():
            found[path.relative_to(folder).as_posix()] = digest_file(path) if whole else None
    return found


def _provenance(out: Path) -> dict[str, Any]:
    """What an export says of itself; empty where there is none."""
    path = out / PROVENANCE
    if path.is_symlink() or not path.is_file():
        return {}
    try:
        stated: dict[str, Any] = read_json(path, dict[str, Any], REMEDY)
    except DataError:
        return {}
    return stated
