"""How often a run says that it lives, and how long it may be silent. Known to run and watcher alike."""

import os

from labelfactory.errors import UserError

LABEL = "labelfactory.heartbeat"
"""The label of a run that holds its newest beat."""
EVERY_VARIABLE = "LABELFACTORY_HEARTBEAT_SECONDS"
EVERY_SECONDS = 20.0
SILENT_BEATS = 6
"""Beats that may be missed before a run counts as dead: two minutes."""


def beat_seconds() -> float:
    """Seconds between two beats: $LABELFACTORY_HEARTBEAT_SECONDS, else 20. Workers and watcher must agree on it.

    Raises:
        UserError: the variable is no positive number.
    """
    value = os.environ.get(EVERY_VARIABLE, "")
    try:
        seconds = float(value) if value else EVERY_SECONDS
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"{EVERY_VARIABLE}={value!r} is no positive number", f"Type `unset {EVERY_VARIABLE}`.")
    return seconds
