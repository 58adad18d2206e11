"""Runs a stage: `python -m stages.<name>` checks all of params.yaml, runs the stage and writes data/reports/<name>.json."""

import importlib
import inspect
import platform
import resource
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from labelfactory.console import say
from labelfactory.environment import without_foreign_git
from labelfactory.errors import UserError
from labelfactory.files import make_folder, write_json
from labelfactory.interrupt import end_with_dvc, interruptible, typed_for_stage
from labelfactory.lock import stage_lock
from labelfactory.measured_precision import computed_in
from labelfactory.pool.pool import largest_memory
from labelfactory.pool.process import fork_from_here
from labelfactory.settings.params import PARAMS_FILE, Section, check_sections, read_yaml
from labelfactory.settings.reports import read_report
from labelfactory.settings.wiring import REPORTS, read_wiring
from labelfactory.stage.base import Stage
from labelfactory.stage.given import ATTEMPTS, CODE, changed_inputs, digest_given, given_inputs
from labelfactory.stage.output_state import made_by, output_state, states
from labelfactory.stage.preflight import check_line
from labelfactory.store.sharing import hold_to_limit
from labelfactory.work_note import working_on


def main(kind: type[Stage[Any]]) -> NoReturn:
    """Run a stage from the command line and exit with 0, 2 (the user can mend it), 1 (a bug) or 130 (interrupted)."""
    without_foreign_git()
    if kind.spreads:
        fork_from_here()
    with interruptible(typed_for_stage()):
        end_with_dvc()
        sys.exit(run_guarded(kind.stage_name()))


def stage_class(name: str) -> type[Stage[Any]]:
    """The class of the stage `name`, from stages/<name>.py."""
    module = importlib.import_module(f"stages.{name}")
    for _, member in inspect.getmembers(module, inspect.isclass):
        if issubclass(member, Stage) and member.__module__ == module.__name__:
            return member
    raise LookupError(f"stages/{name}.py defines no stage")


def read_sections(path: Path = Path(PARAMS_FILE)) -> dict[str, Section]:
    """Check every section of params.yaml against its stage, in dvc.yaml's order.

    Raises:
        ParamsError: lists every problem of the file.
    """
    sections = {name: stage_class(name).section for name in read_wiring()}
    return check_sections(read_yaml(path), sections, str(path))


def build_stage(name: str, sections: Mapping[str, Section]) -> Any:
    """The stage `name` with its section, and those that it borrows."""
    kind = stage_class(name)
    return kind(sections[name], {other: sections[other] for other in kind.borrows})


def run_stage(name: str) -> dict[str, Any]:
    """Check the params of the whole line, run one stage in this process and write its report.

    DVC notes the inputs as they are when a stage has ended. So a stage whose inputs changed while it ran, by a correction, an
    import or a profile, runs again: what it has not used must not be noted as used. Not where its code changed, as by
    `git checkout`: this process has loaded some of the code of before, and would give what that makes the key of the code of now.
    Its report says what it used, so that `labelfactory run` starts it once more.

    Raises:
        UserError: an input is not valid, or changed each of ATTEMPTS times.
    """
    start = time.monotonic()
    before: dict[str, Any] = {}
    with stage_lock(name), working_on(name):
        precisions, kept = _precisions_of_output(name), True
        for _ in range(ATTEMPTS):
            given, used = given_inputs(name), digest_given(name)
            sections = read_sections()
            check_line(sections)
            stage: Stage[Any] = build_stage(name, sections)
            make_folder(stage.output)
            code = stage.code_digest  # of the files as they are now: they may change while it runs
            figures = stage.run()
            kept = kept and _keeps(figures)
            metrics = _added(before, figures)
            before, now = metrics, given_inputs(name)
            if given[CODE] != now[CODE]:
                say(f"{name}: its code changed while it ran; `labelfactory run` runs it again with the code of now")
                break
            if changed := changed_inputs(given, now):
                say(f"{name}: {changed} changed while it ran; it runs again for what that changes")
            else:
                break
        else:
            raise UserError(f"{name}: {changed} changed each time while it ran", "Type the same command again.")
        hold_to_limit()
    report = {
        "stage": name,
        "seconds": round(time.monotonic() - start, 2),
        "peak_memory_mb": _peak_memory_mb(),
        "code": code,
        "given": [used],
        "given_code": [given[CODE]],
        "ended": [{"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "host": platform.node()}],
        # in a list, as above, which DVC does not take for metrics; with the values that params.yaml leaves to a method's defaults
        "settings": [{"section": n, "values": sections[n].model_dump(mode="json")} for n in (name, *stage.borrows)],
        **metrics,
    }
    if used_precisions := computed_in | (precisions if kept else set()):
        report["precision"] = ", ".join(sorted(used_precisions))
    report["pace"] = _pace(name, stage.units(metrics), report["seconds"])
    wiring = read_wiring()[name]
    report |= {"read": states(wiring.inputs), "made": made_by(wiring)}
    write_json(REPORTS / f"{name}.json", report)
    return report


def _added(before: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of a pass, with what an earlier pass of the same run has computed or trained."""
    counts = {
        key: before[key] + metrics[key]
        for key in ("rows_computed", "rows_found", "shards_written")
        if key in before and key in metrics
    }
    trained = {"trained": True} if before.get("trained") else {}
    return {**metrics, **counts, **trained}


def _precisions_of_output(name: str) -> set[str]:
    """In which precisions the output that stands was made; empty where the last report is not about this very output."""
    noun = read_wiring()[name].noun
    try:
        report = read_report(name)
        left = next((state["digest"] for state in report.get("made", ()) if state["name"] == noun), None)
        state = output_state(noun) if left and report.get("precision") else None
    except (UserError, OSError):  # a damaged report or output, which this run replaces
        return set()
    return set(report["precision"].split(", ")) if state and state["digest"] == left else set()


def _keeps(metrics: Mapping[str, Any]) -> bool:
    """Whether rows of the output, or its network, are those of before: neither made by this run nor found in the store."""
    if "rows_computed" in metrics:
        return bool(metrics.get("rows_copied"))
    return metrics.get("trained") is False and not metrics.get("found")


def _pace(name: str, units: int, seconds: float) -> dict[str, float] | None:
    """Units and seconds of this run, or of an earlier one that did more than twice as much: start-up dominates a small run."""
    try:
        before: dict[str, float] | None = read_report(name).get("pace")
    except UserError:  # a damaged report, which this run replaces
        before = None
    if units == 0 or (before and before["units"] > 2 * units):
        return before
    return {"units": units, "seconds": seconds}


def run_guarded(name: str) -> int:
    """`run_stage` for the command line: errors of the user become two lines and exit code 2."""
    try:
        report = run_stage(name)
    except UserError as error:
        say(f"error: {error}")
        return error.exit_code
    say(f"{name}: done in {report['seconds']:.1f} s")
    return 0


def _peak_memory_mb() -> int:
    """Peak resident memory, MiB: the largest of this process, its children and its pools' processes."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    scale = 1024 if sys.platform != "darwin" else 1024 * 1024
    return max(own, child, largest_memory()) // scale
