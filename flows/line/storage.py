"""A bucket, or any folder that DVC calls a remote, as the storage that several machines share.

`push` puts there what DVC has of the line's outputs, dvc.lock, the import's manifest, and every photograph and true mask by the
digest of its bytes; `pull` brings all of it to another clone, which goes on as if it had made it. What is there already is not
sent twice. One place names it: `dvc remote add -d store s3://BUCKET/FOLDER`, with credentials as DVC takes them.
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

from flows.line.dvc_line import LOCK, locked_stages, open_repo
from labelfactory.dataset.manifest import MANIFEST, Entry, read_manifest, write_manifest
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError, UserError
from labelfactory.files import write_whole
from labelfactory.progress import progress

FOLDER = "labelfactory"
"""Of ours in the remote, beside DVC's `files`."""
FETCHED = Path("data/raw/pulled")
"""Photographs whose own place is outside of the project, by digest."""
AT_ONCE = 16
"""Transfers at one time: they wait for the network."""
REMEDY = "Type `dvc remote add -d store s3://BUCKET/FOLDER`; docs/deployment.md says how credentials are given."


@dataclass(frozen=True)
class Moved:
    """What was sent or fetched: outputs as DVC counts files, photographs and masks that were not there yet."""

    outputs: int
    pictures: int


class Store:
    """The remote's file system, as much of it as is needed here."""

    def __init__(self, repo: Repo) -> None:
        remote: Any = repo.cloud.get_remote()
        self.fs, self.root = remote.fs, f"{remote.path}/{FOLDER}"

    def place(self, *parts: str) -> str:
        """An address in our folder."""
        return "/".join([self.root, *parts])

    def picture(self, sha256: str) -> str:
        """Where the bytes with this digest lie."""
        return self.place("pictures", sha256[:2], sha256)

    def pictures(self) -> set[str]:
        """Digests of all that is there."""
        folder = self.place("pictures")
        return {PurePosixPath(path).name for path in self.fs.find(folder)} if self.fs.exists(folder) else set()

    def put(self, data: bytes, place: str) -> None:
        """Write an object; a bucket shows it whole or not at all."""
        self.fs.makedirs(self.fs.parent(place), exist_ok=True)
        self.fs.pipe_file(place, data)

    def get(self, place: str) -> bytes | None:
        """Read an object; None where there is none."""
        try:
            with self.fs.open(place, "rb") as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None


def push() -> Moved:
    """Send what is not there yet.

    Raises:
        UserError: there is no remote, it cannot be reached, or a photograph is not the one that was imported.
    """
    with _store() as (repo, store):
        files = _files(read_manifest().entries)
        missing = {digest: path for digest, path in files.items() if digest not in store.pictures()}
        for _ in _each(
            "push", missing, lambda digest: store.put(_checked(missing[digest], digest), store.picture(digest))
        ):
            pass
        outputs = int(repo.push() or 0)
        if LOCK.exists():
            store.put(LOCK.read_bytes(), store.place("dvc.lock"))
        store.put(MANIFEST.read_bytes(), store.place("manifest.parquet"))  # last: all that it names is there
    return Moved(outputs, len(missing))


def pull() -> Moved:
    """Fetch what is not here yet: photographs to their own places, outputs as dvc.lock names them.

    The clone's own dvc.lock counts, where it has one. A photograph whose place is outside of the project and not on this
    machine comes below data/raw/pulled, and the manifest says so.

    Raises:
        UserError: there is no remote, nothing was pushed, or something is damaged there.
    """
    with _store() as (repo, store):
        held = store.get(store.place("manifest.parquet"))
        if held is None:
            raise DataError(f"{store.root}: nothing was pushed there", "Type `labelfactory push` where the data is.")
        _write(MANIFEST, held)
        manifest = read_manifest()
        settled = replace(manifest, entries=tuple(_settled(entry) for entry in manifest.entries))
        missing = {d: path for d, path in _files(settled.entries).items() if not _is_here(path, d)}
        for digest, data in _each("pull", missing, lambda digest: store.get(store.picture(digest))):
            if data is None or digest_bytes(data) != digest:
                what = "is not there" if data is None else "is damaged there"
                raise DataError(f"{store.picture(digest)}: {missing[digest]} {what}", "Type `labelfactory push` again.")
            _write(missing[digest], data)
        if settled != manifest:
            write_manifest(settled)
        lock = store.get(store.place("dvc.lock"))
        if lock is not None and not LOCK.exists():
            _write(LOCK, lock)
            repo._reset()  # it has read its stages without this lock
        targets = sorted(locked_stages())  # DVC would call what never ran a failure
        outputs = repo.pull(targets=targets) if targets else {}
    return Moved(int(outputs.get("fetched", 0)), len(missing))


@contextmanager
def _store() -> Iterator[tuple[Repo, Store]]:
    """DVC and its remote; what either of them says against it becomes an error of two parts."""
    with open_repo() as repo:
        try:
            yield repo, Store(repo)
        except (RemoteMissingDepsError, ImportError) as error:
            said = str(error).splitlines()[0]
            raise UserError(f"DVC: {said}", "Type `pip install -c constraints.txt -e '.[s3]'`.") from error
        except (DvcException, OSError) as error:
            raise UserError(f"DVC: {' '.join(str(error).split())[:500]}", REMEDY) from error


def _files(entries: Iterable[Entry]) -> dict[str, Path]:
    """Digest → path of every photograph and true mask."""
    found = {entry.sha256: Path(entry.path) for entry in entries if entry.sha256}
    return found | {e.mask_sha256: Path(e.mask_path) for e in entries if e.mask_path and e.mask_sha256}


def _each(title: str, work: Mapping[str, Path], do: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
    """Do it for each digest, several at one time."""
    with progress(title, len(work), "files") as tick, ThreadPoolExecutor(AT_ONCE) as pool:
        for digest, result in zip(work, pool.map(do, work), strict=True):
            yield digest, result
            tick()


def _checked(path: Path, sha256: str) -> bytes:
    """The bytes of a file that was imported.

    Raises:
        DataError: it is gone, or another one.
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
    """The entry with places that exist on this machine, or can."""
    path = _place(entry.path, entry.sha256)
    if entry.mask_path is None or entry.mask_sha256 is None:
        return replace(entry, path=path)
    return replace(entry, path=path, mask_path=_place(entry.mask_path, entry.mask_sha256))


def _place(path: str, sha256: str) -> str:
    """The path itself where it lies in the project or is here; else one below data/raw/pulled. No `..` leads out."""
    inside = (Path.cwd() / path).resolve().is_relative_to(Path.cwd().resolve())
    if inside and not Path(path).is_absolute():
        return path
    return path if _is_here(Path(path), sha256) else (FETCHED / f"{sha256}{PurePosixPath(path).suffix}").as_posix()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as temporary:
        temporary.write_bytes(data)
