"""How contenders stand during a tournament: their runs, their gains over the baseline, their costs, and how they rank."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from scipy.stats import kendalltau

from flows.tournaments.contenders import Entrant
from flows.tournaments.jobs import Course, Job, images_of
from labelfactory.level.paired import BETTER, UNTOLD, WORSE, Gain
from labelfactory.tournament import BASELINE, Contender, Guess, Run, ShownGain, State
from lineage.gains import joint_gains
from lineage.scores import IOU, SCORE

FEWEST_FOR_TAU = 3


@dataclass
class Standing:
    """One contender during the tournament.

    Attributes:
        entrant: the contender.
        jobs, runs: of its last round, by seed.
        at_best: the same jobs with the thresholds that are best on the true masks.
        state, problem: as in `Contender`.
        supervision: kinds of labels.
    """

    entrant: Entrant
    jobs: dict[int, Job] = field(default_factory=dict)
    runs: dict[int, Run] = field(default_factory=dict)
    at_best: dict[int, tuple[Job, float]] = field(default_factory=dict)
    state: State = "not finished"
    problem: str = ""
    supervision: tuple[str, ...] = ()
    last: Contender | None = None
    """As it stood when it dropped out."""

    @property
    def name(self) -> str:
        """Of the contender."""
        return self.entrant.name

    @property
    def goes_on(self) -> bool:
        """Whether it takes part in the next round."""
        return self.state not in ("dropped", "failed")

    def mean(self, what: str) -> float | None:
        """Of a figure of its runs; None where one has none."""
        values = [getattr(run, what) for run in self.runs.values()]
        return sum(values) / len(values) if values and None not in values else None


def gain_over(
    course: Course, first: Standing, second: Standing, *, seeds: Sequence[int] = (), best: bool = False
) -> dict[str, Gain]:
    """The gain of the second over the first by flat key, in the mean of the seeds that both have run."""
    common = [seed for seed in first.runs if seed in second.runs and (not seeds or seed in seeds)]
    if best:
        common = [seed for seed in common if seed in first.at_best and seed in second.at_best]
        jobs = [[s.at_best[seed][0] for s in (first, second)] for seed in common]
        values = [[s.at_best[seed][1] for s in (first, second)] for seed in common]
    else:
        jobs = [[s.jobs[seed] for s in (first, second)] for seed in common]
        scores = [[s.runs[seed].score for s in (first, second)] for seed in common]
        values = [[float("nan") if score is None else score for score in pair] for pair in scores]
    same = all(a.node.selection == b.node.selection for a, b in jobs)
    if not common or not same:
        return {}
    files = [[images_of(job) for job in pair] for pair in jobs]
    classes = next((file.evaluation.classes for pair in files for file in pair if file), ())
    return joint_gains(course.key, files, values, classes)


def contenders_of(course: Course, standings: Sequence[Standing]) -> list[Contender]:
    """All of them with their figures: the baseline, then by rank; who failed is last.

    Args:
        course: what their runs have in common.
        standings: the baseline first.
    """
    every = [contender_of(course, standings[0], standing) for standing in standings]
    others = [contender for contender in every if contender.name != BASELINE]
    order = {"finished": 0, "not finished": 1, "dropped": 2, "failed": 3}
    by_truth = any(contender.score is not None for contender in every)

    def rank(contender: Contender) -> tuple[int, float]:
        figure = contender.score if by_truth else contender.guess
        return order[contender.state], -(figure if figure is not None else -1.0)

    return [next(c for c in every if c.name == BASELINE), *sorted(others, key=rank)]


def contender_of(course: Course, baseline: Standing, standing: Standing) -> Contender:
    """One of them with its figures; of one that dropped out, as it stood then."""
    if standing.last is not None:
        return standing.last
    gains = gain_over(course, baseline, standing) if standing is not baseline else {}
    best = gain_over(course, baseline, standing, best=True) if standing is not baseline else {}
    prefix = f"{IOU}{course.key.removeprefix(SCORE)}/"
    runs = tuple(standing.runs.values())
    by_seed = {
        run.seed: shown(found[course.key])
        for run in runs
        if gains and (found := gain_over(course, baseline, standing, seeds=[run.seed]))
    }
    return Contender(
        name=standing.name,
        overlay=dict(standing.entrant.overlay),
        supervision=standing.supervision,
        state=standing.state,
        problem=standing.problem,
        runs=runs,
        score=standing.mean("score"),
        at_best=standing.mean("at_best"),
        guess=standing.mean("guess"),
        gain=shown(gains[course.key]) if gains else None,
        by_seed=by_seed,
        gain_at_best=shown(best[course.key]) if best else None,
        class_gains={k.removeprefix(prefix): shown(g) for k, g in gains.items() if k.startswith(prefix)},
        cost=_cost(baseline, standing),
    )


def _cost(baseline: Standing, standing: Standing) -> float | None:
    seconds = [
        (run.seconds, baseline.runs[seed].seconds) for seed, run in standing.runs.items() if seed in baseline.runs
    ]
    known = [(own, other) for own, other in seconds if own is not None and other]
    return round(sum(own for own, _ in known) / sum(other for _, other in known), 3) if known else None


def shown(gain: Gain) -> ShownGain:
    """A gain as the result has it."""
    low, high = (None if value != value else round(value, 6) for value in (gain.low, gain.high))
    verdict = gain.verdict if gain.verdict in (BETTER, WORSE) and low is not None else UNTOLD
    value = None if gain.value != gain.value else round(gain.value, 6)
    return ShownGain.model_validate({"value": value, "low": low, "high": high, "verdict": verdict})


def how_right(contenders: Iterable[Contender]) -> Guess | None:
    """How far the order by `guess` is that by `score`; None where one of the two is not known."""
    known = [
        c for c in contenders if c.state in ("finished", "dropped") and c.score is not None and c.guess is not None
    ]
    if len(known) < 2:
        return None
    scores, guesses = [c.score or 0.0 for c in known], [c.guess or 0.0 for c in known]
    chosen = known[guesses.index(max(guesses))]
    tau = float(kendalltau(guesses, scores).statistic) if len(known) >= FEWEST_FOR_TAU else None
    return Guess(
        tau=None if tau is None or tau != tau else round(tau, 3),
        chosen=chosen.name,
        behind=round(max(scores) - (chosen.score or 0.0), 6),
    )
