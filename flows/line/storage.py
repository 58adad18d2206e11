"""Storage that several machines share: a DVC remote, such as a bucket.

`push` uploads the line's outputs from DVC's cache, dvc.lock, the import's manifest, and every photograph and true mask by the
digest of its bytes; `pull` fetches all of it into another clone, which can continue from there. Objects that exist are not sent
again. What a bucket names is checked before it is written: photographs and masks go below data/raw, outputs to where dvc.yaml
says. The remote is set by `dvc remote add -d store s3://BUCKET/FOLDER`, with credentials as for DVC.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.repo import Repo, lock_repo
from dvc_objects.errors import ObjectFormatError
from dvc_objects.fs.base import RemoteMissingDepsError

from flows.line.damaged_import import import_here, put_damaged_aside
from flows.line.data_sources import note_what_was_added
from flows.line.dvc_lock import busy
from flows.line.dvc_repo import locked_stages, open_repo
from flows.line.known_remotes import note_place, sending
from flows.line.pulled_files import check_lock, fetch_listings, fetch_outputs
from flows.line.pulled_manifest import DamagedError, read_pushed
from flows.line.pulled_paths import at_own_paths, is_here, settle
from flows.line.push_refusals import pushed_before, refuse_loss_there, refuse_remote
from flows.line.remote_store import AT_ONCE, Store
from flows.line.replaced_images import note_replaced
from flows.line.sent_outputs import send_outputs
from flows.line.shared_import import LAST_SHARED, SHOWN, brought_together, is_agreed, note_agreed, say_what_goes
from labelfactory.console import first_of, say
from labelfactory.dataset.account import ACCOUNT
from labelfactory.dataset.manifest import MANIFEST, Entry, Manifest, read_manifest, write_manifest
from labelfactory.dataset.withdrawn import withdrawn
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError, NewerFormatError, UserError, in_short
from labelfactory.files import TakenError, disk_error, make_folder, remove_leftovers, write_whole
from labelfactory.foreign_files import LARGEST_PICTURE, check_path, is_allowed, read_imported
from labelfactory.progress import progress
from labelfactory.settings.wiring import LOCK_FILE
from lineage.shown_images import record_import

REMEDY = "Type `dvc remote add -d store s3://BUCKET/FOLDER`; see docs/deployment.md for credentials."


@dataclass(frozen=True)
class Moved:
    """Counts of what was sent or fetched: outputs in DVC's count of files, new photographs and masks."""

    outputs: int
    pictures: int
    kept: tuple[str, ...] = ()
    """Files of this machine at paths for which other bytes were pushed."""


def push(*, give_up: bool = False) -> Moved:
    """Send what the remote does not have.

    Args:
        give_up: send this folder's import also where another machine has pushed what is not in it, or where what was sent before
            is gone.

    Raises:
        UserError: there is no remote, it cannot be reached or only be read, a photograph has changed since the import, what another
            machine has pushed would be lost, what was pushed before is gone, or a `data/<name>.dvc` names what was never here.
    """
    with _store() as (repo, store):
        refuse_remote(repo, store, give_up=give_up)
        manifest = read_manifest()
        if len(withdrawn().kept(manifest.entries)) < len(manifest.entries):
            raise DataError("the import names withdrawn photographs", "Type `labelfactory run`, then push again.")
        if not give_up:
            refuse_loss_there(store, manifest)
        with suppress(DamagedError, NewerFormatError):  # which --give-up replaces
            if (there := pushed_before(store)) is not None:
                say_what_goes("push", there, manifest, "the shared import")
        with sending(repo, store):
            with lock_repo(repo):
                left = note_what_was_added(repo)
            if left:
                raise left[0]
            outputs, pictures = _send(repo, store, manifest, give_up=give_up)
        note_agreed(manifest)
    return Moved(outputs, pictures)


