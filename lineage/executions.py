"""Executions of stages, derived from their outputs: reports, dvc.lock, passports, loss curves and metrics.

A report says what its execution read and left, by digest. What stands under data/ now belongs to it only if it has these digests:
a later execution may have been killed before its report was written.
The id of an execution is a digest of its stage, the bytes of its report, and the outputs that dvc.lock names with that
report. The same state on disk always gives the same ids, also for a report that DVC has not committed (a stage run by hand).
"""

import csv
import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labelfactory.devices import pick_device
from labelfactory.digests import digest_bytes, digest_file, digest_json
from labelfactory.dvc_cache import cached
from labelfactory.errors import DataError, first_line
from labelfactory.learning.checkpoints import CURVE, Passport
from labelfactory.rows.shards import ShardFolder
from labelfactory.settings.params import PARAMS_FILE, read_yaml
from labelfactory.settings.reports import read_report
from labelfactory.settings.wiring import DATA, LOCK_FILE, METRICS, StageWiring, last_runs, read_wiring
from labelfactory.stage.output_state import (
    LIST,
    SCORES_FILE,
    SETTINGS,
    State,
    made_by,
    output_state,
    passport_of,
    states,
)
from labelfactory.versions import git_state
from lineage.artifacts import files_in, md5_of, measured_by
from lineage.evaluation import MEASURED


@dataclass(frozen=True)
class Execution:
    """One run of one stage: its name and all that is known of it, JSON."""

    id: str
    stage: str
    detail: dict[str, Any]


def executions(known: Mapping[str, Mapping[str, Any]]) -> list[Execution]:
    """The execution behind each stage's report, in the line's order; details only where it is not `known` yet."""
    lock, current = last_runs(), []
    uncommitted = {(d["stage"], d["report_sha256"]): i for i, d in known.items() if not d["committed"]}
    for name, wiring in read_wiring().items():
        report = DATA / "reports" / f"{name}.json"
        if not report.exists():
            continue
        data = report.read_bytes()
        entry = _entry(lock.get(name, {}), report, data)
        identity = digest_json([name, digest_bytes(data), entry and entry["outs"]])
        identity = uncommitted.get((name, digest_bytes(data)), identity)
        detail = dict(known[identity]) if identity in known else _detail(wiring, report, data, entry)
        current.append(Execution(identity, name, detail))
    return current


def _entry(entry: Mapping[str, Any], report: Path, data: bytes) -> dict[str, Any] | None:
    """What dvc.lock says of a stage, if it means this very report."""
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    fits = any(out["path"] == report.as_posix() and out["md5"] == md5 for out in entry.get("outs", ()))
    return dict(entry) if fits else None


def _detail(wiring: StageWiring, report: Path, data: bytes, entry: dict[str, Any] | None) -> dict[str, Any]:
    figures = read_report(wiring.name)
    noun = wiring.noun
    told: dict[str, str] = next(iter(figures.get("ended", ())), {})  # an earlier version did not say it
    ended = datetime.fromisoformat(told["time"]).timestamp() if told else report.stat().st_mtime
    made = _made(wiring, figures, report, entry)
    output = made.get(noun)
    kept = _is_kept(noun, output)
    passport = passport_of(noun) if kept else None
    commit, dirty = git_state()
    params = entry["params"][PARAMS_FILE] if entry else read_yaml(Path(PARAMS_FILE))
    settings = {part["section"]: part["values"] for part in figures.get("settings", ())}
    measured = measured_by(METRICS) if METRICS.as_posix() in made else {}
    return {
        "stage": wiring.name,
        "report_sha256": digest_bytes(data),
        "committed": entry is not None,
        "params": settings or {section: params[section] for section in wiring.params if section in params},
        "with_defaults": bool(settings),
        "metrics": dict(_numbers({**figures, **measured})),
        "curve": _curve(DATA / noun / CURVE) if figures.get("trained") and kept else [],
        "read": "read" in figures,
        "inputs": _inputs(wiring, figures, measured, passport),
        "output": _plain(output),
        "model": output["digest"] if output and output["kind"] == "model" else None,
        "training_rows": output.get("training_rows") if output else None,
        "classes": output.get("classes") if output else None,
        "training": output.get("training") if output else None,
        "scores": made[METRICS.as_posix()]["digest"] if METRICS.as_posix() in made else None,
        "trained": bool(figures.get("trained")),
        "tags": {
            "stage": wiring.name,
            "git_commit": (passport.git_commit if passport else commit) or "",
            "git_dirty": str((passport.git_dirty if passport else dirty) or False).lower(),
            "dvc_lock": digest_file(LOCK_FILE) if LOCK_FILE.exists() else "",
            "code": (_code(noun, passport) if kept else None) or figures.get("code", ""),
            "host": told["host"] if told else platform.node(),
            "device": passport.device if passport else _device(params.get(wiring.name), figures.get("precision", "")),
            "seconds": str(figures["seconds"]),
            "peak_memory_mb": str(figures["peak_memory_mb"]),
        },
        "started": _iso(ended - figures["seconds"]),
        "ended": _iso(ended),
    }


