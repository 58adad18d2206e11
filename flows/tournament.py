"""A tournament of methods: contenders, each params.yaml with an overlay, held against params.yaml as it stands.

All run on the same photographs. Stages run in folders of their own below data/tournament; params.yaml and the line's data stay as
they are. What equal settings make is made once, and a tournament that was killed goes on where it was.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import wait
from prefect.runtime import flow_run as this_run
from prefect.states import Completed, Failed

from flows.run.heartbeat import heartbeat
from flows.run.notify import announce
from flows.run.run_record import tell_mlflow
from flows.run.stage_task import USER_ERROR
from flows.server.credentials import mask_logs
from flows.server.run_name import run_name
from flows.tournaments.forecast import Forecast
from flows.tournaments.gallery import gallery_of
from flows.tournaments.jobs import Job
from flows.tournaments.result import save_results
from flows.tournaments.rounds import Tournament
from flows.tournaments.setup import Setup, Wish, set_up
from flows.tournaments.table import as_markdown
from flows.tournaments.work import Hear, NodeError, Workshop, workshop
from labelfactory.errors import UserError
from labelfactory.interrupt import Interrupted
from labelfactory.lock import stage_lock
from labelfactory.masking import masked
from labelfactory.tournament import REPORT, Results
from lineage.tournament_record import record_tournament
from reporting.tournament_page import write_tournament_report
from reporting.tournament_words import verdict

Runner = Literal["local", "dask", "ray"]
LOCK = "tournament"


def name_of_run() -> str:
    """`tournament of objectives, 20 Nov 14:05`."""
    return run_name("tournament", this_run.parameters, this_run.name or "")


@flow(
    name="tournament",
    flow_run_name=name_of_run,
    on_completion=[announce, tell_mlflow],
    on_failure=[announce, tell_mlflow],
    on_crashed=[announce],
    on_cancellation=[announce],
)
def tournament(
    contenders: list[str],
    until: str = "",
    seeds: int = 2,
    split: str = "",
    images: int = 0,
    budget: float = 0.0,
    runner: Runner = "local",
) -> State[Any]:
    """Hold contenders against params.yaml as it stands.

    Args:
        contenders: names of families and YAML files.
        until: the last step that is made and scored; empty for the first that a contender changes.
        seeds: how many seeds each is trained with.
        split: the list that goes through the line; empty for the training list.
        images: of that list; 0 for all.
        budget: seconds; 0 for no limit.
        runner: `local` for this machine; `dask` or `ray` for a cluster, on which contenders run side by side.
    """
    mask_logs()
    logger = get_run_logger()
    wish = Wish(tuple(contenders), until, seeds, split, images, budget)
    with heartbeat():
        try:
            setup = set_up(wish)
            ahead = _over_cluster(runner) if runner != "local" else _nothing
            results = play(setup, wish.budget, logger.info, logger.info, as_task, ahead)
        except UserError as error:
            return Failed(name=USER_ERROR, message=str(error))
    try:
        record_tournament(results)
    except UserError as error:
        logger.warning("nothing was recorded: %s", error.problem)
    create_markdown_artifact(masked(as_markdown(results)), key="tournament", description="Contenders and their gains")
    failed = [contender.name for contender in results.contenders if contender.state == "failed"]
    if failed:
        return Failed(message=f"{len(failed)} of {len(results.contenders)} failed: {', '.join(failed)}")
    return Completed(message=verdict(results).sentence)


Perform = Callable[[Workshop, Job, Hear], None]


def plainly(works: Workshop, job: Job, hear: Hear) -> None:
    """Run a job in this process."""
    works.run_chain(job.node, hear)


@task(name="contender", cache_policy=NO_CACHE, persist_result=False)
def _contender(works: Workshop, job: Job, hear: Hear) -> None:
    works.run_chain(job.node, hear)


def as_task(works: Workshop, job: Job, hear: Hear) -> None:
    """Run a job as a task of the flow; where all of it is done, none is made."""
    if not job.node.is_done:
        _contender.with_options(task_run_name=f"{job.entrant.name}, seed {job.seed}")(works, job, hear)


def _nothing(jobs: Sequence[Job]) -> None:
    """No cluster."""


def _over_cluster(runner: Literal["dask", "ray"]) -> Callable[[Sequence[Job]], None]:
    """Runs the jobs of a round together on a cluster. What fails there is tried again here, where its error is told."""
    from flows.run.clusters import own_gpus, scratch_folder, task_runner  # loads torch: only for a cluster

    def ahead(jobs: Sequence[Job]) -> None:
        pending = [job for job in jobs if not job.node.is_done]
        if not pending:
            return
        with scratch_folder(runner) as scratch:
            on_cluster = _together.with_options(
                flow_run_name=f"{len(pending)} runs of contenders",
                task_runner=task_runner(runner, gpus=own_gpus(), scratch=scratch),
            )
            on_cluster(pending, os.fspath(Path.cwd()), return_state=True)

    return ahead


@flow(name="contenders", validate_parameters=False, persist_result=False)
def _together(jobs: list[Job], folder: str) -> None:
    """One task for each job."""
    wait([_on_worker.submit(job, folder) for job in jobs])


@task(
    name="contender on a worker",
    task_run_name="{job.entrant.name}, seed {job.seed}",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def _on_worker(job: Job, folder: str) -> None:
    """Run a job in a worker's process, which uses one core as the cluster has one process for each."""
    os.chdir(folder)
    os.environ["LABELFACTORY_WORKERS"] = "1"
    logger = get_run_logger()
    with suppress(NodeError):  # it is tried again by the flow
        Workshop(plain=True).run_chain(job.node, logger.info)


