"""Markers say what a test starts: found through what it calls, and asked for where they are missing."""

import subprocess
import tomllib
from importlib import import_module

import postgres
import pytest
from factory import Factory
from marks import SLOW, SLOW_FILE, STARTERS, marks_of
from small_line import small_project
from starts import starts
from workspace import ROOT, call

from labelfactory.learning.training import fit


def asks_a_project(folder):
    call(folder, "dvc", "status")


def up(folder):
    return Factory(folder)


def makes_a_project(folder):
    return small_project(folder, 3)


def asks_a_server(folder):
    def inner():
        return up(folder)

    return inner


class Learner:
    def step(self):
        return fit


def learns():
    return Learner()


def ends(process: subprocess.Popen):
    process.kill()


def looks(folder):
    return ROOT / folder


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (asks_a_project, {"starts_program"}),
        (up, {"starts_server", "starts_program"}),
        (asks_a_server, {"starts_server", "starts_program"}),
        (makes_a_project, {"starts_program"}),
        (learns, {"trains"}),
        (ends, {"kills"}),
        (looks, set()),
    ],
)
def test_a_test_is_marked_by_what_it_calls(function, found):
    """Also through a function of its file or of tests/support, a function inside of it, a class."""
    assert marks_of(function) == found


def test_what_starts_something_refuses_in_a_test_without_the_marker():
    """Where no name leads to it; before anything is started."""
    start = vars(postgres)["running_postgres"]
    with pytest.raises(pytest.fail.Exception, match=r"write @pytest\.mark\.starts_postgres above it"), start():
        pass


@pytest.fixture(scope="module")
def opened():
    yield
    close()


@starts("starts_browser")
def close():
    """Starts something to end it, as `labelfactory down` does."""


def test_a_fixture_of_the_file_ends_in_whatever_test_is_its_last(opened, request):
    """Which need not have asked for it, and is not blamed."""
    assert request.node.get_closest_marker("starts_browser")


@pytest.fixture
def server(tmp_path):
    return up(tmp_path)


def test_a_fixture_marks_the_tests_that_ask_for_it(server, request):
    """And what starts something is slow, whatever its file says."""
    assert {mark.name for mark in request.node.iter_markers()} >= {"starts_server", "slow"}


def test_every_marker_has_a_sentence_and_is_set_by_something():
    """In pyproject.toml; by what others have, what tests/support has, or by hand."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    names = {line.split(": ")[0] for line in listed if len(line.split(": ", 1)[1]) > 10}
    assert len(names) == len(listed)
    assert names == {"slow", "endurance", "trains", "kills", *SLOW}
    assert set(STARTERS.values()) < names


@pytest.mark.slow
@pytest.mark.parametrize("name", STARTERS)
def test_what_others_have_is_there_under_that_name(name):
    """A renamed function would leave its tests without their marker."""
    module, _, last = name.rpartition(".")
    assert f"{module}.{getattr(import_module(module), last).__qualname__}" == name


@pytest.mark.parametrize(
    ("text", "slow"),
    [
        ("pytestmark = pytest.mark.slow\n", True),
        ("x = 1\npytestmark = [\n    pytest.mark.timeout(60),\n    pytest.mark.slow,\n]\n", True),
        ("pytestmark = [pytest.mark.slow, pytest.mark.endurance]\n", True),
        ("pytestmark = pytest.mark.trains\n\n\n@pytest.mark.slow\ndef test(): ...\n", False),
        ("pytestmark = [pytest.mark.trains]\n\n\n@pytest.mark.slow\ndef test(): ...\n", False),
        ("@pytest.mark.slow\ndef test(): ...\n", False),
    ],
)
def test_only_a_file_whose_tests_are_all_slow_is_left_out_unread(text, slow):
    """Where slow tests are left out; single slow tests are for pytest to leave out."""
    assert bool(SLOW_FILE.search(text)) == slow
