"""What a docstring shows as typed is what Python answers."""

import doctest
import importlib
import subprocess

import pytest
from workspace import ROOT


def modules() -> list[str]:
    """Modules of the project whose docstrings hold examples."""
    files = subprocess.run(
        ["git", "grep", "-l", "^ *>>> ", "--", "*.py", ":!tests"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    return [file.removesuffix(".py").replace("/", ".") for file in files]


@pytest.mark.parametrize("name", modules())
def test_examples_of_docstrings(name):
    """Each example gives what stands under it."""
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