def tournament_here(wish: Wish, hear: Hear, show: Callable[[str], None]) -> Results:
    """Run a tournament without a server, for the command line.

    Args:
        wish: what was typed.
        hear: called with each line of the stages' output.
        show: called with one line for each run.

    Raises:
        UserError: as `set_up` and `Tournament.play`, or another tournament runs in this folder.
    """
    return play(set_up(wish), wish.budget, hear, show, plainly, _nothing)


def play(
    setup: Setup,
    budget: float,
    hear: Hear,
    show: Callable[[str], None],
    perform: Perform,
    ahead: Callable[[Sequence[Job]], None],
) -> Results:
    """Play a tournament and write its result.

    Raises:
        UserError: as `Tournament.play`.
        Interrupted: says how many runs are done.
    """
    with stage_lock(LOCK), workshop() as works:
        played = Tournament(
            setup.course,
            setup.plans,
            setup.entrants,
            perform=lambda job: perform(works, job, hear),
            show=show,
            budget=budget,
            save=lambda tournament: _save(tournament, setup),
            ahead=ahead,
        )
        try:
            played.play()
        except KeyboardInterrupt as interruption:
            done = sum(len(standing.runs) for standing in played.standings.values())
            wanted = sum(len(standing.jobs) for standing in played.standings.values())
            raise Interrupted(f"{done} of {wanted} runs of this round done") from interruption
        results = save_results(played, setup)
        write_tournament_report(REPORT, results, gallery_of(played))
        return results


def _save(played: Tournament, setup: Setup) -> None:
    if played.baseline.runs:
        write_tournament_report(REPORT, save_results(played, setup))  # its pictures come at the end


def forecast(wish: Wish) -> tuple[Tournament, dict[str, float], Forecast]:
    """What a tournament would cost: contender → seconds of what is not made yet and no contender before it makes.

    One that cannot run has no seconds, and its problem stands in its standing.

    Raises:
        UserError: as `set_up`.
    """
    setup = set_up(wish)
    played = Tournament(setup.course, setup.plans, setup.entrants, perform=lambda job: None, show=lambda line: None)
    expected, known = Forecast.of_stages(setup.course.stages), set[Any]()
    costs: dict[str, float] = {}
    for plan in setup.plans:
        for job in played.jobs(plan):
            nodes = [node for node in job.node.chain if node not in known]
            known |= set(nodes)
            costs[job.entrant.name] = costs.get(job.entrant.name, 0.0) + expected.seconds(nodes)
    return played, costs, expected
