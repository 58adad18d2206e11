"""What a run will cost, said beforehand: rows by what changed, seconds by each stage's own pace."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from brightness import Brightness, BrightnessConfig, Outline, update
from conftest import IMAGES_PER_SHARD, Workspace

from flows.line import cost
from flows.line.cost import costs
from flows.line.planned import in_words
from flows.line.stage_states import StageState
from labelfactory.dataset.manifest import Entry, Manifest, write_manifest
from labelfactory.dataset.prepared import Chosen
from labelfactory.digests import digest_rows
from labelfactory.errors import DataError
from labelfactory.files import write_json
from labelfactory.rows.reader import RowReader
from labelfactory.schema import Classes
from labelfactory.settings.params import Section
from labelfactory.settings.wiring import REPORTS
from labelfactory.stage import runner
from labelfactory.stage.base import Stage
from labelfactory.stage.training import TrainingStage
from labelfactory.store.limit import VARIABLE
from labelfactory.store.outputs import keep_output
from stages.prepare import Prepare, PrepareConfig

PREPARE = PrepareConfig(
    train_list="train", val_list="train", max_bad_fraction=0, shard_size=IMAGES_PER_SHARD, compression="zstd"
)

REPORT = {"seconds": 20.0, "peak_memory_mb": 1}
"""What every report has."""


@pytest.fixture
def project(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> dict[str, Section]:
    """Two stages of rows that have run over a … e. Gives the sections, which a test may change."""
    workspace.wire("prepare", "brightness", "outline", "train_teacher")
    sections: dict[str, Section] = {"prepare": PREPARE, "brightness": BrightnessConfig(), "outline": Section()}
    kinds = {"prepare": Prepare, "brightness": Brightness, "outline": Outline}
    monkeypatch.setattr(runner, "stage_class", kinds.__getitem__)
    monkeypatch.setattr(cost, "read_sections", lambda: sections)
    monkeypatch.setattr(Brightness, "reads", ("dataset",))
    write_import(workspace.records)
    for kind in (Brightness, Outline):
        monkeypatch.setattr(kind, "failing", {})
        update(kind)
    write_json(REPORTS / "brightness.json", REPORT | {"pace": {"units": 10, "seconds": 20.0}})
    return sections


def write_import(records: list, *classes: str) -> None:
    entries = [
        Entry(r.image_id, r.path, r.sha256, r.lists, r.tags, mask_path=r.mask_path, position=r.position)
        for r in records
    ]
    write_manifest(Manifest(Classes(classes or ("cat", "dog")), {0: 0, 1: 1, 2: 2}, "test", tuple(entries)))


def rows(*stale: str) -> list[int]:
    """Rows of the two stages, with these stages stale."""
    states = [StageState(n, "stale" if n in stale else "up to date", ()) for n in ("prepare", "brightness", "outline")]
    return [found.rows for found in costs(states)[1:]]


def test_nothing_costs_nothing(project):
    """Also where DVC only asks because a file's time or a comment elsewhere changed: then no stage of rows runs."""
    assert rows() == [0, 0]
    assert rows("prepare", "brightness", "outline") == [0, 0]
    Path("code/science.py").write_text("# a comment\nanswer = 42\n")
    states = [StageState(name, "stale", ("code: modified",)) for name in ("prepare", "brightness", "outline")]
    assert [(found.runs, found.rows) for found in costs(states)[1:]] == [(False, 0), (False, 0)]
    Path("code/science.py").write_text("answer = 43\n")
    assert [(found.runs, found.rows) for found in costs(states)[1:]] == [(True, 5), (True, 5)]


def test_a_shard_that_only_has_to_be_written_is_work(project, workspace):
    """With another compression rows are copied, none is computed."""
    workspace.compression = "gzip"
    workspace.save()
    states = [StageState("prepare", "up to date", ()), *(StageState(n, "stale", ()) for n in ("brightness", "outline"))]
    assert [(found.runs, found.rows) for found in costs(states)[1:]] == [(True, 0), (True, 0)]


