"""Networks that were trained before: found again, kept in the store or not, measured again; which photographs they saw."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import Workspace
from small_trainer import CHECKPOINT, Trainer, outputs, parent, run, trainer_project
from small_training import config

from labelfactory.dataset.withdrawn import Withdrawn
from labelfactory.errors import SupervisionError
from labelfactory.learning.checkpoints import change_passport, load_checkpoint, read_passport
from labelfactory.learning.training_rows import photographs_of, seen_by
from labelfactory.stage.output_state import with_present_scores
from labelfactory.stage.training import TrainingStage
from labelfactory.store import refused
from labelfactory.store.entries import entries, trim
from labelfactory.store.limit import VARIABLE
from reporting.phrases import what_it_made


@pytest.fixture
def project(workspace, monkeypatch) -> Workspace:
    return trainer_project(workspace, monkeypatch)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("name", ["training_rows.parquet", "curve.csv"])
def test_a_network_beside_the_files_of_another_is_not_up_to_date(project, monkeypatch, capsys, name, kept):
    """A training that dies between them and its checkpoint, and inputs that are put back: the whole network comes back."""
    monkeypatch.setenv(VARIABLE, "1" if kept else "0")
    run()
    files = sorted(CHECKPOINT.parent.iterdir())
    before = {file: file.read_bytes() for file in files}
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "rows", {"c": "3"})
        run(epochs=2)
    torn = (CHECKPOINT.parent / name).read_bytes()
    for file, data in before.items():
        file.write_bytes(torn if file.name == name else data)
    assert not Trainer(config()).is_current()
    assert run()["trained"] is not kept
    same = [file for file in files if file.read_bytes() == before[file]]
    assert len(same) >= (3 if kept else 2)
    assert Trainer(config()).is_current()


def test_a_network_that_was_trained_before_is_found_again(project, monkeypatch, capsys):
    """Back and forth between two settings: every file is as it was, and nothing is trained."""
    monkeypatch.setenv(VARIABLE, "1")
    first, before = run(), outputs()
    assert run(seed=6)["trained"]
    there = outputs()
    monkeypatch.setattr(Trainer, "calls_left", 0)
    for seed, wanted in ((5, before), (6, there), (5, before)):
        stage = Trainer(config(seed=seed))
        assert (stage.is_current(), stage.made_before() is not None) == (False, True)
        assert stage.units(run(seed=seed)) == 0
        assert outputs() == wanted
    assert run(seed=6) | {"found": True} == {**first, **run(seed=6), "found": True}
    assert "trainer: the network was trained before, and found again in data/store" in capsys.readouterr().err
    monkeypatch.setenv(VARIABLE, "0")
    assert Trainer(config()).made_before() is None


def test_a_network_from_elsewhere_is_kept_when_another_replaces_it(project, monkeypatch):
    """One that DVC or `pull` brought; not one whose files belong to two trainings, or that saw a withdrawn image."""
    run()
    before = outputs()
    monkeypatch.setenv(VARIABLE, "1")
    run(seed=6)
    assert not run()["trained"]
    assert outputs() == before
    for spoil in (Trainer.rows | {"c": "3"}, Trainer.rows):
        trim(0)
        monkeypatch.setenv(VARIABLE, "0")
        run()
        monkeypatch.setenv(VARIABLE, "1")
        if spoil is Trainer.rows:
            monkeypatch.setattr(refused, "refused", lambda: Withdrawn(image_ids=frozenset("b")))
        else:
            Trainer(config())._write_rows(spoil, ())
        run(seed=6)
        assert [read_passport(e.path / CHECKPOINT.name).seed for e in entries("model")] == (
            [] if spoil is Trainer.rows else [6]
        )


# --- photographs that it was trained on -------------------------------------------------------------------------------


def behind(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network of a and b in the place of a parent, and a line in which only a is learnt from."""
    run()
    shutil.copytree(CHECKPOINT.parent, CHECKPOINT.parent.with_name("classifier"))
    monkeypatch.setattr(Trainer, "line", {"classifier": parent(read_passport(CHECKPOINT).weights_digest)})
    monkeypatch.setattr(Trainer, "rows", {"a": "1"})
    shutil.rmtree(CHECKPOINT.parent)
    CHECKPOINT.parent.mkdir()


