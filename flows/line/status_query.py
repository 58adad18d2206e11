"""DVC's state of the line, for a page that polls: `python -m flows.line.status_query` prints JSON.

The query holds DVC's lock of the folder for a second or two; a run that ends a stage waits for that lock, and bare `dvc repro`
fails after three seconds. So DVC is not queried while a stage runs; the answer says how far that is instead.
"""

import json
from dataclasses import asdict
from typing import Any

from flows.line.under_way import at_work, under_way
from labelfactory.lock import BusyError


def look() -> dict[str, Any]:
    """Whether a stage is running, and how far it is; if not, each stage with its state and reasons."""
    from flows.line.stage_states import line_status  # loading DVC takes most of the time, and a run may start meanwhile

    if not at_work():
        try:
            return {"running": False, "stages": [asdict(stage) for stage in line_status()]}
        except BusyError:  # a run is between two stages
            pass
    return {"running": True, "stages": [], "run": under_way()}


if __name__ == "__main__":
    print(json.dumps(look()))
