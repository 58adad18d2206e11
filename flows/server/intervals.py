"""Intervals: of heartbeats, of silence until a run counts as dead, and of retries after a crash."""

import os

from labelfactory.environment import positive
from labelfactory.errors import UserError

LABEL = "labelfactory.heartbeat"
"""The label of a run with its last heartbeat."""
EVERY_VARIABLE = "LABELFACTORY_HEARTBEAT_SECONDS"
EVERY_SECONDS = 20.0
SILENT_BEATS = 6
"""Missed heartbeats after which a run counts as dead: two minutes."""
START_BEATS = 30
"""The same for a run whose process is starting and has no heartbeat yet: ten minutes."""
RETRY_VARIABLE = "LABELFACTORY_RETRY_SECONDS"
RETRY_SECONDS = "10,60"


def beat_seconds() -> float:
    """Seconds between two heartbeats: $LABELFACTORY_HEARTBEAT_SECONDS, else 20; the same for workers and watcher.

    Raises:
        UserError: the variable is not a positive number.
    """
    return positive(EVERY_VARIABLE, EVERY_SECONDS)


def retry_seconds() -> list[float]:
    """Pauses before each retry of a crashed stage: $LABELFACTORY_RETRY_SECONDS, such as `10,60`.

    Raises:
        UserError: the variable is not a list of seconds.
    """
    value = os.environ.get(RETRY_VARIABLE, RETRY_SECONDS)
    try:
        pauses = [float(part) for part in value.split(",") if part]
    except ValueError:
        pauses = [-1.0]
    if not all(0 <= pause < float("inf") for pause in pauses):
        raise UserError(
            f"{RETRY_VARIABLE}={value!r} must be seconds with commas, such as 10,60", f"Type `unset {RETRY_VARIABLE}`."
        )
    return pauses