def test_a_network_names_the_photographs_of_those_behind_it(project, monkeypatch):
    """Its own in the rows, the others in the metadata; not known where the parent does not tell."""
    of = {record.image_id: (record.image_id, record.sha256) for record in project.records}
    behind(project, monkeypatch)
    run()
    assert seen_by(CHECKPOINT.parent) == {of["a"], of["b"]}
    assert photographs_of(CHECKPOINT.parent) == dict([of["a"]])
    rows = Path("data/classifier/training_rows.parquet")
    told = rows.read_bytes()
    pq.write_table(pq.read_table(rows).drop_columns("photograph").replace_schema_metadata(None), rows)
    run(seed=6)
    assert seen_by(CHECKPOINT.parent) is None
    rows.write_bytes(told)
    assert not run(seed=6)["trained"]  # it is known now
    assert seen_by(CHECKPOINT.parent) == {of["a"], of["b"]}


@pytest.mark.parametrize(
    "gone", ["b by its id", "b by its bytes", "c", "nothing, of an unknown parent", "c, of an unknown parent"]
)
def test_the_heir_of_a_network_that_saw_a_withdrawn_image_is_not_kept(project, monkeypatch, gone):
    """Neither when it is made nor when another replaces it; one of which that cannot be told is not kept after a withdrawal."""
    digests = {record.image_id: record.sha256 for record in project.records}
    behind(project, monkeypatch)
    if "unknown" in gone:
        Path("data/classifier/training_rows.parquet").unlink()
    run()
    withdrawals = {
        "b by its id": Withdrawn(image_ids=frozenset("b")),
        "b by its bytes": Withdrawn(photographs=frozenset([digests["b"]])),
        "nothing, of an unknown parent": Withdrawn(),
    }
    monkeypatch.setattr(
        refused, "refused", lambda: withdrawals.get(gone, Withdrawn(frozenset([digests["c"]]), frozenset("c")))
    )
    monkeypatch.setenv(VARIABLE, "1")
    run(seed=6)
    assert len(entries("model")) == (2 if gone in ("c", "nothing, of an unknown parent") else 0)


# --- kinds of labels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["0", "1"])
def test_the_kinds_of_labels_that_a_parent_saw_are_those_of_its_present_training(project, monkeypatch, store):
    """Its weights came out the same: nothing is trained, on disk or out of the store, and no byte of the weights is another."""
    monkeypatch.setenv(VARIABLE, store)
    run()
    for kinds, allowed in ((["tags"], []), (["boxes", "tags"], ["boxes"]), (["tags"], [])):
        monkeypatch.setattr(Trainer, "line", {"classifier": parent(supervision=kinds, allowed_supervision=allowed)})
        if store == "1":
            run(seed=6)
        before, weights, calls = read_passport(CHECKPOINT), CHECKPOINT.read_bytes()[-64:], Trainer.calls_left
        report = run()
        after = read_passport(CHECKPOINT)
        assert (after.supervision, after.allowed_supervision) == (sorted({"imagenet-tags", *kinds}), allowed)
        if before.parents == after.parents and before.key == after.key:
            assert (report["trained"], Trainer.calls_left) == (False, calls)
            assert CHECKPOINT.read_bytes()[-64:] == weights
        stamp = CHECKPOINT.stat().st_mtime_ns
        run()
        assert CHECKPOINT.stat().st_mtime_ns == stamp


def test_a_parent_that_saw_what_is_not_allowed_is_refused_by_a_network_that_stands(project, monkeypatch):
    run()
    monkeypatch.setattr(Trainer, "line", {"classifier": parent()})
    run()
    monkeypatch.setattr(Trainer, "line", {"classifier": parent(supervision=["boxes"])})
    with pytest.raises(SupervisionError, match="classifier: its weights have seen boxes"):
        run()


# --- scores -----------------------------------------------------------------------------------------------------------