@pytest.mark.parametrize(
    ("code", "reason", "below"),
    [
        ("# a comment\nanswer = 42\n", "code: modified", 0),
        ("answer = 43\n", "code: modified", 5),
        ("answer = 42\n", "data/brightness: modified", 5),
        ("answer = 42\n", "params.yaml chooser.least: 1 → 2", 5),
    ],
)
def test_a_threshold_that_is_chosen_again_by_the_same_code_moves_no_row(
    project, workspace, monkeypatch, code, reason, below
):
    """A stage without keys runs whenever DVC asks; with the same code and data it ends in the same numbers."""

    class Chooser(Stage[Section]):
        reads = ("brightness",)
        writes = "threshold"

        @classmethod
        def stage_name(cls) -> str:
            return "chooser"

    workspace.wire("prepare", "brightness", "chooser", "outline")
    kinds = {"prepare": Prepare, "brightness": Brightness, "chooser": Chooser, "outline": Outline}
    monkeypatch.setattr(runner, "stage_class", kinds.__getitem__)
    monkeypatch.setattr(Outline, "reads", ("dataset", "brightness", "threshold"))
    project["chooser"] = Section()
    write_json(REPORTS / "chooser.json", REPORT | {"code": Chooser(Section()).code_digest})
    Path("code/science.py").write_text(code)
    states = [StageState(n, "up to date", ()) for n in ("prepare", "brightness")]
    states += [StageState("chooser", "stale", (reason,)), StageState("outline", "up to date", ())]
    found = {c.stage: c for c in costs(states)}
    assert (found["chooser"].runs, found["outline"].rows) == (True, below)


def test_other_tags_of_one_image_are_one_row_a_stage(project, workspace):
    """Before `prepare` has seen them."""
    write_import([replace(r, tags=("cat", "dog")) if r.image_id == "b" else r for r in workspace.records])
    assert rows("prepare") == [1, 1]


def test_a_new_image_is_one_row_and_a_removed_one_is_none(project, workspace):
    """What is taken away is said, not computed."""
    write_import([*workspace.records, replace(workspace.records[0], image_id="f", position=5)])
    assert rows("prepare") == [1, 1]
    write_import(workspace.records[1:])
    states = [StageState("prepare", "stale", ()), *(StageState(n, "up to date", ()) for n in ("brightness", "outline"))]
    assert [(c.rows, c.removed) for c in costs(states)[1:]] == [(0, 1), (0, 1)]


@pytest.mark.parametrize("chosen", [Chosen(lists=("val",), scored=()), Chosen(lists=(), scored=("val",))])
def test_a_stage_that_chooses_its_photographs_costs_those(project, workspace, monkeypatch, chosen):
    """Those of its lists, or with a true mask there, are rows of it; photographs of the training list are not."""
    monkeypatch.setattr(Brightness, "chosen", chosen)
    entries = {"f": (("val",), "f.png"), "g": (("val",), None), "h": (("train",), "h.png")}
    new = [
        replace(workspace.records[0], image_id=image_id, position=5 + k, lists=lists, mask_path=mask)
        for k, (image_id, (lists, mask)) in enumerate(entries.items())
    ]
    write_import([*workspace.records, *new])
    assert rows("prepare")[0] == (2 if chosen.lists else 1)


def test_another_parameter_is_every_row_of_its_stage_and_at_most_all_below(project):
    """Whether the wave stops is known only afterwards."""
    project["brightness"] = BrightnessConfig(factor=2)
    assert rows("brightness") == [5, 5]


