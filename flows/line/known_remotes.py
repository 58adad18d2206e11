"""The remotes that this project has sent to or taken from: something of it lies there, also while one is away.

Noted in data/ledger/remotes.json by their addresses, without logins, since names in DVC's settings change; beside the ledger, since
clones that share data/ share what was sent. Addresses of folders are relative to the project where DVC's settings have them so.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc.config_schema import RelPath
from dvc.repo import Repo
from pydantic import BaseModel

from flows.line.remote_store import Store
from flows.line.shared_import import LAST_SHARED
from labelfactory.files import write_json
from labelfactory.json_files import read_json
from labelfactory.masking import masked, masked_addresses
from lineage.ledger import LEDGER, Ledger

KNOWN = LEDGER / "remotes.json"
EARLIER = Path(".labelfactory/remotes.json")
"""Where an earlier program noted them, in each clone."""
UNNAMED = "the remote of an earlier `labelfactory push` or `pull`"
"""Where an earlier program noted that it had sent something, but not where to."""
RESTORE = (
    "Write the addresses of all remotes that this project has pushed to or pulled from into it: "
    '{"places": ["s3://BUCKET/FOLDER"]}.'
)


class _Known(BaseModel):
    places: frozenset[str]
    begun: frozenset[str] = frozenset()  # a push there began, and nobody knows whether anything was sent


def place_of(repo: Repo, name: str) -> str:
    """Where a remote of DVC's settings lies, without a login."""
    return _forms(repo, name)[0]


def known_places(repo: Repo) -> frozenset[str]:
    """Where this project has sent to or taken from, or may have.

    Raises:
        DataError: the list is damaged; without it, a remote that is away would pass for one that nothing was sent to.
    """
    known = _read(repo)
    if EARLIER.exists():
        with Ledger().locked():
            _write(known)
    return known.places | known.begun


def note_place(repo: Repo, name: str) -> None:
    """Note that something of this project lies at a remote. Raises DataError as `known_places`."""
    with Ledger().locked():
        known, forms = _read(repo), _forms(repo, name)
        _write(_Known(places=known.places.difference(forms) | {forms[0]}, begun=known.begun.difference(forms)))


@contextmanager
def sending(repo: Repo, store: Store) -> Iterator[None]:
    """Note a remote before anything is sent there inside. It is forgotten if that fails and nothing came to be there.

    Raises:
        DataError: as `known_places`.
    """
    place = place_of(repo, store.name)
    with Ledger().locked():
        before = _read(repo)
        is_new = place not in before.places | before.begun
        if is_new:
            _write(_Known(places=before.places, begun=before.begun | {place}))
    try:
        yield
    except BaseException:
        if is_new and not _may_hold(store):
            with Ledger().locked():
                known = _read(repo)
                _write(_Known(places=known.places, begun=known.begun - {place}))
        raise
    note_place(repo, store.name)


def lost_places(repo: Repo) -> list[str]:
    """Those that DVC's settings do not name any more."""
    return sorted(known_places(repo) - {place_of(repo, name) for name in repo.config["remote"]})


def is_gone(repo: Repo, store: Store) -> bool:
    """Whether what was sent to or taken from a remote is not there, such as on a disk that is not connected."""
    return is_shared(repo, store) and not store.fs.exists(store.root)


def is_shared(repo: Repo, store: Store) -> bool:
    """Whether labelfactory's folder at a remote is this project's, as its ids are: a push was finished, or an import taken from it.

    Otherwise it may be another project's. Raises DataError as `known_places`.
    """
    return place_of(repo, store.name) in _read(repo).places


def _may_hold(store: Store) -> bool:
    """Whether something of this project may lie at a remote to which a push failed."""
    try:
        return any(store.fs.exists(folder) for folder in (store.root, store.odb.path))
    except Exception:  # it does not answer, or not any more
        return bool(store.has_written)


def _forms(repo: Repo, name: str) -> tuple[str, ...]:
    """The address of a remote, and as earlier programs wrote it: absolute, and without what the environment calls secret."""
    settings = repo.config["remote"].get(name, {})
    url, server = settings.get("url", ""), settings.get("endpointurl", "")
    full = " ".join(str(part) for part in (url, server) if part)
    address = Path(os.path.relpath(url, repo.root_dir)).as_posix() if isinstance(url, RelPath) else full
    return tuple(dict.fromkeys((masked_addresses(address), masked_addresses(full), masked(full))))


def _read(repo: Repo) -> _Known:
    """The list, with what an earlier program noted, under the addresses that this one gives to remotes of DVC's settings."""
    files = [path for path in (KNOWN, EARLIER) if path.exists()]
    read: list[_Known] = [read_json(path, _Known, RESTORE) for path in files]
    places = {place for known in read for place in known.places}
    if not files and LAST_SHARED.exists():  # of an earlier program, which did not note where
        default = repo.config["core"].get("remote")
        places = {place_of(repo, default) if default else UNNAMED}
    now = {form: forms[0] for forms in (_forms(repo, name) for name in repo.config["remote"]) for form in forms}
    begun = {place for known in read for place in known.begun}
    return _Known(
        places=frozenset(now.get(place, place) for place in places),
        begun=frozenset(now.get(place, place) for place in begun - places),
    )


def _write(known: _Known) -> None:
    """Write the list, in the place of an earlier program's. The caller holds the ledger's lock."""
    write_json(KNOWN, {"places": sorted(known.places), "begun": sorted(known.begun)})
    EARLIER.unlink(missing_ok=True)