def listed(project: Any, *image_ids: str, tags: tuple[str, ...] = ("cat",)) -> None:
    """Put photographs on the validation list, with other tags."""
    for image_id in image_ids:
        project.change(image_id, lists=("val",), tags=tags, split="score")


VALIDATION = {
    "other tags": lambda project: listed(project, "d", "e", tags=("cat", "dog")),
    "another photograph": lambda project: project.repaint("d", seed=99),
    "a photograph more": lambda project: listed(project, "c"),
    "a photograph less": lambda project: project.change("e", status="quarantined"),
}


@pytest.mark.parametrize("what", list(VALIDATION))
@pytest.mark.parametrize("store", ["0", "1"])
def test_a_score_is_measured_again_where_the_validation_list_is_another(project, monkeypatch, what, store):
    """On the network as it is, wherever it is found: nothing is trained, and no byte of the weights is another."""
    monkeypatch.setenv(VARIABLE, store)
    listed(project, "d", "e")
    first = run()
    before, weights = read_passport(CHECKPOINT), CHECKPOINT.read_bytes()[-64:]
    assert first["map/val"] == before.metrics["map/val"]
    VALIDATION[what](project)
    if store == "1":
        run(seed=6)
    calls = Trainer.calls_left
    report = run()
    after = read_passport(CHECKPOINT)
    assert (report["trained"], report.get("found", False), calls) == (False, store == "1", Trainer.calls_left)
    tags = {"other tags": 2, "a photograph more": 1, "a photograph less": -1}.get(what, 0)
    assert report["map/val"] == after.metrics["map/val"] == pytest.approx(first["map/val"] + tags)
    assert load_checkpoint(CHECKPOINT)[1] == after
    assert CHECKPOINT.read_bytes()[-64:] == weights
    assert after == before.model_copy(update={"metrics": after.metrics, "measured_on": after.measured_on})
    assert report["scored_on"] == [{"list": "val", "digest": after.measured_on}]
    assert with_present_scores(report) == report
    measured = Trainer.measured
    assert run()["map/val"] == report["map/val"]
    assert Trainer.measured == measured


def test_a_score_that_cannot_be_measured_again_is_not_measured(project, monkeypatch, capsys):
    """In the passport, the report and the table; the next run tries again."""
    listed(project, "d", "e")
    first = run()
    assert "mAP" in what_it_made(with_present_scores(first))
    listed(project, "d", tags=("dog", "cat"))
    assert what_it_made(with_present_scores(first)) == "trained on 2 rows, mAP not measured on val"
    monkeypatch.setattr(Trainer, "unreadable", True)
    report = run()
    assert "trainer: not measured on val: a photograph is damaged" in capsys.readouterr().err
    assert read_passport(CHECKPOINT).metrics == {"loss": first["loss"]}
    assert what_it_made(with_present_scores(report)) == "kept, trained on 2 rows, mAP not measured on val"
    assert not run()["trained"]
    monkeypatch.setattr(Trainer, "unreadable", False)
    assert run()["map/val"] == pytest.approx(first["map/val"] + 1)


def test_a_score_of_an_earlier_version_is_measured_again(project):
    """It does not say what it was measured on; its report says nothing until then."""
    listed(project, "d")
    first = run()
    change_passport(CHECKPOINT, measured_on="", metrics={"loss": first["loss"], "map/val": 9.0})
    old = {name: value for name, value in first.items() if name != "scored_on"}
    assert what_it_made(with_present_scores(old)) == "trained on 2 rows, mAP not measured on val"
    assert run() == {**first, "trained": False}
    assert read_passport(CHECKPOINT).metrics["map/val"] == first["map/val"]


class Silent(Trainer):
    """Measures nothing."""

    score = TrainingStage.score


def test_a_stage_that_measures_nothing_is_left_alone(project):
    """Another validation list touches no file of it."""
    report = Silent(config()).run()
    before, stamp = outputs(), CHECKPOINT.stat().st_mtime_ns
    listed(project, "d", "e")
    assert Silent(config()).run() == {**report, "trained": False}
    assert (outputs(), CHECKPOINT.stat().st_mtime_ns) == (before, stamp)
    assert with_present_scores(report) == report
