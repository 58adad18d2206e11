"""The remotes that this project has sent to or taken from: something of it lies there, also while one is away.

Noted in .labelfactory/remotes.json by their addresses, without logins, since names in DVC's settings change.
"""

from pathlib import Path
from typing import Any

from dvc.repo import Repo
from pydantic import BaseModel

from flows.line.shared_import import LAST_SHARED
from labelfactory.errors import DataError
from labelfactory.files import make_folder, write_json
from labelfactory.json_files import read_json
from labelfactory.masking import masked

KNOWN = Path(".labelfactory/remotes.json")
UNNAMED = "the remote of an earlier `labelfactory push` or `pull`"
"""Where an earlier program noted that it had sent something, but not where to."""


class _Known(BaseModel):
    places: list[str]


def place_of(repo: Repo, name: str) -> str:
    """Where a remote of DVC's settings lies, without a login."""
    settings = repo.config["remote"].get(name, {})
    return masked(" ".join(str(settings[key]) for key in ("url", "endpointurl") if settings.get(key)))


def known_places(repo: Repo) -> frozenset[str]:
    """Where this project has sent to or taken from."""
    try:
        known: _Known = read_json(KNOWN, _Known, "")
    except DataError:
        default = repo.config["core"].get("remote")
        shared = LAST_SHARED.exists()  # of an earlier program, which did not note where
        return frozenset([place_of(repo, default) if default else UNNAMED]) if shared else frozenset()
    return frozenset(known.places)


def note_place(repo: Repo, name: str) -> None:
    """Note, before anything is sent or taken, that something of this project lies at a remote."""
    known, place = known_places(repo), place_of(repo, name)
    if place not in known or not KNOWN.exists():
        make_folder(KNOWN.parent)
        write_json(KNOWN, {"places": sorted({*known, place})})


def lost_places(repo: Repo) -> list[str]:
    """Those that DVC's settings do not name any more."""
    return sorted(known_places(repo) - {place_of(repo, name) for name in repo.config["remote"]})


def is_gone(repo: Repo, store: Any) -> bool:
    """Whether what was sent to or taken from a remote is not there, such as on a disk that is not connected."""
    return place_of(repo, store.name) in known_places(repo) and not store.fs.exists(store.root)
