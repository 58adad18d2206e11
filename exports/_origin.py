"""What an export is made from, noted when it is loaded: a run may replace all of it before the export ends."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from exports._networks import networks_behind
from labelfactory.digests import digest_file
from labelfactory.errors import DataError
from labelfactory.learning.checkpoints import CHECKPOINT, Passport, read_passport
from labelfactory.settings.params import PARAMS_FILE, read_yaml
from labelfactory.settings.wiring import DATA, read_wiring
from labelfactory.versions import git_state

ATTEMPTS = 5
Value = TypeVar("Value")


@dataclass(frozen=True)
class Origin:
    """Commit, parameters and networks. `passports`: network → what its checkpoint said of itself."""

    commit: str | None
    commit_has_changes: bool | None
    params: Any
    params_sha256: str | None
    passports: dict[str, Passport]


def origin_of(what: str, model: Passport | None) -> Origin:
    """The origin of an export that begins now.

    Args:
        what: "masks" or "predictions".
        model: the passport of the weights that were loaded for predictions; that on the disk may be of others by now.

    Raises:
        DataError: a checkpoint or params.yaml is damaged.
    """
    params: Any = None
    params_sha256: str | None = None
    if Path(PARAMS_FILE).exists():
        params, params_sha256 = with_digest(Path(PARAMS_FILE), read_yaml)
    found = {noun: DATA / noun / CHECKPOINT for noun in networks_behind(what)}
    passports = {noun: read_passport(path) for noun, path in found.items() if path.exists()}
    if model is not None:
        passports[read_wiring().model.noun] = model
    return Origin(*git_state(), params, params_sha256, passports)


def with_digest(path: Path, read: Callable[[Path], Value]) -> tuple[Value, str]:
    """What a file holds, and the SHA-256 of the same bytes.

    Raises:
        DataError: it is replaced again and again. Whatever `read` raises, which is called once for a missing file too.
    """
    for _ in range(ATTEMPTS):
        before = digest_file(path) if path.exists() else ""
        value = read(path)
        if digest_file(path) == before:
            return value, before
    raise DataError(f"{path}: was replaced while it was read", "Type the command again.")
