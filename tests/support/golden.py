"""Stored figures that a test holds the code to, and how they are written anew."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from labelfactory.settings.closure import ENGINE_FORMAT

FOLDER = Path(__file__).resolve().parents[1] / "golden"
REWRITE = "pytest tests/golden --rewrite-golden"
RAISE = "raise ENGINE_FORMAT in labelfactory/settings/closure.py"


def hold(name: str, figures: Mapping[str, Any], *, tolerance: float, by_number: bool, rewrite: bool) -> None:
    """Compare figures with those of tests/golden/<name>.json, or write them there.

    Args:
        name: of the file.
        figures: JSON; floats may differ by `tolerance`, everything else not at all.
        tolerance: absolute, and relative for floats above 1.
        by_number: whether only the files that answer by number decide these figures: then they may not be written anew
            unless the number was raised.
        rewrite: write instead of comparing.
    """
    path = FOLDER / f"{name}.json"
    stored = json.loads(path.read_text()) if path.exists() else {"engine_format": None, "figures": {}}
    known = stored["engine_format"]
    moved = list(_moved(stored["figures"], json.loads(json.dumps(figures)), tolerance, ""))
    if not moved and known == ENGINE_FORMAT:
        return
    lines = "\n".join(f"  {line}" for line in moved[:20])
    if moved and by_number and known == ENGINE_FORMAT:
        pytest.fail(f"{path.name}: values moved:\n{lines}\n{RAISE} and type `{REWRITE}`.")
    if rewrite:
        written = {"engine_format": ENGINE_FORMAT, "tolerance": tolerance, "figures": figures}
        path.write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
        return
    if not moved or by_number:
        pytest.fail(f"{path.name} is of ENGINE_FORMAT {known}, now it is {ENGINE_FORMAT}: type `{REWRITE}`.")
    pytest.fail(
        f"{path.name}: values moved by more than {tolerance:g}:\n{lines}\n"
        f"If a file that is in no key moved them (labelfactory/settings/value_rooms.py), {RAISE}. Then type `{REWRITE}`."
    )


def _moved(old: Any, new: Any, tolerance: float, name: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _moved(old.get(key), new.get(key), tolerance, f"{name}.{key}" if name else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _moved(one, other, tolerance, f"{name}[{place}]")
    elif isinstance(old, float) and isinstance(new, float):
        if not math.isclose(old, new, rel_tol=tolerance, abs_tol=tolerance):
            yield f"{name}: {old:.6g} → {new:.6g}"
    elif old != new:
        yield f"{name}: {old} → {new}"
