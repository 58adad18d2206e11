"""Two commands at once: the project ends as if one had been typed after the other (two_at_once.py)."""

import re

import pytest
from forking import campaign, script

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_people_who_type_at_once_lose_nothing(tmp_path):
    """Imports, corrections and params, in every pair of these."""
    names = ["import one", "import two", "add one", "add two", "seed"]
    said = campaign(tmp_path, "two_at_once.py", "--pairs", "6", "--of", *names)
    assert "6 pairs" in said
    assert "nothing lost, nothing doubled" in said


@pytest.mark.endurance
def test_every_pair_of_writing_commands_at_once_loses_nothing(tmp_path):
    """More than a hundred runs with random delays, in most of which one command had to wait."""
    said = campaign(tmp_path, "two_at_once.py", "--seed", "3")
    pairs, waited = map(int, re.findall(r"(\d+) (?:pairs|of which)", said))
    assert pairs >= 100
    assert waited >= pairs // 4


WITHOUT_LOCK = """
import contextlib, pathlib, sys
import forked_commands, two_at_once
from app import _turns
forked_commands.load()
_turns.project_lock = lambda command: contextlib.nullcontext()
two_at_once.campaign(pathlib.Path(sys.argv[1]), [sys.argv[2], sys.argv[3]], 60, 1)
"""


@pytest.mark.endurance
@pytest.mark.parametrize("names", [("add one", "add two"), ("import one", "import two")])
def test_without_the_lock_something_is_lost(tmp_path, names):
    """The campaign finds it within a few pairs."""
    said = script(tmp_path, WITHOUT_LOCK, *names, code=1)
    assert "AssertionError" in said
