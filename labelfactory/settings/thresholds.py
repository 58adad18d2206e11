"""Thresholds on disk: written by the calibrating stages, read by later ones.

data/<noun>/thresholds.json: {name: {"value": number, "source": "params" or "auto"}}
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from labelfactory.digests import digest_json
from labelfactory.errors import DataError, MissingError
from labelfactory.files import write_json
from labelfactory.json_files import read_json

THRESHOLDS = "thresholds.json"
EVIDENCE = "evidence.csv"
"""Beside it: what each candidate has for it, in columns; `explained` is the share of colours that it explains."""


def _in_range(value: float | Literal["auto"]) -> float | Literal["auto"]:
    if value != "auto" and not 0 <= value <= 1:
        raise ValueError(f"a threshold must be auto or in [0, 1], not {value}")
    return value


Chosen = Annotated[float | Literal["auto"], AfterValidator(_in_range)]
"""A threshold in params.yaml: a number in [0, 1], or `auto`: the line chooses it."""


@dataclass(frozen=True)
class Threshold:
    """A number in [0, 1] and where it came from."""

    value: float
    source: Literal["params", "auto"]


def write_thresholds(folder: Path, thresholds: Mapping[str, Threshold]) -> None:
    """Write thresholds.json atomically."""
    write_json(folder / THRESHOLDS, {name: asdict(t) for name, t in thresholds.items()})


def read_thresholds(folder: Path) -> dict[str, Threshold]:
    """Read thresholds.json.

    Raises:
        MissingError: the calibrating stage has not run.
        DataError: the file is damaged, or, on access, lacks a threshold.
    """
    path = folder / THRESHOLDS
    if not path.exists():
        raise MissingError(f"{path}: no such file", "Type `dvc repro`: the stage that writes it has not run.")
    stored: dict[str, _Stored] = read_json(path, dict[str, _Stored], _remedy(path))
    return _Thresholds(path, {name: Threshold(t.value, t.source) for name, t in stored.items()})


class _Stored(BaseModel):
    value: Annotated[int | float, Field(ge=0, le=1)]  # not only float: a digest tells 1 from 1.0
    source: Literal["params", "auto"]


class _Thresholds(dict[str, Threshold]):
    """Thresholds by name; one that the file lacks is an error about the file."""

    def __init__(self, path: Path, thresholds: Mapping[str, Threshold]) -> None:
        super().__init__(thresholds)
        self._path = path

    def __missing__(self, name: str) -> Threshold:
        raise DataError(f"{self._path}: damaged: it has no threshold {name!r}", _remedy(self._path))


def _remedy(path: Path) -> str:
    return f"Delete {path} and type `dvc repro`."


def thresholds_digest(folder: Path) -> str:
    """Digest of the numbers alone; their source changes no row."""
    return digest_json({name: t.value for name, t in read_thresholds(folder).items()})
