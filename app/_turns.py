"""One writer at a time: a command holds the project while it runs, so that two of them never overwrite each other's work.

A new command holds it too, unless it is named here.
"""

from functools import wraps
from typing import Any

from flows.line.put_aside import put_back
from labelfactory.lock import project_lock

READERS = {
    *(
        "status",
        "report",
        "parameters",
        "serve",
        "doctor",
        "corrections list",
        "review list",
        "quarantine list",
        "export-lineage",
    ),
    "compare",
    "quality",
    *(f"audit {name}" for name in ("model", "mask", "pixel", "diff", "verify")),
    *("predict", "package"),  # write files outside of the project's own, each whole
}
"""Commands that change nothing that another command reads before it writes."""
OTHER_LOCKS = {
    "run": "DVC's lock and those of the stages; a run of hours does not delay a correction",
    "record": "the ledger's",
    "up": "starts and ends processes",
    "new": "writes a folder outside of the project",
    "down": "starts and ends processes",
    "deploy": "writes to Prefect's server",
    "gc": "removes what is computed again where a stage still looks for it",
    "export": "holds the project while the new folder takes the old one's place",
    "sweep": "holds the project while DVC changes params.yaml for a variant",
    "tournament": "a lock of its own; the project while it reads the import, and while --adopt changes params.yaml",
    "quarantine retry": "holds the project while it releases, not while the line runs",
}
"""Commands that do without the lock, or hold it for a part of their work, and why."""


def in_turn(command: Any, name: str = "") -> Any:
    """Make a command, or each below a group, hold the project while it runs; a dry run writes nothing and does not wait.

    Args:
        command: as `typer.main.get_command` makes it, new each time; it is changed.
        name: as it is typed after `labelfactory`.
    """
    for word, below in getattr(command, "commands", {}).items():
        in_turn(below, f"{name} {word}".strip())
    run = command.callback
    if run is None or hasattr(command, "commands") or name in READERS or name in OTHER_LOCKS:
        return command

    @wraps(run)
    def held(*args: Any, **options: Any) -> Any:
        if options.get("dry_run"):
            return run(*args, **options)
        with project_lock(f"labelfactory {name}"):
            put_back()
            return run(*args, **options)

    command.callback = held
    return command
