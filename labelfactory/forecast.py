"""Forecast of a long step: time and disk space for all of it, from its first seconds.

A disk that is too small stops the step at once, not hours later.
"""

import shutil
import time
from pathlib import Path

from labelfactory.console import in_bytes, in_time
from labelfactory.errors import DataError

PROBE_SECONDS = 3.0
LONG_SECONDS = 60.0
MANY_BYTES = 100_000_000
"""A step below both limits prints no forecast."""


class Probe:
    """Measures the first units of a step and forecasts all of it once.

    Args:
        title: the step.
        total: units in all.
        unit: their name.
        folder: on the disk that it writes to.
    """

    def __init__(self, title: str, total: int, unit: str, folder: Path = Path()) -> None:
        self.title, self.total, self.unit, self.folder = title, total, unit, folder
        self.first: tuple[float, int] | None = None
        self.done = self.size = 0
        self.open = True

    def add(self, count: int, size: int) -> str:
        """Count units. Returns one line when the probe ends and the step is long, else an empty string.

        Measured from the second call on: before the first one, processes start, and a resumed step skips what is done.

        Raises:
            DataError: the disk is too small for the rest.
        """
        self.done += count
        if not self.open:
            return ""
        now = time.monotonic()
        if self.first is None:
            self.first = now, self.done
            return ""
        self.size += size
        seconds, units = now - self.first[0], self.done - self.first[1]
        if seconds < PROBE_SECONDS or not units:
            return ""
        self.open = False
        left = max(self.total - self.done, 0)
        return self._forecast(left, seconds / units * left, self.size // units * left)

    def _forecast(self, left: int, seconds: float, size: int) -> str:
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise DataError(
                f"{self.title}: {left} more {self.unit} need about {in_bytes(size)} on the disk, {in_bytes(free)} are free",
                "Make room, or move the project to a larger disk, and type the same again: finished work is kept.",
            )
        if seconds < LONG_SECONDS and size < MANY_BYTES:
            return ""
        disk = f", about {in_bytes(size)} on the disk ({in_bytes(free)} free)" if size else ""
        return f"{self.title}: {left} more {self.unit} take about {in_time(seconds)}{disk}"
