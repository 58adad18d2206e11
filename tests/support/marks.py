"""Markers say what a test starts, and are set by what it calls. A plugin of pytest, loaded by tests/conftest.py.

A function or class of tests/support that starts something says so with `@starts(MARKER)` (starts.py); STARTERS names others.
A test gets the marker where it, a fixture that it asks for, or a function that one of them calls, of its file or of
tests/support, uses such a name.

pyproject.toml has a sentence on each marker.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest
from starts import running

STARTERS = {
    "labelfactory.learning.training.fit": "trains",
    "labelfactory.stage.training.TrainingStage": "trains",
    "moto.moto_server.threaded_moto_server.ThreadedMotoServer": "starts_bucket",
    "playwright.sync_api.sync_playwright": "starts_browser",
    "warm_python.warm_python": "starts_program",  # undecorated: its file is a program that has no pytest
}
"""Functions and classes without `@starts` → the marker of a test that uses them."""
KILLING = {"kill", "killpg"}
"""A test that uses one of these names is marked `kills`."""
SLOW = ("starts_program", "starts_server", "starts_bucket", "starts_cluster", "starts_browser", "starts_postgres")
"""What costs seconds: a test with one of these markers is slow."""
LONGEST = ("starts_cluster", "starts_server", "starts_program", "slow")
"""Files with such tests come first, in this order."""
SUPPORT = {path.stem for path in Path(__file__).parent.glob("*.py")}
SLOW_FILE = re.compile(r"^pytestmark = (?:\[[^]]*|[^\n]*)mark\.slow\b", re.MULTILINE)


def marks_of(function: Callable[..., Any]) -> set[str]:
    """Markers of all that a function uses, by itself and through functions of its file and of tests/support."""
    found: set[str] = set()
    seen: set[object] = set()
    waiting: list[Any] = [function]
    while waiting:
        one = waiting.pop()
        one = one.hypothesis.inner_test if hasattr(one, "hypothesis") else inspect.unwrap(one)
        if not isinstance(one, FunctionType) or one in seen:
            continue
        seen.add(one)
        names = set(_names(one.__code__))
        if names & KILLING:
            found.add("kills")
        for used in _used(names, one.__globals__):
            marker = next(filter(None, map(_marker, inspect.getmro(used) if inspect.isclass(used) else [used])), "")
            if marker:
                found.add(marker)
            if getattr(used, "__module__", None) in {one.__module__, *SUPPORT}:
                waiting += vars(used).values() if inspect.isclass(used) else [used]
    return found


def _marker(used: object) -> str:
    """The marker of a function or class, or nothing."""
    named = f"{getattr(used, '__module__', '')}.{getattr(used, '__qualname__', '')}"
    own = vars(used).get("starts", "") if inspect.isclass(used) or inspect.isfunction(used) else ""
    return own if isinstance(own, str) and own else STARTERS.get(named, "")


def _names(code: CodeType) -> Iterator[str]:
    """Global names and attributes, also of functions inside of it."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _used(names: set[str], known: dict[str, Any]) -> Iterator[object]:
    """What the names stand for, as far as they are of the file or of a module that it imports."""
    for name in names & known.keys():
        yield known[name]
        if isinstance(known[name], ModuleType):
            yield from (vars(known[name])[attribute] for attribute in names & vars(known[name]).keys())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where slow tests are left out, a file that has no others is not even imported."""
    if config.option.markexpr != "not slow" or collection_path.suffix != ".py":
        return None
    return bool(SLOW_FILE.search(collection_path.read_text(encoding="utf-8"))) or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Set the markers; then files of the longest tests first: of several processes none is left alone with the last of them."""
    known: dict[object, set[str]] = {}
    for item in items:
        fixtures = item._fixtureinfo.name2fixturedefs.values()
        for function in (item.function, *(definitions[-1].func for definitions in fixtures)):
            if function not in known:
                known[function] = marks_of(function)
            for marker in known[function]:
                item.add_marker(marker)
        if any(item.get_closest_marker(marker) for marker in SLOW):
            item.add_marker("slow")
    longest_first = {item.path: len(LONGEST) for item in items}
    for item in items:
        rank = next((k for k, marker in enumerate(LONGEST) if item.get_closest_marker(marker)), len(LONGEST))
        longest_first[item.path] = min(longest_first[item.path], rank)
    items.sort(key=lambda item: longest_first[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """`require` asks the test that is being set up or runs."""
    running.append(item)
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """What ends now may be a fixture of the file, which this test did not ask for."""
    running.clear()
    return (yield)
