"""Run variants of the line: each combination of parameters is a DVC experiment; the result is one table and one plot.

The workspace stays unchanged. Existing experiments are not run again, so a killed sweep resumes. Each variant runs with what was
planned; where import, corrections or code have changed since, it fails. A failed variant has its problem in the table, and the
others run.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run as this_run
from prefect.states import Completed, Failed

from flows.line.dvc_process import Hear, LineProcess, LineProcessError, StageError
from flows.line.dvc_repo import locked_stages
from flows.line.put_aside import check_tree_can_wait, put_back
from flows.run.checks import check_run
from flows.run.heartbeat import heartbeat
from flows.run.notify import announce
from flows.run.stage_task import CRASHED, USER_ERROR, worth_another_try
from flows.server.credentials import mask_logs
from flows.server.intervals import retry_seconds
from flows.server.run_name import run_name
from flows.sweeps.gains import with_gains
from flows.sweeps.plan import Parameters, Variant, scored_until, variants
from flows.sweeps.plot import as_svg
from flows.sweeps.table import Outcome, as_csv, as_markdown, scores_of
from labelfactory.digests import digest_json
from labelfactory.errors import UserError
from labelfactory.files import make_folder, remove_leftovers, write_whole
from labelfactory.interrupt import Interrupted
from labelfactory.lock import stage_lock
from labelfactory.masking import masked
from labelfactory.settings.wiring import read_wiring

SWEEPS = Path("data/sweeps")


def name_of_run() -> str:
    """`sweep of random_walk.beta, 20 Nov 14:05`."""
    return run_name("sweep", this_run.parameters, this_run.name or "")


@flow(
    name="sweep",
    flow_run_name=name_of_run,
    on_completion=[announce],
    on_failure=[announce],
    on_crashed=[announce],
    on_cancellation=[announce],
)
def sweep(parameters: dict[str, list[Any]], until: str = "") -> State[Any]:
    """Run the line with each combination of these values.

    Args:
        parameters: dotted name → values, such as {"random_walk.beta": [4, 8, 16]}.
        until: the last stage that runs, such as refine_crf; empty for the whole line.
    """
    mask_logs()
    with heartbeat():
        try:
            planned = plan(parameters, until)
            with stage_lock("sweep"), LineProcess() as line:
                outcomes = with_gains([_outcome(line, variant, until) for variant in planned])
            folder = write(outcomes, parameters, until)
        except UserError as error:
            return Failed(name=USER_ERROR, message=str(error))
    create_markdown_artifact(masked(as_markdown(outcomes)), key="sweep", description="The scores of each variant")
    create_link_artifact((folder / "plot.svg").resolve().as_uri(), "The plot", key="sweep-plot")
    failed = [outcome for outcome in outcomes if outcome.problem]
    if failed:
        return Failed(message=f"{len(failed)} of {len(outcomes)} variants failed; the others are in {folder}")
    return Completed(message=f"{len(outcomes)} variants; table and plot are in {folder}")


@task(cache_policy=NO_CACHE, persist_result=False, retry_condition_fn=worth_another_try)
def run_variant(line: LineProcess, variant: Variant, until: str, scores: dict[str, float]) -> State[Any]:
    """Run one experiment; its scores are added to `scores`."""
    logger = get_run_logger()
    try:
        metrics = line.vary(
            variant.name, variant.params, variant.inputs, variant.stages, hear=lambda text: logger.info("%s", text)
        )
    except StageError as error:
        return Failed(name=USER_ERROR if error.users else CRASHED, message=str(error))
    except LineProcessError as error:
        return Failed(name=CRASHED, message=str(error))
    scores.update(scores_of(metrics, scored_until(until)))
    return Completed(message=", ".join(f"{name} {100 * score:.1f} %" for name, score in scores.items()))


def _outcome(line: LineProcess, variant: Variant, until: str) -> Outcome:
    pauses = retry_seconds()
    named = run_variant.with_options(
        name="variant", task_run_name=str(variant), retries=len(pauses), retry_delay_seconds=pauses
    )
    scores: dict[str, float] = {}
    state: State[Any] = named(line, variant, until, scores, return_state=True)
    problem = "" if state.is_completed() else state.message or str(state.name)
    return Outcome(variant.name, variant.settings, scores, problem)


def plan(parameters: Parameters, until: str = "") -> list[Variant]:
    """The variants, after checking that the line can run them.

    Raises:
        UserError: a parameter or a value is invalid, the line has not finished here, or as `check_tree_can_wait`.
    """
    put_back()
    check_tree_can_wait()
    planned = variants(parameters, until)
    check_run()
    missing = set(read_wiring()) - locked_stages()
    if missing:
        raise UserError(
            f"the line has not finished here ({len(missing)} stages never ran), so each variant would run all of it",
            "Type `labelfactory run` first.",
        )
    return planned


def sweep_here(
    parameters: Parameters, hear: Hear, show: Callable[[str], None], until: str = ""
) -> tuple[list[Outcome], Path]:
    """Run a sweep without a server, for the command line.

    Args:
        parameters: as in `sweep`.
        hear: called with each line of the stages' output.
        show: called with one line per variant.
        until: as in `sweep`.

    Raises:
        UserError: as `plan`, or another sweep runs in this folder.
    """
    planned = plan(parameters, until)
    outcomes: list[Outcome] = []
    try:
        with stage_lock("sweep"), LineProcess() as line:
            for number, variant in enumerate(planned, 1):
                show(f"sweep: {number} of {len(planned)}: {variant}")
                try:
                    metrics = line.vary(variant.name, variant.params, variant.inputs, variant.stages, hear=hear)
                    scores = scores_of(metrics, scored_until(until))
                    outcomes.append(Outcome(variant.name, variant.settings, scores))
                except (StageError, LineProcessError) as error:
                    outcomes.append(Outcome(variant.name, variant.settings, {}, str(error)))
    except KeyboardInterrupt as interruption:
        done = sum(not outcome.problem for outcome in outcomes)
        raise Interrupted(f"{done} of {len(planned)} variants done") from interruption
    outcomes = with_gains(outcomes)
    return outcomes, write(outcomes, parameters, until)


def write(outcomes: Sequence[Outcome], parameters: Parameters, until: str) -> Path:
    """Write table.md, table.csv and plot.svg. Returns their folder, named after the parameters and where the sweep stops."""
    named = {name: list(values) for name, values in parameters.items()} | ({"--until": [until]} if until else {})
    folder = SWEEPS / digest_json(named)[:8]
    make_folder(folder)
    files = {"table.md": as_markdown(outcomes) + "\n", "table.csv": as_csv(outcomes), "plot.svg": as_svg(outcomes)}
    remove_leftovers(folder, files, alone=False)
    for name, text in files.items():
        with write_whole(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return folder
