"""Which report.html was made of the data set that is on disk: only of that one is it known which images it can show.

A report has no key of its own, and its time says nothing: it may be copied back from a backup. dvc.lock names the bytes of the
report that the last run made, and the data set that it was made of.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from labelfactory.dataset.prepared import IMAGES, read_dataset
from labelfactory.errors import UserError
from labelfactory.settings.wiring import DATA, last_runs, read_wiring
from lineage.artifacts import md5_of

REPORT = DATA / "evaluation" / "report.html"
"""The only output of the line that is a page."""


def report_without(refuses: Callable[[str, str], bool]) -> str:
    """MD5 of the report that was made of the data set on disk; empty where there is none, or where an image there is refused.

    Args:
        refuses: says of an image's id and its photograph's SHA-256 whether it must not be in a report.
    """
    try:
        made = _reported()
        clean = bool(made) and not any(refuses(record.image_id, record.sha256) for record in read_dataset().records)
    except (UserError, OSError):
        return ""
    return made if clean else ""


def is_report(md5: str) -> bool:
    """Whether report.html has these bytes."""
    return REPORT.is_file() and md5_of(REPORT) == md5


def _reported() -> str:
    """MD5 of the report that dvc.lock names, if it was made of the data set on disk; else empty."""
    wiring, runs = read_wiring(), last_runs()
    run: dict[str, Any] = next((runs.get(s.name, {}) for s in wiring.values() if str(REPORT) in s.outs), {})
    used = {item.get("path"): item.get("md5") for item in run.get("deps") or () if isinstance(item, dict)}
    made = {out["path"]: out["md5"] for out in run.get("outs", ())}
    return str(made.get(str(REPORT), "")) if used.get(str(IMAGES.parent)) == _md5_of_dataset() else ""


def _md5_of_dataset() -> str:
    """The data set's folder as DVC names it: MD5 of the list of its files."""
    listed = [{"md5": md5_of(IMAGES), "relpath": IMAGES.name}]
    return f"{hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest()}.dir"
