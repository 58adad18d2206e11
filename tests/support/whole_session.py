"""What a session of tests sets up once: settings of Hypothesis, no waiting for the disk, warm programs, one finished line.

A plugin of pytest, loaded by tests/conftest.py.
"""

import gc
import os
from pathlib import Path

import hypothesis
import pytest
from once import shared_folder
from small_line import finished_line, imported_line
from warm_python import PLAIN_STARTS, start_warming
from workspace import copy_workspace

hypothesis.settings.register_profile("all", deadline=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=15, database=None)
"""`pytest --hypothesis-profile quick`: for laws that name no number of examples themselves. No example has a time limit."""
hypothesis.settings.load_profile("all")


def no_wait(file: int) -> None:
    """In place of `os.fsync`: it guards against a power cut, and no test cuts the power. A killed process loses nothing."""


os.fsync = no_wait  # type: ignore[assignment]
os.environ.setdefault(PLAIN_STARTS, "1")


def pytest_configure(config: pytest.Config) -> None:
    """Of several processes, all share one folder and one server of warm programs, which gets ready meanwhile."""
    if config.getoption("numprocesses", None):
        shared_folder()
        if config.option.markexpr != "not slow":  # no quick test starts a warm program
            start_warming()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """The garbage collector leaves alone what is loaded by now: a million objects that stay."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Give all of it back: DuckDB's library complains about what is left at the end."""
    gc.unfreeze()


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """A project of 24 drawn images, with params for seconds; nothing has run. A copy, for the test to change."""
    return copy_workspace(imported_line(), tmp_path / "imported")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The same project after `dvc repro` has run every stage. A copy, for the test to change."""
    return copy_workspace(finished_line(), tmp_path / "finished")
