"""The runs of a tournament: a contender with one seed on the photographs of a round, as nodes, and what came of it."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from flows.tournaments.contenders import Entrant
from flows.tournaments.nodes import Inputs, Node, inputs_now, nodes_of, stages_of
from flows.tournaments.selection import Selection
from labelfactory.errors import DataError, ParamsError, UserError, did_you_mean
from labelfactory.json_files import read_json
from labelfactory.learning.checkpoints import CHECKPOINT, read_passport
from labelfactory.rows.scored import SCORED_IMAGES
from labelfactory.settings.params import check_sections
from labelfactory.settings.thresholds import EVIDENCE
from labelfactory.settings.wiring import DATA, METRICS, REPORTS, StageWiring, read_wiring
from labelfactory.stage.preflight import check_line
from labelfactory.stage.runner import stage_class
from labelfactory.tournament import AGAIN, Run
from lineage.evaluation import AT_BEST
from lineage.gains import ScoredImages, scored_images_in
from lineage.scores import IOU, SCORE

SEEDS_GUESS, MASKS_GUESS = "colours that the seeds explain", "quality of the masks"


@dataclass(frozen=True)
class Course:
    """What all runs of a tournament have in common.

    Attributes:
        until: the last step, as metrics call it.
        stages: that bring it about.
        split: the list that goes through the line.
        scored: the list on which the score is measured.
        val_list: on which networks are scored.
        guess: what ranks without true masks.
        inputs: what all runs have in common beside photographs.
        seed: the smallest in params.yaml; it and those that follow name the runs of all contenders.
    """

    until: str
    stages: tuple[str, ...]
    split: str
    scored: str
    val_list: str
    guess: str
    inputs: Inputs
    seed: int

    @property
    def step(self) -> StageWiring:
        """The stage whose output is scored."""
        return next(stage for stage in read_wiring().scored if stage.meta.scores.name == self.until)

    @property
    def key(self) -> str:
        """Of the score in metrics."""
        return f"{SCORE}{self.scored}/{self.until}"


@dataclass(frozen=True)
class Job:
    """One run: a contender, a seed, and the node that scores it."""

    entrant: Entrant
    seed: int
    node: Node


def course_of(entrants: Sequence[Entrant], until: str, split: str, *, with_truth: bool) -> Course:
    """What the runs have in common.

    Args:
        entrants: the baseline first.
        until: a score's name; empty for the first one that a contender changes.
        split: a list; empty for the training list of params.yaml.
        with_truth: whether the photographs of that list have true masks.

    Raises:
        ParamsError: there is no such score.
    """
    wiring, prepare = read_wiring(), entrants[0].values["prepare"]
    steps = {s.meta.scores.name: s for s in wiring.scored if not s.meta.scores.reference}
    if until and until not in steps:
        raise ParamsError(f"--until {until}: unknown{did_you_mean(until, steps)}", f"Name one of {', '.join(steps)}.")
    split = split or prepare["train_list"]
    if not until:
        changed = {name.split(".")[0] for entrant in entrants for name in entrant.overlay}
        until = next((n for n, s in steps.items() if changed <= {s.name, *_behind(s.name)}), list(steps)[-1])
    is_model = steps[until].meta.kind == "network"
    stages = stages_of(until)
    guess = MASKS_GUESS if is_model else ""
    if steps[until].noun == wiring.scored[0].noun:
        guess = SEEDS_GUESS
    elif not is_model and not with_truth:  # quality needs the opinion of a model
        result = next(name for name, stage in steps.items() if stage.meta.kind == "network" and stage.meta.result)
        stages, guess = stages_of(result), MASKS_GUESS
    scored = prepare["val_list"] if is_model else split
    sections = [s for s in entrants[0].values.values() if isinstance(s, dict)]
    seed = min((section["seed"] for section in sections if "seed" in section), default=0)
    return Course(until, stages, split, scored, prepare["val_list"], guess, inputs_now(stages), seed)


def _behind(name: str) -> set[str]:
    """The stages that a score of this stage follows from: those above it, and the one that chooses its threshold."""
    wiring = read_wiring()
    thresholds = wiring.maker(wiring[name].meta.scores.thresholds) if wiring[name].meta.scores.thresholds else None
    return {*wiring.upstream(name), *([thresholds.name] if thresholds else [])}


def job_of(
    entrant: Entrant, number: int, selection: Selection, course: Course, changes: Mapping[str, Any] | None = None
) -> Job:
    """One run.

    Args:
        entrant: the contender.
        number: of the seed; 0 is that of params.yaml, 1 the next.
        selection: the photographs.
        course: what the runs have in common.
        changes: dotted names and values over its own, as of a threshold.

    Raises:
        UserError: params.yaml with the overlay cannot run here.
    """
    values = deepcopy(dict(entrant.values))
    for section in values.values():
        if isinstance(section, dict) and "seed" in section:
            section["seed"] += number
    values["prepare"]["train_list"] = course.split
    values["evaluate"] |= {"lists": [course.scored], "gallery": 0}
    for name, section in values.items():
        stage = read_wiring().get(name)
        if isinstance(section, dict) and "lists" in section and name != "evaluate":
            section["lists"] = []
        if stage and stage.meta.scores.reference and "enabled" in section:
            section["enabled"] = False
    for dotted, value in (changes or {}).items():
        section, _, key = dotted.partition(".")
        values[section] = {**values[section], key: value}
    kinds = {stage: stage_class(stage).section for stage in read_wiring()}
    sections = check_sections(values, kinds, f"params.yaml with {entrant.name}")
    check_line(sections)
    own = replace(entrant, values=values, sections=sections)
    return Job(own, course.seed + number, nodes_of(own, selection, course.stages, course.inputs))


def run_of(job: Job, course: Course) -> Run:
    """What came of a run that is done.

    Raises:
        DataError: its files are damaged.
    """
    folder = job.node.folder
    remedy = f"Delete {folder}. {AGAIN}"
    metrics = read_json(folder / METRICS, dict[str, Any], remedy)
    own = f"{IOU}{course.scored}/{course.until}/"
    costs = [node.done() for node in job.node.chain[:-1]]
    seconds = [cost.seconds for cost in costs]
    memory = [cost.memory_mb for cost in costs if cost.memory_mb]
    return Run(
        seed=job.seed,
        score=_figure(metrics, course.key),
        at_best=_figure(metrics, f"{course.key}{AT_BEST}"),
        threshold=_figure(metrics, f"threshold/{course.until}"),
        best_threshold=_figure(metrics, f"threshold/{course.scored}/{course.until}_best"),
        iou={key.removeprefix(own): value for key, value in metrics.items() if key.startswith(own)},
        guess=_guess(job.node, course.guess),
        seconds=None if None in seconds else round(sum(s for s in seconds if s is not None), 1),
        memory_mb=max(memory, default=None),
        project=str(folder),
    )


def _figure(metrics: Mapping[str, Any], key: str) -> float | None:
    value = metrics.get(key)
    return float(value) if isinstance(value, int | float) and isfinite(value) else None


def _guess(node: Node, what: str) -> float | None:
    """What the line itself knows of a run without true masks; None where it knows nothing."""
    wiring = read_wiring()
    folders = {wiring[each.stage].noun: each.folder for each in node.chain}
    if what == SEEDS_GUESS:
        noun = wiring.scored[0].meta.scores.thresholds
        curve = folders[noun] / DATA / noun / EVIDENCE if noun in folders else Path()
        try:
            return float(pd.read_csv(curve)["explained"].max()) if curve.is_file() else None
        except (ValueError, KeyError, OSError):
            return None
    rating = wiring.rating(wiring.masks.noun)
    if what == MASKS_GUESS and rating is not None and rating.noun in folders:
        report = folders[rating.noun] / REPORTS / f"{rating.name}.json"
        quality = json.loads(report.read_text(encoding="utf-8")).get("quality") if report.is_file() else None
        return float(quality) if isinstance(quality, int | float) else None
    return None


def images_of(job: Job) -> ScoredImages | None:
    """What `evaluate` kept of each image of a run; None where that is gone."""
    return scored_images_in(job.node.folder / SCORED_IMAGES)


def supervision_of(job: Job) -> tuple[str, ...]:
    """Kinds of labels that touched its networks, as their passports say."""
    wiring, kinds = read_wiring(), set[str]()
    for node in job.node.chain:
        checkpoint = node.folder / DATA / wiring[node.stage].noun / CHECKPOINT
        try:
            kinds |= set(read_passport(checkpoint).supervision) if checkpoint.exists() else set()
        except UserError as error:
            raise DataError(error.problem, f"Delete {node.folder}. {AGAIN}") from None
    return tuple(sorted(kinds))
