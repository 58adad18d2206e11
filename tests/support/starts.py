"""What starts something says so: the tests that use it are marked (marks.py), and in one without the marker it refuses."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import pytest

Starter = TypeVar("Starter", bound=Callable[..., Any])
running: list[pytest.Item] = []
"""The test that is being set up or runs."""


def starts(marker: str) -> Callable[[Starter], Starter]:
    """Decorate a function or class that starts something, for the tests that use it to be marked so."""

    def decorate(starter: Starter) -> Starter:
        function = starter.__init__ if isinstance(starter, type) else starter

        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            require(marker)
            return function(*args, **kwargs)

        if isinstance(starter, type):
            starter.__init__ = guarded
        made: Any = starter if isinstance(starter, type) else guarded
        made.starts = marker
        return made

    return decorate


def require(marker: str) -> None:
    """Refuse to go on in a test without this marker; outside of tests there is none to look at."""
    if running and not running[-1].get_closest_marker(marker):
        pytest.fail(f"{running[-1].nodeid}: write @pytest.mark.{marker} above it", pytrace=False)
