"""The rounds of a tournament: who takes part in each, how long it may take, and who drops out.

With a budget: a part of the photographs and one seed, then all of them, then all seeds. After a round, those drop out that are
certainly behind the leader, by the interval of the paired difference; without true masks, the lower half by what the line knows.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from flows.tournaments.contenders import Entrant
from flows.tournaments.forecast import Forecast
from flows.tournaments.jobs import Course, Job, job_of, run_of, supervision_of
from flows.tournaments.selection import Selection
from flows.tournaments.standings import Standing, contender_of, contenders_of, gain_over
from flows.tournaments.work import NodeError, first_line_of
from labelfactory.errors import UserError
from labelfactory.level.paired import WORSE
from labelfactory.settings.wiring import read_wiring
from labelfactory.tournament import BASELINE, Contender, Round, Run

PART, SMALL = 4, 128
"""The first round has one photograph of so many, where there are more than SMALL."""
Perform = Callable[[Job], None]
"""Runs the nodes of a job. Raises NodeError or UserError where one fails."""


@dataclass(frozen=True)
class Plan:
    """One round: its photographs and its seeds, the first of which may be known from the round before."""

    selection: Selection
    seeds: int

    def __str__(self) -> str:
        return f"{self.selection.images} photographs with {self.seeds} {'seed' if self.seeds == 1 else 'seeds'}"


@dataclass
class Tournament:
    """A tournament under way.

    Args:
        course: what all runs have in common.
        plans: the rounds.
        entrants: the baseline first.
        perform: runs a job.
        show: called with one line for each step.
        budget: seconds; 0 for no limit.
        save: called after each run, with the tournament as it stands.
    """

    course: Course
    plans: Sequence[Plan]
    entrants: Sequence[Entrant]
    perform: Perform
    show: Callable[[str], None]
    budget: float = 0.0
    save: Callable[["Tournament"], None] = lambda tournament: None
    ahead: Callable[[Sequence[Job]], None] = lambda jobs: None
    """Called with the jobs of a round before they are performed: a cluster may do them together."""
    clock: Callable[[], float] = time.monotonic
    rounds: list[Round] = field(default_factory=list)
    standings: dict[str, Standing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.standings = {entrant.name: Standing(entrant) for entrant in self.entrants}
        self._began = self.clock()
        self.plan = self.plans[0]

    @property
    def baseline(self) -> Standing:
        """The standing of params.yaml as it stands."""
        return self.standings[BASELINE]

    def play(self) -> None:
        """All rounds.

        Raises:
            UserError: the baseline cannot run or failed, or the budget does not last for the first round of one contender.
        """
        for number, plan in enumerate(self.plans):
            if number == 0:
                self._check_budget(plan)
            elif self.budget and self.clock() - self._began + self._least(plan) > self.budget:
                self.show(f"the budget does not last for {plan}")
                break
            self.plan = plan
            self._enter(plan)
            entered = tuple(s.name for s in self.standings.values() if s.goes_on)
            self._run(plan)
            dropped = self._drop() if number + 1 < len(self.plans) else ()
            images = plan.selection.images
            self.rounds.append(Round(images=images, seeds=plan.seeds, entered=entered, dropped=dropped))
            self.save(self)

    def jobs(self, plan: Plan) -> Iterator[Job]:
        """All jobs of a round, whoever drops out before it; who cannot run has failed."""
        for standing in self._going():
            yield from self._jobs_of(standing, plan)

    def _enter(self, plan: Plan) -> None:
        """Make the jobs of a round; who cannot run has failed."""
        for standing in (s for s in self.standings.values() if s.goes_on):
            standing.state, standing.runs, standing.at_best = "not finished", {}, {}
            standing.jobs = {job.seed: job for job in self._jobs_of(standing, plan)}

    def _jobs_of(self, standing: Standing, plan: Plan) -> list[Job]:
        """Of one contender, by seed; none where it cannot run: then it has failed."""
        try:
            if standing.entrant.problem:
                raise UserError(standing.entrant.problem)
            return [job_of(standing.entrant, number, plan.selection, self.course) for number in range(plan.seeds)]
        except UserError as error:
            self._fail(standing, error)
            return []

    def _least(self, plan: Plan) -> float:
        """Seconds of the baseline and the contender that adds least to it, in a round; 0 where a pace is not known."""
        forecast = Forecast.of_stages(self.course.stages)
        nodes = [[node for job in self._jobs_of(s, plan) for node in job.node.chain] for s in self._going()]
        needed = min((forecast.seconds([*nodes[0], *own]) for own in nodes[1:] if own), default=0.0)
        return 0.0 if forecast.unknown else needed

    def _check_budget(self, plan: Plan) -> None:
        """Raises UserError where the budget does not last for the first round of the baseline and one contender."""
        needed = self._least(plan) if self.budget else 0.0
        if needed > self.budget:
            raise UserError(
                f"--budget: the first round of {BASELINE} and one contender takes about {needed / 60:.0f} minutes, "
                f"{self.budget / 60:.0f} are given",
                "Give more, or fewer --images; `--dry-run` says what each costs.",
            )

    def _going(self) -> list[Standing]:
        return [standing for standing in self.standings.values() if standing.goes_on]

    def _run(self, plan: Plan) -> None:
        """Run the jobs of a round, one seed of all before the next, the baseline first; what has no time stays unfinished."""
        self.ahead([job for s in self._going() for job in s.jobs.values() if self._has_time(job)])
        for number in range(plan.seeds):
            for standing in self._going():
                job = list(standing.jobs.values())[number] if number < len(standing.jobs) else None
                if job is None or not self._has_time(job):
                    continue
                self.show(f"{standing.name}, seed {job.seed}, {plan.selection.images} photographs")
                self._run_one(standing, job)
                self.save(self)
        for standing in self._going():
            if len(standing.runs) == len(standing.jobs):
                standing.state = "finished"

    def _has_time(self, job: Job) -> bool:
        """Whether it would end in time. What is done takes none, and without the baseline there are no gains."""
        if not self.budget or job.node.is_done or job.entrant.name == BASELINE:
            return True
        needed = Forecast.of_stages(self.course.stages).seconds(job.node.chain)
        return self.clock() - self._began + needed <= self.budget

    def _run_one(self, standing: Standing, job: Job) -> None:
        try:
            self.perform(job)
            run = run_of(job, self.course)
            standing.runs[job.seed] = run
            standing.supervision = supervision_of(job)
            self._run_at_best(standing, job, run)
        except (NodeError, UserError) as error:
            self._fail(standing, error)

    def _run_at_best(self, standing: Standing, job: Job, run: Run) -> None:
        """Score it once more at the threshold that is best on the true masks, for its interval: nothing but scores is made anew."""
        chooser = _chooser(self.course)
        if chooser is None or run.best_threshold is None:
            return
        number = list(standing.jobs).index(job.seed)
        again = job_of(
            standing.entrant, number, job.node.selection, self.course, {f"{chooser}.background": run.best_threshold}
        )
        self.perform(again)
        score = run_of(again, self.course).score
        if score is not None:
            standing.at_best[job.seed] = again, score

    def contenders(self) -> list[Contender]:
        """All of them with their figures, as they stand now."""
        return contenders_of(self.course, [*self.standings.values()])

    def _fail(self, standing: Standing, error: NodeError | UserError) -> None:
        if standing.name == BASELINE:
            raise UserError(
                f"{BASELINE}: {error.problem if isinstance(error, UserError) else first_line_of(error)}",
                error.remedy if isinstance(error, UserError) else "Mend it and type the same command again.",
            )
        standing.state, standing.problem = "failed", first_line_of(error)
        self.show(f"{standing.name} failed: {standing.problem}")

    def _drop(self) -> tuple[str, ...]:
        """Who is out after a round: certainly behind the leader; without true masks, the lower half."""
        there = [s for s in self._going() if s.state == "finished"]
        dropped: list[Standing] = []
        if all(standing.mean("score") is not None for standing in there):
            leader = max(there, key=lambda standing: standing.mean("score") or 0.0)
            for standing in there:
                gain = gain_over(self.course, leader, standing).get(self.course.key)
                if gain is not None and gain.verdict == WORSE:
                    dropped.append(standing)
        elif all(standing.mean("guess") is not None for standing in there):
            ranked = sorted(there, key=lambda standing: -(standing.mean("guess") or 0.0))
            dropped = ranked[(len(ranked) + 1) // 2 :]
        out = [standing for standing in dropped if standing is not self.baseline]
        for standing in out:
            standing.state = "dropped"
            standing.last = contender_of(self.course, self.baseline, standing)
            self.show(f"{standing.name} drops out")
        return tuple(standing.name for standing in out)


def _chooser(course: Course) -> str | None:
    """The section with the threshold at which the step is scored; None for a step without one."""
    maker = read_wiring().maker(course.step.meta.scores.thresholds) if course.step.meta.scores.thresholds else None
    return maker.name if maker else None


def plans_of(whole: Plan, choose: Callable[[int], Plan], *, halving: bool) -> list[Plan]:
    """The rounds.

    Args:
        whole: the last one.
        choose: gives one with so many photographs.
        halving: whether there are others before it.
    """
    if not halving:
        return [whole]
    images = whole.selection.images
    part = [Plan(choose(images // PART).selection, 1)] if images > SMALL else []
    return [*part, Plan(whole.selection, 1), *([whole] if whole.seeds > 1 else [])]
