"""Delete withdrawn images at the DVC remote that `labelfactory push` writes to, and keep the list of refused digests there."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dvc.config import NoRemoteError
from dvc.repo import Repo

from flows.line.dvc_repo import open_repo
from flows.line.storage import Store
from labelfactory.dataset.manifest import read_manifest, write_manifest
from labelfactory.dataset.withdrawn import withdrawn
from labelfactory.errors import DataError
from labelfactory.masking import masked
from lineage.withdrawal_report import Remote
from lineage.withdrawals import Withdrawal

REFUSED = "withdrawn.json"
"""In the remote: SHA-256 of every withdrawn photograph, for other machines; no ids."""
FINISH = "`labelfactory push` finishes it when the remote answers"


def remove_at_remote(withdrawals: Collection[Withdrawal], objects: Iterable[str]) -> Remote:
    """Delete photographs, true masks, rows of the manifest and old outputs at the remote.

    Args:
        withdrawals: whose images go.
        objects: MD5 of outputs that contain them; others of their kind, pushed by other machines, are not known here.

    Returns:
        What could not be deleted, with the reason, and the remotes that are not ours to write to.
    """
    with open_repo() as repo:
        others = tuple(_others(repo))
        try:
            store = Store(repo)
        except NoRemoteError:
            return Remote((), others)
        except Exception as error:  # whatever ails the remote must not stop a withdrawal
            return Remote((_not_reached(repo, error),), others)
        try:
            _remove(repo, store, withdrawals, objects)
        except Exception as error:
            return Remote((_not_reached(repo, error),), others)
    return Remote(
        (), (f"{address_of(repo)}: outputs that other machines pushed, if they are not in this cache", *others)
    )


def clean_remote() -> None:
    """Delete every withdrawn photograph that is at the remote again, with its true mask and its row: another machine sent it
    before it knew, or withdrew it while this one was sending."""
    with open_repo() as repo:
        store = Store(repo)
        refused = refuse_at(store, withdrawn().photographs)
        if refused:
            _clean_manifest(store, refused)
            for digest in refused & store.pictures():
                _delete(store, store.picture(digest))


def _remove(repo: Repo, store: Store, withdrawals: Collection[Withdrawal], objects: Iterable[str]) -> None:
    if not store.fs.exists(store.root):
        return  # nothing was ever pushed
    used = _clean_manifest(store, refuse_at(store, withdrawn().photographs))
    for digest in {digest for each in withdrawals for digest in each.pixels} - used:
        _delete(store, store.picture(digest))
    odb: Any = repo.cloud.get_remote_odb()
    there = [address for address in map(odb.oid_to_path, objects) if store.fs.exists(address)]
    if there:  # first, since it names them: who is killed among them finds some the next time
        _delete(store, store.address("dvc.lock"))
    for address in there:
        _delete(store, address)


def refuse_at(store: Store, photographs: Collection[str]) -> frozenset[str]:
    """Add digests to the remote's list; gives all of it."""
    known = refused_at(store)
    together = known | frozenset(photographs)
    if together != known:
        store.put(json.dumps({"photographs": sorted(together)}, indent=2).encode(), store.address(REFUSED))
    return together


def refused_at(store: Store) -> frozenset[str]:
    """Digests that were withdrawn on any machine which pushes there.

    Raises:
        DataError: the list is damaged; a new one in its place would forget what others withdrew.
    """
    data = store.get(store.address(REFUSED))
    try:
        listed = json.loads(data)["photographs"] if data is not None else []
        return frozenset(map(str, listed))
    except (ValueError, KeyError, TypeError):
        problem = f"{store.address(REFUSED)}: the list of withdrawn photographs is damaged"
        raise DataError(
            problem, "Restore it from a backup of the remote, or delete it and push from each machine."
        ) from None


def _clean_manifest(store: Store, refused: Collection[str]) -> frozenset[str]:
    """Take the rows of withdrawn images out of the manifest there, and their true masks; gives the digests of true masks that it
    still names."""
    address = store.address("manifest.parquet")
    data = store.get(address)
    if data is None:
        return frozenset()
    with TemporaryDirectory() as folder:
        path = Path(folder, "manifest.parquet")
        path.write_bytes(data)
        manifest = read_manifest(path)
        kept = tuple(entry for entry in withdrawn().kept(manifest.entries) if entry.sha256 not in refused)
        used = frozenset(entry.mask_sha256 for entry in kept if entry.mask_sha256)
        gone = {entry.mask_sha256 for entry in manifest.entries if entry.mask_sha256} - used
        for digest in gone - {entry.sha256 for entry in kept}:  # first: without their rows nobody would know them
            _delete(store, store.picture(digest))
        if len(kept) < len(manifest.entries):
            write_manifest(type(manifest)(manifest.classes, manifest.mask_ids, manifest.source, kept), path)
            store.put(path.read_bytes(), address)
    return used


def _delete(store: Store, address: str) -> bool:
    """Delete an object; whether it was there."""
    if not store.fs.exists(address):
        return False
    store.fs.rm(address)
    return True


def _others(repo: Repo) -> list[str]:
    """Remotes that `labelfactory push` does not write to."""
    own = repo.config["core"].get("remote")
    return [
        f"DVC's remote {name} ({masked(str(settings.get('url', '')))}): whatever was pushed there"
        for name, settings in repo.config["remote"].items()
        if name != own
    ]


def address_of(repo: Repo) -> str:
    """The remote that `labelfactory push` writes to, for messages."""
    name = repo.config["core"].get("remote")
    return f"DVC's remote {name} ({masked(str(repo.config['remote'].get(name, {}).get('url', '')))})"


def _not_reached(repo: Repo, error: Exception) -> str:
    return f"{address_of(repo)}: not reached: {masked(' '.join(str(error).split())[:200])}; {FINISH}"
