"""How often a run says that it lives, how long it may be silent, and when what crashed is tried again."""

import os

from labelfactory.environment import positive
from labelfactory.errors import UserError

LABEL = "labelfactory.heartbeat"
"""The label of a run that holds its newest beat."""
EVERY_VARIABLE = "LABELFACTORY_HEARTBEAT_SECONDS"
EVERY_SECONDS = 20.0
SILENT_BEATS = 6
"""Beats that may be missed before a run counts as dead: two minutes."""
START_BEATS = 30
"""The same for a run whose process is starting, which cannot beat yet: ten minutes."""
RETRY_VARIABLE = "LABELFACTORY_RETRY_SECONDS"
RETRY_SECONDS = "10,60"


def beat_seconds() -> float:
    """Seconds between two beats: $LABELFACTORY_HEARTBEAT_SECONDS, else 20; the same for workers and watcher.

    Raises:
        UserError: the variable is not a positive number.
    """
    return positive(EVERY_VARIABLE, EVERY_SECONDS)


def retry_seconds() -> list[float]:
    """Pauses before another try of a stage that crashed: $LABELFACTORY_RETRY_SECONDS, such as `10,60`.

    Raises:
        UserError: the variable is no list of such numbers.
    """
    value = os.environ.get(RETRY_VARIABLE, RETRY_SECONDS)
    try:
        pauses = [float(part) for part in value.split(",") if part]
    except ValueError:
        pauses = [-1.0]
    if not all(0 <= pause < float("inf") for pause in pauses):
        raise UserError(f"{RETRY_VARIABLE}={value!r} is no list of seconds", f"Type `unset {RETRY_VARIABLE}`.")
    return pauses
