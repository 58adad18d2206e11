"""The cost of bringing the line up to date: rows and networks per stage, and minutes.

An upper bound, from the keys on disk and from changes in the import. DVC asks a stage whenever a file of code has other bytes;
where its keys are as they were, it costs nothing. What was made before and is in the store costs nothing either, and the keys below
it follow from it (`flows.line.foreseen`). A row that depends on one that will be computed counts too, and so does every row
below a network that will learn: it may end in the same values, which is not known yet. Minutes follow from the pace of each
stage's last large run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flows.line.foreseen import Foreseen
from flows.line.planned import Cost, StageState
from labelfactory.dataset.manifest import read_manifest
from labelfactory.dataset.prepared import Chosen, ShardedDataset
from labelfactory.errors import UserError
from labelfactory.rows.shards import ShardFolder
from labelfactory.settings.reports import read_report
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.base import Stage
from labelfactory.stage.calibration import CalibrationStage
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import build_stage, read_sections
from labelfactory.stage.training import TrainingStage


@dataclass
class _Import:
    """What changed in the import since `prepare` last ran."""

    total: int
    """Photographs there will be; 0 where nothing changed."""
    changed: frozenset[str]
    """Photographs that are new, or have other bytes or tags."""
    removed: frozenset[str]


_UNCHANGED = _Import(0, frozenset(), frozenset())


def costs(states: Sequence[StageState], *, retrain: bool = True) -> list[Cost]:
    """The cost of `labelfactory run`, stage by stage.

    Args:
        states: what DVC says of the stages (`line_status`).
        retrain: whether the stages that learn may run.
    """
    with TemporaryDirectory() as folder:
        return _costs(states, Foreseen(Path(folder)), retrain=retrain)


def _costs(states: Sequence[StageState], foreseen: Foreseen, *, retrain: bool) -> list[Cost]:
    sections: Any = read_sections()
    wiring = read_wiring()
    prepare = wiring.of_kind("prepare")[0]
    prepared = next(state for state in states if state.name == prepare.name)
    current = prepared.state == "up to date"
    changes = _UNCHANGED if current else _import_changes(sections[prepare.name])
    moved: dict[str, bool] = {}  # noun → whether it will change, to what is not known
    waiting: dict[str, set[str]] = {}  # noun of rows → images whose row will be computed
    planned = []
    for state in states:
        stage: Stage[Any] = build_stage(state.name, sections)
        stage.elsewhere = dict(foreseen.folders)
        touched = any(moved.get(noun) for noun in stage.reads)
        follows = touched or not foreseen.folders.keys().isdisjoint(stage.reads)
        before = None
        if (state.state == "up to date" and not follows) or (not retrain and state.name in wiring.learning):
            cost = Cost(state.name, runs=False)
        elif not stage.enabled:
            cost = Cost(state.name, runs=_is_left(stage))  # it removes what it made before it was switched off
        elif isinstance(stage, PerImageStage):
            own = changes
            if stage.chosen is not None and not current:
                own = _import_changes(sections[prepare.name], stage.chosen)
            rows = _rows(stage, prepare.noun, own, moved, waiting, foreseen)
            waiting[stage.writes], count = rows.pending, len(rows.pending)
            writes = rows.writes or bool(count or own.removed)
            seconds = _seconds(state.name, count) if count else 0.0
            cost = Cost(state.name, writes, count, len(own.removed), seconds, rows.found)
        elif isinstance(stage, TrainingStage):
            learns = touched or not _is_current(stage)
            before = _made_before(stage) if learns and not touched else None
            cost = Cost(state.name, learns, seconds=_seconds(state.name, changes.total) if learns else 0.0)
        else:
            before = _made_before(stage) if isinstance(stage, CalibrationStage) and not touched else None
            units = len(changes.changed) if state.name == prepare.name else 1
            cost = Cost(state.name, True, seconds=_seconds(state.name, units) if units else 0.0)
        rewrites = isinstance(stage, PerImageStage) and stage.enabled and not (cost.rows or cost.removed)
        moved[stage.writes] = cost.runs and not rewrites  # a shard that is only written again has the same rows
        if state.name == prepare.name:
            other_params = any("params.yaml" in reason for reason in state.reasons)
            moved[stage.writes] = bool(changes.changed or changes.removed or other_params)
            if not moved[stage.writes] and _makes_the_same(state, stage):
                cost = Cost(state.name, runs=False)
        elif before is not None:
            moved[stage.writes] = False
            foreseen.folders[stage.writes] = before
            cost = Cost(state.name, True, found=1)
        elif not follows and _makes_the_same(state, stage):  # a threshold that is chosen again is the same one
            moved[stage.writes] = False
        planned.append(cost)
    return planned


def _makes_the_same(state: StageState, stage: Stage[Any]) -> bool:
    """Whether DVC asks a stage without keys of its own only for bytes of code that computes what it did last time."""
    if isinstance(stage, (PerImageStage, TrainingStage)) or not state.reasons:
        return False
    code = {path.as_posix() for path in stage.wiring.code}
    if not all(reason.rsplit(": ", 1)[0] in code for reason in state.reasons):
        return False
    try:
        return bool(read_report(state.name).get("code") == stage.code_digest)
    except UserError:
        return False


def _import_changes(wanted: Any, chosen: Chosen | None = None) -> _Import:
    """The manifest against the prepared data set: training images, or those that are chosen. `wanted`: section `prepare`."""
    chosen_now = chosen or Chosen(lists=(wanted.train_list,), scored=())
    manifest = read_manifest()
    entries = (e for e in manifest.entries if chosen_now.has(e.lists, e.mask_path))
    new = {e.image_id: (e.sha256, e.tags) for e in entries}
    try:
        dataset = ShardedDataset(chosen=chosen)
    except UserError:
        return _Import(len(new), frozenset(new), frozenset())
    old = {r.image_id: (r.sha256, r.tags) for shard in dataset.counts for r in dataset.records(shard)}
    if dataset.shard_size != wanted.shard_size or dataset.classes != manifest.classes:  # every row is another one
        return _Import(len(new), frozenset(new), frozenset())
    bad = dataset.bad_ids()
    changed = frozenset(i for i, what in new.items() if old.get(i) != what and i not in bad)
    return _Import(len(new.keys() - bad), changed, frozenset(old.keys() - new.keys()))


@dataclass
class _Rows:
    """What a stage of rows does.

    Attributes:
        pending: images whose row is computed: no row of its key on disk or in the store, new or changed images, rows above
            that will be computed.
        found: number of rows that the store has.
        writes: whether a shard is written, be it only that a row goes or moves.
    """

    pending: set[str]
    found: int
    writes: bool


def _rows(
    stage: PerImageStage[Any],
    dataset: str,
    changes: _Import,
    moved: Mapping[str, bool],
    waiting: Mapping[str, set[str]],
    foreseen: Foreseen,
) -> _Rows:
    learnt = [noun for noun in stage.reads if noun not in (dataset, *stage.reads_rows) and moved.get(noun)]
    pending: set[str] = set()
    found: set[str] = set()
    known: set[str] = set()
    writes = False
    try:
        known = {r.image_id for shard in stage.sharded.counts for r in stage.sharded.records(shard)}
        for plan in foreseen.add_rows(stage, stage.plan(tolerant=True)):
            pending.update(r.image_id for r in plan.pending)
            found.update(r.image_id for r in plan.kept)
            writes |= plan.changed
    except UserError:  # a network or threshold that it reads is not there yet, or of other classes
        pending, writes = set(changes.changed), True
        learnt = ["nothing is there yet"]
    if learnt:
        pending = known
    own = known | changes.changed  # a stage above may make rows of other images too
    pending = pending.union(changes.changed, *(waiting.get(noun, set()) & own for noun in stage.reads_rows))
    pending -= changes.removed
    return _Rows(pending, len(found - pending), writes)


def _is_left(stage: Stage[Any]) -> bool:
    """Whether there is still a result of a stage that is off."""
    return stage.has_checkpoint(stage.writes) or bool(ShardFolder(stage.output).shards())


def _is_current(stage: TrainingStage[Any]) -> bool:
    try:
        return stage.is_current()
    except UserError:
        return False


def _made_before(stage: TrainingStage[Any] | CalibrationStage[Any]) -> Path | None:
    """Where the store has what the stage would make."""
    try:
        return stage.made_before()
    except UserError:
        return None


def _seconds(stage: str, units: int) -> float | None:
    """At the stage's own pace; as long as last time where `units` is 0."""
    pace = read_report(stage).get("pace")
    return (units or pace["units"]) * pace["seconds"] / pace["units"] if pace else None
