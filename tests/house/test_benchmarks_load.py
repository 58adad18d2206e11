"""Each benchmark can be imported: nobody runs them between two moves of a file."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if not path.stem.startswith("__"))


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_finds_what_it_imports(name, monkeypatch):
    """And says at its top how it is started."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    module = importlib.import_module(f"benchmarks.{name}")
    assert "python -m benchmarks" in (module.__doc__ or "") or not hasattr(module, "main")
