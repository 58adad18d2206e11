"""What `push` refuses before it sends anything: a place that is none for it, and what would be lost there."""

from pathlib import Path

from dvc.repo import Repo

from flows.line.known_remotes import is_gone
from flows.line.pulled_manifest import DamagedError, read_pushed
from flows.line.remote_store import Store
from flows.line.shared_import import SHOWN, lacking
from labelfactory.console import first_of
from labelfactory.dataset.manifest import MANIFEST, Manifest
from labelfactory.errors import DataError, NewerFormatError, UserError
from labelfactory.foreign_files import is_inside


def refuse_remote(repo: Repo, store: Store, *, give_up: bool) -> None:
    """Refuse to send to a remote that can only be read, to one in the project, and to one without what was sent before, whose disk
    may be away.
    """
    if store.fs.protocol == "local" and (is_inside(Path(store.base), Path()) or is_inside(Path(), Path(store.root))):
        problem = f"DVC's remote {store.name}: {store.base} is this project's own folder, or lies in it"
        raise UserError(problem, f"Name another folder: `dvc remote modify {store.name} url FOLDER`.")
    store.refuse_links()
    if not store.fs.CAN_TRAVERSE:
        problem = f"DVC's remote {store.name}: `labelfactory push` cannot list what is there over HTTP"
        raise UserError(
            problem, "Choose a bucket, an SSH server or a folder with `dvc remote add -d`; `dvc push` may work."
        )
    if not give_up and is_gone(repo, store):
        raise UserError(
            f"{store.root}: what was pushed or pulled before is not there",
            "Connect its disk, or correct the address; `labelfactory push --give-up` sends it anew where it was deleted.",
        )


def pushed_before(store: Store) -> Manifest | None:
    """The pushed import; None where there is none, or where it is this folder's to the letter. Raises as `read_pushed`."""
    address = store.address("manifest.parquet")
    data = store.get(address)
    return read_pushed(data, address) if data is not None and data != MANIFEST.read_bytes() else None


def refuse_loss_there(store: Store, here: Manifest) -> None:
    """Refuse to replace a pushed import that has what this folder's lacks; a damaged one is replaced."""
    try:
        there = pushed_before(store)
        lost = lacking(here, there) if there is not None else []
    except NewerFormatError:
        raise
    except DamagedError:
        return
    if lost:
        raise DataError(
            f"another machine has pushed what this folder's import lacks: {first_of(lost, SHOWN)}",
            "Type `labelfactory pull`, which keeps what was changed here, then push again; `labelfactory push --give-up` "
            "takes it out of the shared import.",
        )
