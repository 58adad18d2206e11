"""Slow queries (DVC's state, MLflow's runs) run in a subprocess; pages show the last answer.

A page never waits for one. A page that finds the answer old starts the next run, unless one is under way.
"""

import json
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import Lock, Thread
from typing import Any

TIMEOUT_SECONDS = 120
PATIENCE = 20.0


class SlowQuery:
    """A command that answers one query with JSON.

    Args:
        words: the command; empty for a query that has no answer here.
        stamp: what the answer depends on; another value makes the answer old at once.
        patience: seconds after which the command runs again although the stamp did not change.
    """

    def __init__(self, words: Sequence[str], stamp: Callable[[], object], *, patience: float = PATIENCE) -> None:
        self._words, self._stamp, self._patience = list(words), stamp, patience
        self._lock = Lock()
        self._asked: tuple[datetime, object] | None = None
        self._thread: Thread | None = None
        self.answer: Any = None
        """The last answer; None before the first."""
        self.time: datetime | None = None
        self.problem = ""
        """Why the last run gave no answer."""
        self.number = 0
        """How many runs have ended."""

    def refresh(self) -> bool:
        """Start a run if the answer is old. Returns whether one is under way."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return True
            now, stamp = datetime.now(UTC), self._stamp()
            fresh = self._asked is not None and self._asked[1] == stamp
            if not self._words or (fresh and self._asked and (now - self._asked[0]).total_seconds() < self._patience):
                return False
            self._asked = now, stamp
            self._thread = Thread(target=self._run, daemon=True)
            self._thread.start()
            return True

    def wait(self) -> None:
        """Wait until the run that is under way has ended."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        try:
            done = subprocess.run(self._words, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
            if done.returncode == 0:
                self.answer, self.problem = json.loads(done.stdout), ""
            else:
                lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"code {done.returncode}"]
                self.problem = next((line for line in lines if line.startswith("error: ")), lines[-1])
            self.time = datetime.now(UTC)
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            self.problem = str(error)
        self.number += 1
