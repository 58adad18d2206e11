"""DVC's state of the line, for a page that polls: `python -m flows.line.status_query` prints JSON.

The query holds DVC's lock of the folder for a second or two; a run that ends a stage waits for that lock, and bare `dvc repro`
fails after three seconds. So DVC is not queried while a stage runs; the answer says so instead.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

RWLOCK = Path(".dvc/tmp/rwlock")
"""Where DVC notes which process writes which output: {"write": {path: {"pid": …, "cmd": …}}, …}."""


def at_work() -> bool:
    """Whether a stage is running in this folder now. Entries of killed processes do not count."""
    try:
        held = json.loads(RWLOCK.read_text(encoding="utf-8"))["write"]
        return any(psutil.pid_exists(int(writer["pid"])) for writer in held.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no file, or one that is being written
        return False


def look() -> dict[str, Any]:
    """Whether a stage is running; if not, each stage with its state and reasons."""
    from flows.line.stage_states import line_status  # loading DVC takes most of the time, and a run may start meanwhile

    if at_work():
        return {"running": True, "stages": []}
    return {"running": False, "stages": [asdict(stage) for stage in line_status()]}


if __name__ == "__main__":
    print(json.dumps(look()))
