"""A tournament as its result: data/tournament/results.json, written after each run, so that an interrupted one is not lost."""

from datetime import UTC, datetime

import pyarrow.parquet as pq

from flows.tournaments.jobs import images_of
from flows.tournaments.rounds import Tournament
from flows.tournaments.setup import Setup
from flows.tournaments.standings import how_right
from labelfactory.dataset.manifest import imported_classes
from labelfactory.measured_precision import processor
from labelfactory.rows.scored import LISTS
from labelfactory.settings.params import PARAMS_FILE
from labelfactory.tournament import Results, write_results
from labelfactory.versions import git_state
from lineage.gains import ScoredImages


def save_results(tournament: Tournament, setup: Setup) -> Results:
    """Write what is known of a tournament now."""
    contenders = tournament.contenders()
    selection = tournament.plan.selection
    of_less = {name for each in tournament.rounds if each.images != selection.images for name in each.dropped}
    commit, dirty = git_state(besides=PARAMS_FILE)
    results = Results(
        title=setup.title,
        command=setup.command,
        until=setup.course.until,
        split=setup.course.scored,
        images=_scored_images(tournament, setup) or selection.images,
        seeds=tuple(tournament.baseline.jobs),
        classes=imported_classes().with_background,
        with_truth=any(contender.score is not None for contender in contenders),
        partly=selection.scored - selection.with_truth if selection.with_truth else 0,
        guess=setup.course.guess,
        guess_was_right=how_right(c for c in contenders if c.name not in of_less),
        contenders=tuple(contenders),
        rounds=tuple(tournament.rounds),
        commit=commit or "",
        dirty=bool(dirty),
        machine=processor(),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=setup.digest,
        given=setup.given,
    )
    write_results(results)
    return results


def _scored_images(tournament: Tournament, setup: Setup) -> int:
    """How many photographs the baseline was scored on."""
    files = (images_of(job) for seed, job in tournament.baseline.jobs.items() if seed in tournament.baseline.runs)
    file: ScoredImages | None = next((file for file in files if file is not None), None)
    if file is None:
        return 0
    lists = pq.read_table(file.path, columns=[LISTS]).column(LISTS).to_pylist()
    return sum(setup.course.scored in names for names in lists)
