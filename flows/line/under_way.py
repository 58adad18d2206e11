"""The run that is under way in this folder: its stage, how far that is, and what may follow."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from labelfactory.console import in_time
from labelfactory.errors import UserError
from labelfactory.settings.reports import read_report
from labelfactory.settings.wiring import read_wiring
from labelfactory.work_note import Work, read_works

RWLOCK = Path(".dvc/tmp/rwlock")
"""Where DVC notes which process writes which output: {"write": {path: {"pid": …, "cmd": …}}, …}."""


def at_work() -> bool:
    """Whether a stage is running in this folder now. Entries of killed processes do not count."""
    return bool(_written())


def under_way() -> list[str]:
    """The run in lines: `extract_cams: 120 of 1464 images, about 3 min left`, and what may follow; empty where there is none."""
    works = {work.stage: work for work in read_works()}
    nouns = {wired.noun: name for name, wired in read_wiring().items()}
    writing = [nouns[Path(path).name] for path in _written() if Path(path).name in nouns]
    stages = [name for name in read_wiring() if name in {*works, *writing}]
    lines = [_in_words(name, works.get(name)) for name in stages]
    if stages:
        lines += _after(stages[-1])
    return lines or (["it is between two stages"] if _written() else [])


def _written() -> list[str]:
    """The outputs that running stages write, by DVC's note."""
    try:
        held = json.loads(RWLOCK.read_text(encoding="utf-8"))["write"]
        return [path for path, writer in held.items() if psutil.pid_exists(int(writer["pid"]))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no file, or one that is being written
        return []


def _in_words(stage: str, work: Work | None) -> str:
    if work is None:
        return f"{stage}: it starts, or DVC notes what it made"
    parts = []
    if work.total:
        parts.append(f"{work.done} of {work.total} {work.unit}")
    passed = time.time() - work.started
    if work.left is not None:
        parts.append(f"about {in_time(work.left)} left")
    elif (before := _last_seconds(stage)) is not None:
        parts.append(f"about {in_time(max(before - passed, 0.0))} left, if it takes as long as last time")
    return f"{stage}: {', '.join(parts) or 'it has run for ' + in_time(passed)}"


def _after(stage: str) -> Iterator[str]:
    names = list(read_wiring())
    later = [_last_seconds(name) for name in names[names.index(stage) + 1 :]]
    known = [seconds for seconds in later if seconds is not None]
    if later and not known:
        yield f"after it at most {len(later)} stages, which never ran"
    elif later:
        new = f"; {len(later) - len(known)} never ran" if len(known) < len(later) else ""
        yield f"after it at most {len(later)} stages: {in_time(sum(known))}, if they take as long as last time{new}"


def _last_seconds(stage: str) -> float | None:
    """How long a stage's last large run took; None where it never ran."""
    try:
        pace = read_report(stage).get("pace")
    except UserError:
        return None
    return float(pace["seconds"]) if pace else None
