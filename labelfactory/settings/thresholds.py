"""Thresholds on disk: written by the calibrating stages, read by later ones.

data/<noun>/thresholds.json: {name: {"value": number, "source": "params" or "auto"}}
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator

from labelfactory.digests import digest_json
from labelfactory.errors import MissingError
from labelfactory.files import write_json

THRESHOLDS = "thresholds.json"


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
    """
    path = folder / THRESHOLDS
    if not path.exists():
        raise MissingError(f"{path}: no such file", "Type `dvc repro`: the stage that writes it has not run.")
    return {name: Threshold(**t) for name, t in json.loads(path.read_text(encoding="utf-8")).items()}


def thresholds_digest(folder: Path) -> str:
    """Digest of the numbers alone; their source changes no row."""
    return digest_json({name: t.value for name, t in read_thresholds(folder).items()})