def _send(repo: Repo, store: Store, manifest: Manifest, *, give_up: bool) -> tuple[int, int]:
    """Send photographs, masks, outputs and the manifest; gives the numbers of outputs, and of photographs and masks, sent."""
    files = _files(manifest.entries)
    there = store.pictures()
    missing = {digest: paths[0] for digest, paths in files.items() if digest not in there}
    for _ in _each(
        "push", missing, lambda digest: store.put(read_imported(missing[digest], digest), store.picture(digest))
    ):
        pass
    outputs, lock = send_outputs(repo, store.get)
    if lock is not None:
        store.put(lock, store.address("dvc.lock"))
    if not give_up:
        refuse_loss_there(store, manifest)  # once more: sending takes its time
    note_replaced(store, manifest)
    store.put(MANIFEST.read_bytes(), store.address("manifest.parquet"))  # last: all that it names is there
    return outputs, len(missing)


def pull(*, give_up: bool = False) -> Moved:
    """Fetch what this clone does not have: photographs to their paths, outputs as dvc.lock names them.

    What was added, changed or removed in this folder's import since it was last sent or taken stays so. The clone's own dvc.lock
    is used, if it has one. No photograph and no true mask of this machine is replaced: see `settle`, by which the manifest gets
    other paths.

    Args:
        give_up: take the import that was pushed as it is.

    Raises:
        UserError: there is no remote, nothing was pushed, an object in it is damaged or names what it must not, this folder's
            import is damaged, or both sides have changed the same image.
    """
    with _store() as (repo, store):
        data, manifest = _pushed_manifest(store)
        here, known = import_here(give_up=give_up), cache(is_here)  # which reads each file once
        there = replace(manifest, entries=withdrawn().kept(manifest.entries))
        pushed = _files(there.entries)
        if here is not None:
            there = at_own_paths(there, here, known)
        if here is not None and not give_up:
            _say_what_comes_back(here, there)
        settled = settle(there if give_up or here is None else brought_together(here, there), pushed, known)
        together = settled.manifest
        if here is not None:
            say_what_goes("pull", here, together, "this folder's import")
        note_place(repo, store.name)  # not before: an import that cannot be brought together may be another project's
        missing = _take_pictures(store, together, pushed, known)
        if here != together:
            record_import()  # that one's photographs may stay at their paths
            ACCOUNT.unlink(missing_ok=True)  # it is of another import
        if here is None:
            put_damaged_aside()
        if together == manifest:  # now all that it names is here
            _write(MANIFEST, data)
        else:
            write_manifest(together)
        note_agreed(manifest)
        if not LOCK_FILE.exists() and _pull_lock(store):
            repo._reset()  # it has read its stages without this file
        targets = sorted(locked_stages())  # DVC would report stages that never ran as failures
        outputs = 0
        if targets:
            fetch_listings(repo, targets, store.get)
            outputs = fetch_outputs(repo, targets)
    return Moved(outputs, missing, settled.kept)


def _take_pictures(store: Store, wanted: Manifest, pushed: Collection[str], known: Callable[[str, str], bool]) -> int:
    """Fetch the photographs and true masks of an import that were pushed and are not here.

    Args:
        store: the remote.
        wanted: the import.
        pushed: digests of what was pushed.
        known: whether a path has the bytes of a digest already.

    Returns:
        How many there were.

    Raises:
        DataError: one is missing or damaged in the remote, or a file came to its path meanwhile.
    """
    absent = (
        (digest, [path for path in paths if not known(str(path), digest)])
        for digest, paths in _files(wanted.entries).items()
        if digest in pushed
    )
    missing = {digest: paths for digest, paths in absent if paths}
    written = {check_path(path, "write") for paths in missing.values() for path in paths}
    here_before = {path for paths in _files(wanted.entries).values() for path in paths if is_allowed(path, "write")}
    for folder in {path.parent for path in written | here_before}:  # a kill may have left one beside a whole file
        remove_leftovers(folder)
    fetch = partial(store.get, largest=LARGEST_PICTURE)
    for digest, picture in _each("pull", missing, lambda digest: fetch(store.picture(digest))):
        if picture is None or digest_bytes(picture) != digest:
            problem = "is missing" if picture is None else "is damaged"
            raise DataError(
                f"{store.picture(digest)}: {missing[digest][0]} {problem}", "Type `labelfactory push` again."
            )
        for path in missing[digest]:
            _write_new(check_path(path, "write"), picture)
    return len(missing)