def test_earlier_settings_cost_nothing_also_below(project, workspace, monkeypatch, tmp_path):
    """Rows of two stages and the network below them are in the store; a new photograph beside them is one row each."""

    class Learner(TrainingStage):
        reads = ("outline",)
        writes = "teacher"

        @classmethod
        def stage_name(cls) -> str:
            return "train_teacher"

        def _key(self, rows: Mapping[str, str], parents: Any) -> str:
            return digest_rows(rows.items())

        def training_rows(self) -> dict[str, str]:
            return {i: state.digest for i, state in RowReader(self.folder("outline")).states.items()}

    kinds = {"prepare": Prepare, "brightness": Brightness, "outline": Outline, "train_teacher": Learner}
    monkeypatch.setattr(runner, "stage_class", kinds.__getitem__)
    monkeypatch.setenv(VARIABLE, "1")
    project["train_teacher"] = Section()
    (tmp_path / "weights").write_bytes(b"w")

    def learnt(cfg: BrightnessConfig) -> None:
        update(cfg=cfg)
        update(Outline)
        learner = Learner(Section())
        keep_output("teacher", learner._key(learner.training_rows(), {}), [tmp_path / "weights"])

    learnt(BrightnessConfig())
    learnt(BrightnessConfig(factor=9))
    names = ("prepare", "brightness", "outline", "train_teacher")
    states = [StageState(n, "stale" if n == "brightness" else "up to date", ()) for n in names]
    found = costs(states)
    assert [(c.runs, c.rows, c.found) for c in found[1:]] == [(True, 0, 5), (True, 0, 5), (True, 0, 1)]
    assert "at most 0 rows, 0 stages that learn; about 0.0 minutes; found again: 10 rows" in in_words(found)
    assert "1 networks or thresholds" in in_words(found)

    write_import([*workspace.records, replace(workspace.records[0], image_id="f", position=5)])
    found = costs([StageState("prepare", "stale", ()), *states[1:]])
    assert [(c.runs, c.rows, c.found) for c in found[1:]] == [(True, 1, 5), (True, 1, 5), (True, 0, 0)]
    assert "1 stage that learns" in in_words(found)

    project["brightness"] = BrightnessConfig(factor=5)
    assert [(c.rows, c.found) for c in costs(states)[1:]] == [(5, 0), (5, 0), (0, 0)]


def test_other_classes_are_every_row(project, workspace, monkeypatch):
    """By the import; and once `prepare` has run, as long as a network that was trained for the earlier ones is refused."""
    write_import(workspace.records, "dog", "cat")
    assert rows("prepare") == [5, 5]
    write_import(workspace.records)

    def refused(stage: object) -> dict[str, str]:
        raise DataError("trained for other classes")

    monkeypatch.setattr(Brightness, "fixed", refused)
    assert rows("brightness") == [5, 5]


def test_another_shard_size_is_every_row(project):
    """Every image moves."""
    project["prepare"] = PREPARE.model_copy(update={"shard_size": 3})
    assert rows("prepare") == [5, 5]


def test_seconds_follow_the_pace_and_what_has_none_is_said(project):
    """Two seconds a row of the first stage; the second has never said how long it takes."""
    project["brightness"] = BrightnessConfig(factor=2)
    states = [StageState("prepare", "up to date", ()), *(StageState(n, "stale", ()) for n in ("brightness", "outline"))]
    found = costs(states)
    assert [c.seconds for c in found] == [0.0, 10.0, None]
    assert in_words(found) == "at most 10 rows, 0 stages that learn; about 0.2 minutes and 1 stage that has no pace yet"


@pytest.mark.parametrize("enabled", [True, False])
def test_a_stage_that_is_off_learns_nothing(project, monkeypatch, enabled):
    """Also where what it would learn from changes; one that is on learns, and has never said how long it takes."""

    class Learner(TrainingStage):
        reads = ("outline",)
        writes = "teacher"

    monkeypatch.setattr(Learner, "enabled", enabled)
    kinds = {"prepare": Prepare, "brightness": Brightness, "outline": Outline, "train_teacher": Learner}
    monkeypatch.setattr(runner, "stage_class", kinds.__getitem__)
    monkeypatch.setattr(Learner, "is_current", lambda self: True)
    project["brightness"] = BrightnessConfig(factor=2)
    project["train_teacher"] = Section()
    names = {"brightness": "stale", "prepare": "up to date", "outline": "up to date", "train_teacher": "up to date"}
    found = costs([StageState(name, names[name], ()) for name in ("prepare", "brightness", "outline", "train_teacher")])
    assert (found[-1].runs, found[-1].seconds) == (enabled, None if enabled else 0.0)
    assert f"{int(enabled)} stage{' that learns' if enabled else 's that learn'};" in in_words(found)
