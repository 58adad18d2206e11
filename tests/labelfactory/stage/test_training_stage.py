"""Training stages: what they leave, when they train again, and what they refuse."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import Workspace
from small_trainer import CHECKPOINT, Trainer, outputs, parent, run, trainer_project
from small_training import config
from torch import nn

from labelfactory.dataset.prepared import write_dataset
from labelfactory.errors import DataError, SupervisionError
from labelfactory.interrupt import Interrupted
from labelfactory.learning.checkpoints import load_checkpoint, read_passport, read_text
from labelfactory.store.entries import STORE
from labelfactory.store.limit import VARIABLE


@pytest.fixture
def project(workspace, monkeypatch) -> Workspace:
    return trainer_project(workspace, monkeypatch)


class Teller(Trainer):
    """Tells something of the network beside its passport."""

    def texts(self, model: nn.Module) -> dict[str, str]:
        assert not model.training
        return {"told": f"{sum(weight.numel() for weight in model.parameters())} weights"}


@pytest.mark.slow
def test_a_stage_trains_on_several_devices_and_its_passport_says_so(project, monkeypatch):
    """Two processes with half of each batch; the same file as ever comes out, once."""
    monkeypatch.setenv("LABELFACTORY_DEVICES", "2")
    assert run(batch_size=4)["trained"]
    assert load_checkpoint(CHECKPOINT)[1].device == "2 × cpu, 32-true"
    assert len(list(CHECKPOINT.parent.iterdir())) == 3
    assert not run(batch_size=4)["trained"]


def test_a_trained_stage_leaves_checkpoint_rows_and_curve(project):
    """And nothing of the way there; the passport says what it was made from."""
    metrics = run()
    assert metrics["trained"]
    assert metrics["map/val"] == read_passport(CHECKPOINT).metrics["map/val"]
    assert sorted(p.name for p in CHECKPOINT.parent.iterdir()) == [
        "checkpoint.safetensors",
        "curve.csv",
        "training_rows.parquet",
    ]
    _, passport = load_checkpoint(CHECKPOINT)
    assert (passport.stage, passport.training_rows, passport.seed) == ("trainer", 2, 5)
    assert passport.supervision == ["imagenet-tags", "tags"]
    assert passport.classes == ["cat", "dog"]
    assert passport.params["epochs"] == 3
    rows = pq.read_table("data/model/training_rows.parquet").to_pylist()
    photographs = {record.image_id: record.sha256 for record in project.records}
    assert rows == [
        {"image_id": i, "digest": d, "source": "tags", "photograph": photographs[i]}
        for i, d in (("a", "1"), ("b", "2"))
    ]


def test_an_unchanged_key_trains_nothing(project):
    """The file is not touched; the metrics are those of then."""
    first = run()
    stamp = CHECKPOINT.stat().st_mtime_ns
    Trainer.calls_left = 0
    assert run() == {**first, "trained": False}
    assert CHECKPOINT.stat().st_mtime_ns == stamp


def change_code(project: Any) -> None:
    (project.root / "code" / "science.py").write_text("answer = 43\n")


def change_classes(project: Any) -> None:
    project.classes = ("cat", "dog", "emu")
    project.save()


def test_a_network_in_the_store_is_held_to_what_is_allowed_and_to_its_bytes(project, monkeypatch, capsys):
    """Weights that have seen more than is allowed are refused first; a damaged one is trained again, to the same bytes."""
    monkeypatch.setenv(VARIABLE, "1")
    run()
    before = outputs()
    run(seed=6)
    monkeypatch.setattr(Trainer, "seen", ["masks"])
    with pytest.raises(SupervisionError):
        run()
    monkeypatch.setattr(Trainer, "seen", ["imagenet-tags"])
    kept = STORE / "model" / read_passport(CHECKPOINT).key
    run()
    (kept / "curve.csv").write_text("spoilt")
    assert run(seed=6)["trained"]
    assert "damaged: not used, removed" in capsys.readouterr().err
    run()
    assert outputs() == before


def test_other_photographs_under_the_same_rows_are_learnt_from(project, monkeypatch):
    """A true mask is the same row over another photograph; the network of the former ones is not taken from the store either."""
    monkeypatch.setenv(VARIABLE, "1")
    run()
    run(seed=6)
    project.repaint("a", seed=99)
    assert run()["trained"]
    assert not run()["trained"]
    assert run(seed=6)["trained"]
    report = run()
    assert (report["trained"], report["found"]) == (False, True)


def test_other_values_of_the_same_true_masks_are_learnt_from(project, monkeypatch):
    """The bytes of the masks are the same, and mean other classes. To a network that learns from no true mask it is nothing."""
    for supervision, again in (("tags", False), ("masks", True)):
        monkeypatch.setattr(Trainer, "supervision", supervision)
        project.save()
        run(seed=7 + again)
        write_dataset(replace(project.dataset(), mask_ids={0: 0, 1: 2, 2: 1}), Path("data/dataset/images.parquet"))
        assert run(seed=7 + again)["trained"] is again
        assert not run(seed=7 + again)["trained"]


CHANGES = {
    "a row's digest": lambda p: Trainer.rows.update(a="9"),
    "a row more": lambda p: Trainer.rows.update(c="3"),
    "a row less": lambda p: Trainer.rows.pop("a"),
    "the code": change_code,
    "the classes": change_classes,
    "a parent": lambda p: Trainer.line.update(classifier=parent()),
}


@pytest.mark.parametrize("what", list(CHANGES))
def test_it_trains_again_with(project, monkeypatch, what):
    """Each thing that the weights depend on."""
    monkeypatch.setattr(Trainer, "rows", dict(Trainer.rows))
    monkeypatch.setattr(Trainer, "line", {})
    run()
    before = read_passport(CHECKPOINT).key
    CHANGES[what](project)
    assert run()["trained"]
    assert read_passport(CHECKPOINT).key != before
    assert not run()["trained"]


@pytest.mark.parametrize("changes", [{"seed": 6}, {"learning_rate": 0.04}, {"epochs": 2}])
def test_it_trains_again_with_another_parameter(project, changes):
    """Any of the section."""
    run()
    assert run(**changes)["trained"]


def test_a_parent_counts_by_its_weights(project, monkeypatch):
    """A parent that was trained again to the same bytes, at another commit, stops the wave."""
    run()
    monkeypatch.setattr(Trainer, "line", {"classifier": parent("w", key="1", git_commit="1")})
    assert run()["trained"]
    monkeypatch.setattr(Trainer, "line", {"classifier": parent("w", key="2", git_commit="2")})
    assert not run()["trained"]
    monkeypatch.setattr(Trainer, "line", {"classifier": parent("v")})
    assert run()["trained"]
    assert read_passport(CHECKPOINT).parents == {"classifier": "v"}


def test_what_a_stage_tells_beside_the_passport_is_in_the_header(project, monkeypatch):
    """The weights are those of a stage that tells nothing, and the text comes back from the store with them."""
    run()
    weights = read_passport(CHECKPOINT).weights_digest
    assert read_text(CHECKPOINT, "told") is None
    CHECKPOINT.unlink()
    monkeypatch.setenv(VARIABLE, "1")
    assert Teller(config()).run()["trained"]
    assert read_passport(CHECKPOINT).weights_digest == weights
    told = read_text(CHECKPOINT, "told")
    assert told == "19 weights"
    CHECKPOINT.unlink()
    assert Teller(config()).run()["found"]
    assert read_text(CHECKPOINT, "told") == told


@pytest.mark.parametrize("call", [1, 2, 5])
def test_a_killed_stage_goes_on_to_the_same_bytes(project, monkeypatch, call):
    """The old checkpoint stands until the new one is whole."""
    run()
    whole = CHECKPOINT.read_bytes()
    CHECKPOINT.unlink()
    monkeypatch.setattr(Trainer, "calls_left", call)
    with pytest.raises(Interrupted) as caught:
        run()
    assert caught.value.kept == f"{call // 2} of 3 epochs done"
    assert not CHECKPOINT.exists()
    assert (CHECKPOINT.parent / "resume.pt").exists() == (call >= 2)
    monkeypatch.setattr(Trainer, "calls_left", 10**6)
    run()
    assert CHECKPOINT.read_bytes() == whole
    assert not (CHECKPOINT.parent / "resume.pt").exists()


@pytest.mark.parametrize("place", [5, 60, -1])
def test_a_damaged_checkpoint_of_our_own_is_trained_again(project, place, capsys):
    """In the header or in the last weight; to the same bytes."""
    run()
    whole = CHECKPOINT.read_bytes()
    data = bytearray(whole)
    data[place] ^= 4
    CHECKPOINT.write_bytes(data)
    assert run()["trained"]
    assert CHECKPOINT.read_bytes() == whole
    assert "trained again" in capsys.readouterr().err


def test_stronger_weights_are_refused_before_any_training(project, monkeypatch):
    """Those of a file or of a parent; allowed by name they stay on record."""
    monkeypatch.setattr(Trainer, "seen", ["masks"])
    monkeypatch.setattr(Trainer, "calls_left", 0)
    with pytest.raises(SupervisionError, match="trainer: its weights have seen masks"):
        run()
    assert not CHECKPOINT.exists()
    monkeypatch.setattr(Trainer, "allowed", ["masks"])
    monkeypatch.setattr(Trainer, "calls_left", 10**6)
    run()
    assert read_passport(CHECKPOINT).supervision == ["masks", "tags"]
    assert read_passport(CHECKPOINT).allowed_supervision == ["masks"]


def test_a_strong_parent_is_refused(project, monkeypatch):
    """What once touched the line is inherited."""
    run()
    monkeypatch.setattr(Trainer, "line", {"classifier": parent(supervision=["boxes", "tags"])})
    with pytest.raises(SupervisionError, match="classifier: its weights have seen boxes"):
        run()
    monkeypatch.setattr(Trainer, "allowed", ["boxes"])
    run()
    assert read_passport(CHECKPOINT).supervision == ["boxes", "imagenet-tags", "tags"]


def test_without_an_image_there_is_nothing_to_learn(project, monkeypatch):
    """An error, not a checkpoint of random weights."""
    monkeypatch.setattr(Trainer, "rows", {})
    with pytest.raises(DataError, match="no image to learn from"):
        run()