def _made(
    wiring: StageWiring, figures: Mapping[str, Any], report: Path, entry: Mapping[str, Any] | None
) -> dict[str, State]:
    """What an execution left, by name: as its report says, without scores that were written since.

    A report of an earlier version does not say it: then what is on disk, if dvc.lock names its files with the report, or if no
    file of it is newer than the report.
    """
    present = {state["name"]: state for state in made_by(wiring)}
    if "made" in figures:
        made = {state["name"]: state for state in figures["made"]}
        return {
            n: s for n, s in made.items() if s["kind"] != SCORES_FILE or present.get(n, {}).get("digest") == s["digest"]
        }
    folder = DATA / wiring.noun
    locked = next((out["md5"] for out in (entry or {}).get("outs", ()) if out["path"] == folder.as_posix()), "")
    listed = cached(locked) if locked.endswith(".dir") else None
    if listed is not None and listed.is_file():
        paths = [(folder / file.relpath, file.md5) for file in files_in(listed)]
        return present if all(path.is_file() and md5_of(path) == md5 for path, md5 in paths) else {}
    newest = max((path.stat().st_mtime_ns for path in folder.glob("*") if path.is_file()), default=0)
    return present if newest <= report.stat().st_mtime_ns else {}


def _is_kept(noun: str, output: State | None) -> bool:
    """Whether data/ holds what an execution left; True of an output without a digest."""
    present = output_state(noun)
    return (present and present["digest"]) == (output and output["digest"])


def _plain(state: State | None) -> State | None:
    """The state of an output without what tells a network from others."""
    return {key: state[key] for key in ("name", "kind", "digest", "rows")} if state else None


def _inputs(
    wiring: StageWiring, figures: Mapping[str, Any], measured: Mapping[str, Any], passport: Passport | None
) -> list[State]:
    """What an execution read: as its report says; of an earlier version what was scored, or what stands there now.

    The networks that a network started or learnt from are those of its passport.
    """
    if "read" in figures:
        return [dict(_plain(state) or {}) for state in figures["read"]]
    scored = [s for s in measured.get(MEASURED, ()) if s["kind"] not in (LIST, SETTINGS)]
    parents = passport.parents if passport else {}
    return scored or [{**s, "digest": parents.get(s["name"], s["digest"])} for s in states(wiring.inputs)]


def _device(section: Mapping[str, Any] | None, used: str) -> str:
    """What it computed on; of a stage that runs networks also in which precision, or what was asked for if none was run."""
    asked = section.get("precision", "") if section else ""
    return ", ".join(filter(None, (str(pick_device()), used or asked)))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="milliseconds")


def _numbers(figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Every number among figures."""
    for name, value in figures.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, float(value)


def _curve(path: Path) -> list[dict[str, float]]:
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [{str(name): float(value) for name, value in row.items()} for row in csv.DictReader(stream)]
        if not all("epoch" in row for row in rows):
            raise ValueError("it has no column epoch")
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise DataError(
            f"{path}: damaged: {first_line(error)}", f"Delete {path} and type `labelfactory run`."
        ) from None
    return rows


def _code(noun: str, passport: Passport | None) -> str | None:
    """The digest of the code that made an output, as the output says it itself."""
    if passport is not None:
        return passport.code_digest
    folder = ShardFolder(DATA / noun)
    for shard in folder.shards():
        table = folder.table(shard)
        if table is not None and table.num_rows:
            try:
                code = dict(json.loads(table.column("inputs")[0].as_py())).get("code")
            except (KeyError, TypeError, ValueError, RecursionError):
                raise folder.damaged(shard, "its inputs are not those of a row") from None
            return str(code) if code else None
    return None
