"""Answers of commands that only look, kept with the state of all that they depend on.

.labelfactory/kept/<digest of the question>.json   {"state": …, "answer": …, "digest": of question, state and answer}

An answer is used again only where nothing has changed: every file of the project, but for pictures, MLflow's and temporary ones,
has the size, times and inode that it had, none was added or removed, and code, libraries, machine and settings are the same.
That is what DVC trusts, and the time of a file's last change of status besides.
"""

import json
import os
import re
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import site_config_path, user_config_path

import labelfactory
from labelfactory.digests import digest_bytes, digest_json
from labelfactory.errors import UserError
from labelfactory.files import make_folder, write_json
from labelfactory.interrupt import COMMAND_VARIABLE
from labelfactory.measured_precision import precision_folder

OWN = Path(".labelfactory")
"""What commands keep for themselves, and what Prefect's server and workers write."""
KEPT = OWN / "kept"
NOT_READ = frozenset({".venv", ".git/objects", ".git/logs", ".dvc/tmp", OWN.name, "data/raw", "data/mlflow"})
"""Folders of the project that no kept answer depends on, but for the files of JSON in OWN itself."""
CACHES = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"})
MOST_FILES = 100_000
"""To look at more takes longer than what it may spare."""
MOST_ANSWERS = 100
SETTLED_SECONDS = 2.0
"""A file that changed later may change again without another time: file systems count in up to this."""
VARIABLES = re.compile(r"(LABELFACTORY|DVC|MLFLOW|GIT|XDG_CONFIG|PYTHON|CUDA)_?|HOME$")
BOOT = Path("/proc/sys/kernel/random/boot_id")
"""A machine may have other devices after it was started."""
OTHER_CACHE = re.compile(rb"^\s*dir\s*=", re.MULTILINE)
"""In a configuration of DVC: its cache is elsewhere."""


@dataclass(frozen=True)
class State:
    """What an answer depends on.

    Attributes:
        digest: of all of it.
        changed: when a file changed last, in seconds since the epoch.
    """

    digest: str
    changed: float


class _TooManyError(Exception):
    """There are more files than are worth a look."""


def kept(question: Sequence[str], answer: Callable[[], Any], lasts: Callable[[Any], bool] = bool) -> Any:
    """The answer to a question about this project: a kept one, or a new one, which is kept.

    Args:
        question: the words of the command.
        answer: gives it as JSON has it; whatever else is in it becomes text. Its errors are passed on and not kept.
        lasts: whether an answer may be kept, such as one without a problem that is not of the files' state.
    """
    asked, before = time.time(), state_of_project()
    path = KEPT / f"{digest_json(list(question))}.json"
    for found in [] if before is None else _read(path, before):
        return found
    new = json.loads(json.dumps(answer(), default=str))
    settled = before is not None and before.changed < asked - SETTLED_SECONDS
    if before is not None and settled and lasts(new) and before == state_of_project() and _is_in_sight():
        _keep(path, before, new)
    return new


def forget() -> None:
    """Delete all kept answers, which may name what was withdrawn."""
    for path in KEPT.glob("*"):
        if path.is_symlink() or not path.is_dir():  # a folder is none of ours
            path.unlink(missing_ok=True)


def state_of_project() -> State | None:
    """The state of this folder; None where there is too much to look at, or a file goes meanwhile."""
    try:
        found = sorted(_files())
    except (_TooManyError, OSError, RuntimeError):  # RuntimeError: a user without a home
        return None
    surroundings = [
        *(str(Path.cwd()), sys.executable, sys.version, *os.uname()),
        *sorted(f"{name}={v}" for name, v in os.environ.items() if VARIABLES.match(name) and name != COMMAND_VARIABLE),
        *sorted(path.name for path in Path("/dev").glob("nvidia*")),
        BOOT.read_text() if BOOT.exists() else "",
    ]
    text = "\n".join([*surroundings, *(line for line, _ in found)])
    return State(digest_bytes(text.encode(errors="surrogateescape")), max((time for _, time in found), default=0.0))


