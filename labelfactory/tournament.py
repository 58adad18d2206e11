"""The result of a tournament of methods: data/tournament/results.json, which the command, the report, pages and MLflow show.

A contender is params.yaml with an overlay of other values. All run on the same photographs with the same seeds; the first one
is the baseline, params.yaml as it stands. Scores are fractions.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from labelfactory.files import make_folder, write_whole
from labelfactory.json_files import Sha256, read_json

TOURNAMENT = Path("data/tournament")
RESULTS = TOURNAMENT / "results.json"
REPORT = TOURNAMENT / "report.html"
BASELINE = "baseline"
AGAIN = "Type the same `labelfactory tournament …` again: what was made is kept."

State = Literal["finished", "dropped", "failed", "not finished"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShownGain(_Part):
    """A gain over the baseline with its interval of 95 %; None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    verdict: Literal["better", "worse", "cannot be told"] = "cannot be told"


class Run(_Part):
    """One contender with one seed on the photographs of the last round that it was in.

    Attributes:
        seed: of all networks.
        score: mIoU at the line's own thresholds; None without true masks.
        at_best: mIoU at the threshold that is best on the true masks, an oracle's; None for what has no threshold.
        threshold, best_threshold: of the two.
        iou: class → IoU at the line's own thresholds.
        guess: what the line itself knows of the result without true masks (`Results.guess`).
        seconds: of all stages behind it, those that it shares with others too; None where one was made before, at a pace that
            is not known.
        memory_mb: the largest of these stages.
        project: the folder in which `evaluate` ran, for its rows and pictures.
    """

    seed: int
    score: float | None = None
    at_best: float | None = None
    threshold: float | None = None
    best_threshold: float | None = None
    iou: dict[str, float] = {}
    guess: float | None = None
    seconds: float | None = None
    memory_mb: int | None = None
    project: str = ""


class Contender(_Part):
    """One method in the tournament.

    Attributes:
        name: of the baseline `BASELINE`.
        overlay: dotted name of a parameter → its value, where it differs from params.yaml; what --adopt lays over it.
        supervision: kinds of labels that touched its networks.
        state: `dropped`: certainly behind the leader after a round; `not finished`: the budget ended before.
        problem: why it failed.
        runs: by seed.
        score, at_best, guess: means over the seeds.
        gain: of `score` over the baseline, over all seeds; by_seed: for each seed alone.
        gain_at_best: of `at_best`.
        class_gains: class → gain in IoU, over all seeds.
        cost: its seconds over the baseline's, from stages that this tournament ran itself; None where it ran none.
    """

    name: str
    overlay: dict[str, Any] = {}
    supervision: tuple[str, ...] = ()
    state: State = "not finished"
    problem: str = ""
    runs: tuple[Run, ...] = ()
    score: float | None = None
    at_best: float | None = None
    guess: float | None = None
    gain: ShownGain | None = None
    by_seed: dict[int, ShownGain] = {}
    gain_at_best: ShownGain | None = None
    class_gains: dict[str, ShownGain] = {}
    cost: float | None = None


class Round(_Part):
    """One round: so many images and seeds, who entered it and who dropped out after it."""

    images: int
    seeds: int
    entered: tuple[str, ...]
    dropped: tuple[str, ...] = ()


class Guess(_Part):
    """How far the ranking without true masks was right, where true masks could be held against it.

    Attributes:
        tau: Kendall's, of `guess` and `score` over the contenders on the photographs of the last round; None for fewer than three.
        chosen: whom it would have chosen.
        behind: how far that one's score is behind the best.
    """

    tau: float | None
    chosen: str
    behind: float


class Results(_Part):
    """The result of a tournament.

    Attributes:
        title: who takes part, such as `objectives`.
        command: what runs it again, with its options; empty where it is not known.
        until: the last step, as `evaluate` calls it: seeds, walks, masks or model.
        split: the list on which the score was measured.
        images: photographs on it that have a score.
        seeds: of the runs.
        classes: names, the background first.
        with_truth: whether true masks were there; else contenders are ranked by `guess`.
        partly: true masks for a part of the photographs only: how many have none.
        guess: what ranks without true masks, in words: `colours that the seeds explain`,
            `quality of the masks`; empty where nothing is known.
        guess_was_right: the ranking by it against that by truth; None without truth.
        contenders: the baseline first, then in the order of rank.
        rounds: in order; one without a budget.
        commit, dirty, machine, time: of the run.
        settings: digest of everything that the contenders share.
        given: digest of params.yaml, import and corrections (`labelfactory.stage.given`); empty where it is not known.
    """

    format: Literal[1] = 1
    title: str
    command: str = ""
    until: str
    split: str
    images: int
    seeds: tuple[int, ...]
    classes: tuple[str, ...]
    with_truth: bool
    partly: int = 0
    guess: str = ""
    guess_was_right: Guess | None = None
    contenders: tuple[Contender, ...]
    rounds: tuple[Round, ...]
    commit: str
    dirty: bool
    machine: str
    time: str
    settings: Sha256
    given: str = ""

    @property
    def winner(self) -> Contender | None:
        """Whom to use: the best of those that are certainly better than the baseline; None where there is none."""
        better = [c for c in self.contenders if c.state == "finished" and c.gain and c.gain.verdict == "better"]
        return max(better, key=lambda contender: contender.score or 0.0, default=None)


def read_results(path: Path = RESULTS) -> Results:
    """The last tournament.

    Raises:
        DataError: there is none, or the file is damaged.
    """
    results: Results = read_json(path, Results, AGAIN)
    return results


def write_results(results: Results, path: Path = RESULTS) -> None:
    """Write it, whole or not at all."""
    make_folder(path.parent)
    with write_whole(path) as temporary:
        temporary.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
