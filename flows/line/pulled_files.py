"""Check what a remote sends before DVC acts on it: dvc.lock, and the lists of files in its outputs.

DVC writes wherever these lead. A lock names stages and outputs of dvc.yaml, a list names files inside of its output, and both name
objects by MD5; all else is refused.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvc.exceptions import CheckoutError
from dvc.output import Output
from dvc.repo import Repo

from flows.line.clones import no_vain_clones
from flows.line.transfer_failures import reasons_named
from flows.line.transfer_leftovers import temporaries_below
from labelfactory.errors import DataError, ParamsError, in_short
from labelfactory.files import make_folder, remove_leftovers, write_whole
from labelfactory.foreign_files import FileRefusedError, read_file
from labelfactory.settings.wiring import read_wiring
from labelfactory.settings.yaml_text import parse_yaml

MD5 = re.compile(r"[0-9a-f]{32}")
NAME = re.compile(r"[A-Za-z0-9_~%-][A-Za-z0-9_.~%-]*")
"""A folder or file inside an output: visible, and in ASCII, as the stages name theirs."""
DVC_FILES = re.compile(r"dvc\.(yaml|lock)|.*\.dvc", re.IGNORECASE)
"""Names of files that DVC takes for its own: a stage in one of them would run."""
OUT_KEYS = {"path", "hash", "md5", "size", "nfiles", "isexec"}
PUSH_AGAIN = "Bring this clone to the commit that was pushed, or type `labelfactory push` again where the data is."


def check_lock(data: bytes, where: str) -> None:
    """Check a dvc.lock from a remote.

    Args:
        data: the file.
        where: its address, for messages.

    Raises:
        DataError: it is not a lock, or names a stage or an output that dvc.yaml does not have.
    """
    try:
        lock = parse_yaml(data.decode("utf-8"), where, PUSH_AGAIN)
    except UnicodeDecodeError:
        raise DataError(f"{where}: is not UTF-8 text", PUSH_AGAIN) from None
    except ParamsError as error:
        raise DataError(error.problem, PUSH_AGAIN) from None
    stages = lock.get("stages") if isinstance(lock, dict) else None
    if not isinstance(stages, dict) or set(lock) - {"schema", "stages"}:
        raise DataError(f"{where}: is not a dvc.lock", PUSH_AGAIN)
    wiring = read_wiring()
    for name, entry in stages.items():
        if name not in wiring:
            raise DataError(f"{where}: the stage {str(name)[:80]!r} is not in dvc.yaml", PUSH_AGAIN)
        outs = entry.get("outs", []) if isinstance(entry, dict) else None
        for out in outs if isinstance(outs, list) else [None]:
            problem = _problem_of_out(out, {*wiring[name].outs, *wiring[name].metrics})
            if problem:
                raise DataError(f"{where}: the stage {name}: {problem}", PUSH_AGAIN)


def _problem_of_out(out: Any, known: set[str]) -> str:
    if not isinstance(out, dict) or set(out) - OUT_KEYS or out.get("hash", "md5") != "md5":
        return "an output is not described by its MD5"
    path, md5 = out.get("path"), out.get("md5")
    if not isinstance(path, str) or path not in known:
        return f"the output {str(path)[:80]!r} is not in dvc.yaml"
    if not isinstance(md5, str) or not MD5.fullmatch(md5.removesuffix(".dir")):
        return f"{str(md5)[:80]!r} is not an MD5"
    return ""


def fetch_listings(repo: Repo, targets: Collection[str], get: Callable[[str], bytes | None]) -> None:
    """Fetch the lists of files of outputs and check them, before DVC fetches the files or writes one.

    Args:
        repo: DVC.
        targets: names of stages.
        get: reads an object of the remote; None where there is none.

    Raises:
        DataError: a list is damaged, or names a file outside of its output.
    """
    remote = repo.cloud.get_remote().odb
    for out in _folders(repo, targets):
        md5 = str(out.hash_info.value)
        if not MD5.fullmatch(md5.removesuffix(".dir")):
            raise DataError(f"dvc.lock: {md5[:80]!r} is not an MD5", PUSH_AGAIN)
        cached = Path(out.cache.oid_to_path(md5))
        try:
            data = read_file(cached)
        except FileRefusedError:
            fetched = get(remote.oid_to_path(md5))
            if fetched is None:  # DVC says what is missing
                continue
            data = fetched
        check_listing(data, md5, out.def_path)
        if not cached.is_file():
            make_folder(cached.parent)
            remove_leftovers(cached.parent, (cached.name,), alone=False)
            with write_whole(cached) as temporary:
                temporary.write_bytes(data)
            out.cache.protect(str(cached))


def remove_damaged_listings(repo: Repo, targets: Collection[str], get: Callable[[str], bytes | None]) -> None:
    """Delete lists of files that a killed push left half written in a folder that serves as remote: DVC would read no further.

    Args:
        repo: DVC.
        targets: names of stages.
        get: as in `fetch_listings`.
    """
    remote = repo.cloud.get_remote().odb
    for md5 in {str(out.hash_info.value) for out in _folders(repo, targets)}:
        data = get(remote.oid_to_path(md5))
        if data is not None and hashlib.md5(data).hexdigest() != md5.removesuffix(".dir"):
            remote.delete(md5)


def check_listing(data: bytes, md5: str, where: str) -> None:
    """Check a list of files, as DVC keeps it.

    Args:
        data: JSON.
        md5: its name.
        where: the output, for messages.

    Raises:
        DataError: it is damaged, or names a file outside of the output.
    """
    problem = _problem_of_listing(data, md5)
    if problem:
        raise DataError(f"{where}: the list of its files, {md5}: {problem}", PUSH_AGAIN)


def fetch_outputs(repo: Repo, targets: Sequence[str]) -> int:
    """Fetch outputs and put them into the project, each file checked against its MD5; gives the number of files fetched.

    Raises:
        DataError: the remote lacks a file, or has other bytes under its name.
        DiskError: the disk is full.
    """
    checked = {"remote": {name: {"verify": True} for name in repo.config["remote"]}}  # DVC trusts a remote by default
    with reasons_named(), no_vain_clones():
        fetched = int(repo.fetch(targets=targets, config=checked))
    try:
        with _without_leftovers(repo, targets), reasons_named(), no_vain_clones():
            repo.checkout(targets=targets)
    except CheckoutError as error:
        problem = in_short(error, 500)
        raise DataError(f"files of outputs are missing in the remote, or damaged: {problem}", PUSH_AGAIN) from None
    return fetched


@contextmanager
def _without_leftovers(repo: Repo, targets: Collection[str]) -> Iterator[None]:
    """Delete what DVC's copying leaves in outputs where it is killed, before, and where the disk is full, afterwards."""
    _remove_leftovers(repo, targets)
    try:
        yield
    except Exception:
        _remove_leftovers(repo, targets)
        raise