def _files() -> Iterator[tuple[str, float]]:
    """A line for each file that an answer may depend on, and when it changed last."""
    code = Path(labelfactory.__file__).resolve().parents[1]
    roots = [""] if code == Path.cwd().resolve() else ["", *(str(path.parent) for path in code.glob("*/__init__.py"))]
    around = (
        *_configurations(),
        *OWN.glob("*.json"),
        *([] if (measured := precision_folder()) is None else measured.glob("*.json")),
        Path(sysconfig.get_path("purelib")),
        Path(json.__file__),
    )
    yield from (_line(str(path), path.stat()) for path in around if path.exists())
    for count, line in enumerate(line for root in roots for line in _below(root, frozenset())):
        if count == MOST_FILES:
            raise _TooManyError
        yield line


def _below(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, float]]:
    """The files in a folder and below it, through links too. `above`: the folders above it, which a link may lead to."""
    with os.scandir(folder or ".") as entries:
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name in CACHES or name in NOT_READ:
                continue
            if entry.is_symlink():
                yield _line(f"{name} -> {Path(name).readlink()}", entry.stat(follow_symlinks=False))
            if entry.is_dir():
                stat = entry.stat()
                yield f"{name}/ {stat.st_mode}", 0.0
                if (stat.st_dev, stat.st_ino) not in above:
                    yield from _below(name, above | {(stat.st_dev, stat.st_ino)})
            elif entry.is_file():
                yield _line(name, entry.stat())
            elif not entry.is_symlink():
                yield f"{name}: neither file nor folder", 0.0


def _line(name: str, stat: os.stat_result) -> tuple[str, float]:
    seen = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_mode)
    return f"{name} {seen}", max(stat.st_mtime, stat.st_ctime)


def _configurations() -> list[Path]:
    """DVC's configuration, of the project, the user and the machine."""
    own = [Path(".dvc/config"), Path(".dvc/config.local")]
    variables = filter(None, map(os.environ.get, ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR")))
    others = (user_config_path("dvc", "iterative"), site_config_path("dvc", "iterative"), *map(Path, variables))
    return [*own, *(folder / "config" for folder in others)]


def _is_in_sight() -> bool:
    """Whether nothing that an answer depends on is outside of the project: git's files, DVC's cache, what stages read."""
    from labelfactory.settings.wiring import read_wiring  # takes time that a kept answer spares

    if not Path(".git").is_dir() or any(Path("data").glob("*.dvc")):  # such data may come from anywhere
        return False
    if any(OTHER_CACHE.search(path.read_bytes()) for path in _configurations() if path.exists()):
        return False
    here = Path.cwd()
    return all(
        _is_seen(path, here) for stage in read_wiring().values() for path in (*stage.deps, *stage.outs, *stage.metrics)
    )


def _is_seen(path: str, here: Path) -> bool:
    """Whether the state of the project has the files of a path in dvc.yaml."""
    whole = Path(os.path.normpath(here / path))
    hidden = any(whole.is_relative_to(here / folder) for folder in NOT_READ)
    return "://" not in path and whole.is_relative_to(here) and not hidden


def _read(path: Path, state: State) -> list[Any]:
    """The kept answer for that state, in a list; empty where there is none, or where it is not the one that was written."""
    try:
        content = json.loads(path.read_bytes())
        same = content == _content(path, state, content["answer"])
        return [content["answer"]] if same else []
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _content(path: Path, state: State, answer: Any) -> dict[str, Any]:
    """What the file of an answer holds."""
    text = json.dumps([path.stem, state.digest, answer])
    return {"state": state.digest, "answer": answer, "digest": digest_bytes(text.encode())}


def _keep(path: Path, state: State, answer: Any) -> None:
    """Write it down, in place of those for other states; where that fails, nothing is kept."""
    with suppress(OSError, UserError):
        make_folder(KEPT)
        kept_before = sorted(KEPT.glob("*.json"), key=lambda file: file.stat().st_mtime)
        for old in kept_before[: max(0, len(kept_before) - MOST_ANSWERS + 1)]:
            old.unlink(missing_ok=True)
        write_json(path, _content(path, state, answer))
