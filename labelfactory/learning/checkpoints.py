"""Checkpoints: safetensors whose header carries a passport.

The passport names the architecture, the training rows, the checkpoints that training started from, and the supervision: all
kinds of labels that influenced the weights. Keys and other passports cite `weights_digest`, which is over architecture and
tensors alone. The header may have more texts beside it, which only those who ask for them read, and has a digest of them all.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
from pydantic import BaseModel, ConfigDict, ValidationError

from labelfactory.digests import digest_json, digest_payload
from labelfactory.errors import DataError, MissingError
from labelfactory.files import write_whole

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT = "checkpoint.safetensors"
CURVE = "curve.csv"
"""The loss of each epoch, in a file beside the checkpoint."""
TRAINING_ROWS = "training_rows.parquet"
"""A table beside it: each row that was learnt from."""
FORMAT = 1
TEXTS_DIGEST = "digest"
"""The name of the text that has the SHA-256 of all others; files of earlier versions have none."""
ALIGNMENT = 8
"""safetensors fills a header with blanks up to a multiple of so many bytes."""


class Passport(BaseModel):
    """The metadata of a checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    format: int = FORMAT
    stage: str
    key: str
    weights_digest: str = ""
    architecture: dict[str, Any]
    classes: list[str]
    params: dict[str, Any]
    params_digest: str
    code_digest: str
    git_commit: str | None
    git_dirty: bool | None
    seed: int
    device: str
    libraries: dict[str, str]
    training_rows: int
    training_rows_digest: str
    parents: dict[str, str]
    supervision: list[str]
    allowed_supervision: list[str] = []
    metrics: dict[str, float]
    measured_on: str = ""
    """Digest of the photographs and tags that `metrics` were measured on, the loss apart; empty where nothing was measured."""

    def to_text(self) -> str:
        """JSON for the header of a checkpoint; without an empty `measured_on`, which earlier versions do not know."""
        return self.model_dump_json(exclude=set() if self.measured_on else {"measured_on"})


def training_digest(passport: Passport) -> str:
    """What tells a training from others that ended in the same weights, SHA-256: rows, classes, parameters, code, parents, kinds.

    Not commit, machine and what was measured: the same training may run again elsewhere. A network that is taken over
    for parents that saw other kinds of labels counts as another one.
    """
    told = passport.model_dump(
        mode="json",
        include={
            "stage",
            "weights_digest",
            "training_rows_digest",
            "classes",
            "params_digest",
            "code_digest",
            "parents",
            "supervision",
            "allowed_supervision",
        },
    )
    return digest_json(told)


def weights_digest(state: "Mapping[str, Tensor]", architecture: Mapping[str, Any]) -> str:
    """SHA-256 over an architecture and its tensors: names, dtypes, shapes and bytes."""
    arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in state.items()}
    return digest_json([digest_payload(arrays), dict(architecture)])


def save_checkpoint(
    path: Path, state: "Mapping[str, Tensor]", passport: Passport, texts: Mapping[str, str] | None = None
) -> Passport:
    """Write weights and passport atomically, and further texts by name. Returns the passport with its weights' digest."""
    from safetensors.torch import save  # loads torch, which reading a passport does not need

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(state.items())}
    stamped = passport.model_copy(update={"weights_digest": weights_digest(tensors, passport.architecture)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as temporary:
        # `save_file` would put another file in the place of this one
        temporary.write_bytes(save(tensors, metadata=_with_digest({**(texts or {}), "passport": stamped.to_text()})))
        _sort_texts(temporary)
    return stamped


def _with_digest(texts: Mapping[str, str]) -> dict[str, str]:
    """The texts of a header, sorted by name, with their digest as it is now."""
    others = {name: text for name, text in texts.items() if name != TEXTS_DIGEST}
    return dict(sorted({**others, TEXTS_DIGEST: digest_json(others)}.items()))


def _sort_texts(path: Path) -> None:
    """Sort the texts of a header by name: safetensors writes them in any order, and the same checkpoint has the same bytes."""
    with path.open("r+b") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
        if len(text) != size:
            raise AssertionError(f"the header of {path} has {size} bytes, sorted {len(text)}")
        stream.seek(8)
        stream.write(text)


def change_passport(path: Path, **changes: Any) -> Passport:
    """Write other values into the passport of a checkpoint; every byte of the weights, and any other text of the header, stays.

    Returns:
        The changed passport. The file is the one that `save_checkpoint` would write with it.
    """
    passport = read_passport(path).model_copy(update=changes)
    with path.open("rb") as old, write_whole(path) as temporary, temporary.open("wb") as new:
        header = json.loads(old.read(int.from_bytes(old.read(8), "little")))
        header["__metadata__"] = _with_digest({**header["__metadata__"], "passport": passport.to_text()})
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text = text.ljust(-(-len(text) // ALIGNMENT) * ALIGNMENT)
        new.write(len(text).to_bytes(8, "little") + text)
        shutil.copyfileobj(old, new)
    return passport


def read_text(path: Path, name: str) -> str | None:
    """A text that `save_checkpoint` was given beside the passport; None if there is none. Errors as for `read_passport`."""
    return _texts(path).get(name)


def read_passport(path: Path) -> Passport:
    """The passport of a checkpoint, without its weights.

    Raises:
        MissingError: no such file.
        DataError: not a checkpoint of labelfactory, damaged, or of a newer format.
    """
    text = _texts(path).get("passport")
    if text is None:
        raise DataError(f"{path}: has no passport", "Use a checkpoint that labelfactory wrote.")
    try:
        stated = json.loads(text).get("format")  # before validation: a newer passport may have unknown fields
        if isinstance(stated, int) and stated > FORMAT:
            raise DataError(f"{path}: format {stated} is newer than this program's {FORMAT}", "Update labelfactory.")
        return Passport.model_validate_json(text)
    except (ValidationError, ValueError, AttributeError, RecursionError):
        remedy = f"Delete {path} and type `dvc repro`."
        raise DataError(f"{path}: damaged: its passport is not readable", remedy) from None


def _texts(path: Path) -> dict[str, str]:
    """The texts of a checkpoint's header by name; errors as for `read_passport`."""
    if not path.exists():
        raise MissingError(f"{path}: no such checkpoint", "Type `dvc repro`: the stage that trains it has not run.")
    try:
        with safetensors.safe_open(path, framework="np") as opened:
            texts = dict(opened.metadata() or {})
    except (OSError, UnicodeDecodeError, safetensors.SafetensorError) as error:
        raise DataError(f"{path}: damaged: {error}", f"Delete {path} and type `dvc repro`.") from None
    if TEXTS_DIGEST in texts and _with_digest(texts) != texts:
        problem = f"{path}: damaged: its header was changed since it was written"
        raise DataError(problem, f"Delete {path} and type `dvc repro`.")
    return texts


def load_checkpoint(path: Path) -> "tuple[dict[str, Tensor], Passport]":
    """Weights (on the CPU) and passport; the weights are checked against their digest.

    Raises:
        MissingError: no such file.
        DataError: damaged: the weights are not those that the passport names.
    """
    from safetensors.torch import load_file

    passport = read_passport(path)
    state: dict[str, Tensor] = load_file(path)
    if weights_digest(state, passport.architecture) != passport.weights_digest:
        raise DataError(f"{path}: the weights do not match their passport", f"Delete {path} and type `dvc repro`.")
    return state, passport