def _remove_leftovers(repo: Repo, targets: Collection[str]) -> None:
    with repo.lock:  # no other process of DVC is copying
        for out in _outs(repo, targets):
            path = Path(out.fs_path)
            is_folder = bool(out.hash_info.isdir)
            for left in temporaries_below(path if is_folder else path.parent, deep=is_folder):
                left.unlink(missing_ok=True)


def _folders(repo: Repo, targets: Collection[str]) -> list[Output]:
    return [out for out in _outs(repo, targets) if out.hash_info.isdir]


def _outs(repo: Repo, targets: Collection[str]) -> list[Output]:
    outs = (out for stage in repo.index.stages if stage.addressing in targets for out in stage.outs)
    return [out for out in outs if out.hash_info]


def _problem_of_listing(data: bytes, md5: str) -> str:
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5.removesuffix(".dir"):
        return "is damaged"
    try:
        listed = json.loads(data)
        files = [(item["relpath"], item["md5"]) for item in listed]
    except (ValueError, TypeError, KeyError, RecursionError):
        return "is not a list of files"
    for relpath, digest in files:
        names = relpath.split("/") if isinstance(relpath, str) else [""]
        if not all(NAME.fullmatch(name) and not DVC_FILES.fullmatch(name) for name in names):
            return f"{str(relpath)[:80]!r} is not a name of a file in it"
        if not isinstance(digest, str) or not MD5.fullmatch(digest):
            return f"{str(digest)[:80]!r} is not an MD5"
    return ""
