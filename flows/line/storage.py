"""Storage that several machines share: a DVC remote, such as a bucket.

`push` uploads the line's outputs from DVC's cache, dvc.lock, the import's manifest, and every photograph and true mask by the
digest of its bytes; `pull` fetches all of it into another clone, which can continue from there. Objects that exist are not sent
again. The remote is set by `dvc remote add -d store s3://BUCKET/FOLDER`, with credentials as for DVC.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc_objects.fs.base import RemoteMissingDepsError

from flows.line.dvc_line import locked_stages, open_repo
from labelfactory.dataset.manifest import MANIFEST, Entry, read_manifest, write_manifest
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError, UserError
from labelfactory.files import write_whole
from labelfactory.progress import progress
from labelfactory.settings.wiring import LOCK_FILE

FOLDER = "labelfactory"
"""labelfactory's folder in the remote, beside DVC's `files`."""
FETCHED = Path("data/raw/pulled")
"""Fetched photographs whose path is outside of the project, by digest."""
AT_ONCE = 16
"""Simultaneous transfers."""
REMEDY = "Type `dvc remote add -d store s3://BUCKET/FOLDER`; see docs/deployment.md for credentials."


@dataclass(frozen=True)
class Moved:
    """Counts of what was sent or fetched: outputs in DVC's count of files, new photographs and masks."""

    outputs: int
    pictures: int


class Store:
    """labelfactory's folder in the remote's file system."""

    def __init__(self, repo: Repo) -> None:
        remote: Any = repo.cloud.get_remote()
        self.fs, self.root = remote.fs, f"{remote.path}/{FOLDER}"

    def address(self, *parts: str) -> str:
        """The address of an object."""
        return "/".join([self.root, *parts])

    def picture(self, sha256: str) -> str:
        """The address of the photograph or mask with this digest."""
        return self.address("pictures", sha256[:2], sha256)

    def pictures(self) -> set[str]:
        """Digests of all photographs and masks in the remote."""
        folder = self.address("pictures")
        return {PurePosixPath(path).name for path in self.fs.find(folder)} if self.fs.exists(folder) else set()

    def put(self, data: bytes, address: str) -> None:
        """Write an object; in a bucket, atomically."""
        self.fs.makedirs(self.fs.parent(address), exist_ok=True)
        self.fs.pipe_file(address, data)

    def get(self, address: str) -> bytes | None:
        """Read an object; None where there is none."""
        try:
            with self.fs.open(address, "rb") as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None


def push() -> Moved:
    """Send what the remote does not have.

    Raises:
        UserError: there is no remote, it cannot be reached, or a photograph has changed since the import.
    """
    with _store() as (repo, store):
        files = _files(read_manifest().entries)
        missing = {digest: path for digest, path in files.items() if digest not in store.pictures()}
        for _ in _each(
            "push", missing, lambda digest: store.put(_checked(missing[digest], digest), store.picture(digest))
        ):
            pass
        outputs = int(repo.push() or 0)
        if LOCK_FILE.exists():
            store.put(LOCK_FILE.read_bytes(), store.address("dvc.lock"))
        store.put(MANIFEST.read_bytes(), store.address("manifest.parquet"))  # last: all that it names is there
    return Moved(outputs, len(missing))


def pull() -> Moved:
    """Fetch what this clone does not have: photographs to their paths, outputs as dvc.lock names them.

    The clone's own dvc.lock is used, if it has one. A photograph whose path is outside of the project and not on this machine
    is written below data/raw/pulled, and the manifest is changed accordingly.

    Raises:
        UserError: there is no remote, nothing was pushed, or an object in it is damaged.
    """
    with _store() as (repo, store):
        pushed = store.get(store.address("manifest.parquet"))
        if pushed is None:
            raise DataError(f"{store.root}: nothing was pushed", "Type `labelfactory push` where the data is.")
        _write(MANIFEST, pushed)
        manifest = read_manifest()
        settled = replace(manifest, entries=tuple(_settled(entry) for entry in manifest.entries))
        missing = {d: path for d, path in _files(settled.entries).items() if not _is_here(path, d)}
        for digest, data in _each("pull", missing, lambda digest: store.get(store.picture(digest))):
            if data is None or digest_bytes(data) != digest:
                problem = "is missing" if data is None else "is damaged"
                raise DataError(
                    f"{store.picture(digest)}: {missing[digest]} {problem}", "Type `labelfactory push` again."
                )
            _write(missing[digest], data)
        if settled != manifest:
            write_manifest(settled)
        lock = store.get(store.address("dvc.lock"))
        if lock is not None and not LOCK_FILE.exists():
            _write(LOCK_FILE, lock)
            repo._reset()  # it has read its stages without this file
        targets = sorted(locked_stages())  # DVC would report stages that never ran as failures
        outputs = repo.pull(targets=targets) if targets else {}
    return Moved(int(outputs.get("fetched", 0)), len(missing))


@contextmanager
def _store() -> Iterator[tuple[Repo, Store]]:
    """DVC and its remote; their errors become errors for users."""
    with open_repo() as repo:
        try:
            yield repo, Store(repo)
        except (RemoteMissingDepsError, ImportError) as error:
            problem = str(error).splitlines()[0]
            raise UserError(f"DVC: {problem}", "Type `pip install -c constraints.txt -e '.[s3]'`.") from error
        except (DvcException, OSError) as error:
            raise UserError(f"DVC: {' '.join(str(error).split())[:500]}", REMEDY) from error


def _files(entries: Iterable[Entry]) -> dict[str, Path]:
    """Digest → path of every photograph and true mask."""
    images = {entry.sha256: Path(entry.path) for entry in entries if entry.sha256}
    return images | {e.mask_sha256: Path(e.mask_path) for e in entries if e.mask_path and e.mask_sha256}


def _each(title: str, work: Mapping[str, Path], do: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
    """Call `do` for each digest, several at a time."""
    with progress(title, len(work), "files", keeps=True) as tick, ThreadPoolExecutor(AT_ONCE) as pool:
        for digest, result in zip(work, pool.map(do, work), strict=True):
            yield digest, result
            tick()


def _checked(path: Path, sha256: str) -> bytes:
    """The bytes of a file that was imported.

    Raises:
        DataError: it is missing or has changed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "Restore the file or import the images again.") from None
    if digest_bytes(data) != sha256:
        raise DataError(f"{path}: changed since it was imported", "Type `labelfactory import …` again.")
    return data


def _is_here(path: Path, sha256: str) -> bool:
    return path.is_file() and digest_bytes(path.read_bytes()) == sha256


def _settled(entry: Entry) -> Entry:
    """The entry with paths that are valid on this machine."""
    path = _local_path(entry.path, entry.sha256)
    if entry.mask_path is None or entry.mask_sha256 is None:
        return replace(entry, path=path)
    return replace(entry, path=path, mask_path=_local_path(entry.mask_path, entry.mask_sha256))


def _local_path(path: str, sha256: str) -> str:
    """The path itself if it is in the project or the file exists, else one below data/raw/pulled; `..` is not followed."""
    inside = (Path.cwd() / path).resolve().is_relative_to(Path.cwd().resolve())
    if inside and not Path(path).is_absolute():
        return path
    return path if _is_here(Path(path), sha256) else (FETCHED / f"{sha256}{PurePosixPath(path).suffix}").as_posix()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as temporary:
        temporary.write_bytes(data)
