"""Send the line's outputs to DVC's remote while runs go on."""

from collections.abc import Callable
from typing import Any

from dvc.repo import Repo
from dvc_objects.errors import ObjectFormatError

from flows.line.clones import no_vain_clones
from flows.line.dvc_repo import locked_stages
from flows.line.pulled_files import remove_damaged_listings
from flows.line.transfer_failures import reasons_named
from labelfactory.settings.wiring import LOCK_FILE


def send_outputs(repo: Repo, get: Callable[[str], bytes | None]) -> tuple[int, bytes | None]:
    """Send what dvc.lock names now and the remote lacks, from DVC's cache.

    DVC's lock is held only while the names are read: a run that ends a stage needs it, and sending may take hours. Only a remote
    with versions of its own is sent to under the lock, since DVC writes them into dvc.lock.

    Args:
        repo: DVC.
        get: reads an object of the remote; None where there is none.

    Returns:
        The number of files sent, in DVC's count, and the dvc.lock that names them; None where there is none.

    Raises:
        DvcException: as `Repo.push`.
    """
    remote: Any = repo.cloud.get_remote()
    if remote.worktree or remote.fs.version_aware:
        with reasons_named(), no_vain_clones():
            return int(repo.push() or 0), _lock_file()
    with repo.lock:
        repo._reset()
        _ = repo.index.stages  # DVC keeps what it has read
        lock = _lock_file()
        names = sorted(locked_stages())
    try:
        return _send(repo), lock
    except ObjectFormatError:
        remove_damaged_listings(repo, names, get)
        return _send(repo), lock


def _send(repo: Repo) -> int:
    """`Repo.push` without DVC's lock."""
    push: Any = Repo.push
    with reasons_named(), no_vain_clones():
        return int(push.__wrapped__(repo) or 0)


def _lock_file() -> bytes | None:
    return LOCK_FILE.read_bytes() if LOCK_FILE.exists() else None