def _pushed_manifest(store: Store) -> tuple[bytes, Manifest]:
    """The manifest in the remote, as a file and as it is read. Raises DataError: nothing was pushed, or it is not a manifest."""
    address = store.address("manifest.parquet")
    data = store.get(address)
    if data is None:
        raise DataError(f"{store.root}: nothing was pushed", "Type `labelfactory push` where the data is.")
    return data, read_pushed(data, address)


def _say_what_comes_back(here: Manifest, there: Manifest) -> None:
    """Say which images of the pushed import are taken as new, where they may have been taken out of this folder's."""
    own = {entry.image_id for entry in here.entries}
    missing = [entry.image_id for entry in there.entries if entry.image_id not in own]
    if missing and not is_agreed():
        say(
            f"pull: {LAST_SHARED} is missing or damaged, so what was taken out of this folder's import since it was shared is not "
            f"known: it gets {len(missing)} images that it did not have: {first_of(missing, SHOWN)}"
        )


def _pull_lock(store: Store) -> bool:
    """Write dvc.lock as it was pushed; whether there is one. Raises DataError as `check_lock`."""
    address = store.address("dvc.lock")
    data = store.get(address)
    if data is None:
        return False
    check_lock(data, address)
    _write(LOCK_FILE, data)
    return True


@contextmanager
def _store() -> Iterator[tuple[Repo, Store]]:
    """DVC and its remote; their errors become errors for users."""
    with open_repo(waits=True) as repo:
        try:
            yield repo, Store(repo)
        except (RemoteMissingDepsError, ImportError) as error:
            problem = str(error).splitlines()[0]
            raise UserError(f"DVC: {problem}", "Type `pip install -c constraints.txt -e '.[s3]'`.") from error
        except LockError as error:
            raise busy(error) from error
        except (DvcException, ObjectFormatError, OSError) as error:
            full = disk_error(Path(getattr(error, "filename", None) or "DVC"), error)
            if full is not None:
                raise full from error
            raise UserError(f"DVC: {in_short(error, 500)}", REMEDY) from error


def _files(entries: Iterable[Entry]) -> dict[str, list[Path]]:
    """Digest → paths of every photograph and true mask; several where images share one."""
    files: dict[str, list[Path]] = {}
    for entry in entries:
        for digest, path in ((entry.sha256, entry.path), (entry.mask_sha256, entry.mask_path)):
            if digest and path and Path(path) not in files.setdefault(digest, []):
                files[digest].append(Path(path))
    return files


def _each(title: str, work: Collection[str], do: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
    """Call `do` for each digest, several at a time."""
    with progress(title, len(work), "files", keeps=True) as tick, ThreadPoolExecutor(AT_ONCE) as pool:
        for digest, result in zip(work, pool.map(do, work), strict=True):
            yield digest, result
            tick()


def _write(path: Path, data: bytes) -> None:
    make_folder(path.parent)
    with write_whole(path) as temporary:
        temporary.write_bytes(data)


def _write_new(path: Path, data: bytes) -> None:
    """Write a photograph or mask where none is. Raises DataError: a file came there since."""
    make_folder(path.parent)
    try:
        with write_whole(path, over=False) as temporary:
            temporary.write_bytes(data)
    except TakenError as error:
        raise DataError(
            f"{path}: another file came there meanwhile; it stays", "Type `labelfactory pull` again."
        ) from error
