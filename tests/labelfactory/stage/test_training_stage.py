"""Training stages: what they leave, when they train again, and what they refuse."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest
from small_training import Noise, config, learner, small_net, squared
from torch import Tensor, nn

from labelfactory.dataset.withdrawn import Withdrawn
from labelfactory.errors import DataError, SupervisionError
from labelfactory.interrupt import Interrupted
from labelfactory.learning.checkpoints import Passport, load_checkpoint, read_passport, read_text
from labelfactory.learning.learner import Batch, Learner
from labelfactory.learning.training import TrainingSection
from labelfactory.stage import training
from labelfactory.stage.training import TrainingStage
from labelfactory.store.entries import STORE, entries, trim
from labelfactory.store.limit import VARIABLE


class Trainer(TrainingStage[TrainingSection]):
    """Learns a sum from noise; its rows, parents and supervision are what the test says."""

    writes = "model"
    supervision = "tags"
    seen: ClassVar[list[str]] = []
    allowed: ClassVar[list[str]] = []
    line: ClassVar[dict[str, Passport]] = {}
    rows: ClassVar[dict[str, str]] = {}
    calls_left: ClassVar[int] = 10**6

    @classmethod
    def stage_name(cls) -> str:
        return "trainer"

    def training_rows(self) -> Mapping[str, str]:
        return self.rows

    def row_source(self, image_id: str) -> str:
        return "tags"

    def foreign_supervision(self) -> list[str]:
        return self.seen

    def allowed_supervision(self) -> list[str]:
        return self.allowed

    def parents(self) -> dict[str, Passport]:
        return self.line

    def architecture(self) -> dict[str, Any]:
        return {"net": "small"}

    def learner(self) -> tuple[Learner, Sequence[Tensor]]:
        return learner(small_net(self.cfg.seed), counted), []

    def examples(self) -> Noise:
        return Noise()

    def ema_decay(self) -> float:
        return 0.9

    def score(self, model: nn.Module) -> dict[str, float]:
        return {"map/val": 0.5}


def counted(model: nn.Module, batch: Batch) -> Tensor:
    Trainer.calls_left -= 1
    if Trainer.calls_left < 0:
        raise KeyboardInterrupt
    return squared(model, batch)


@pytest.fixture
def project(workspace, monkeypatch):
    workspace.wire("trainer")
    (workspace.root / "data" / "model").mkdir()
    for name, value in (
        ("rows", {"a": "1", "b": "2"}),
        ("line", {}),
        ("seen", ["imagenet-tags"]),
        ("allowed", []),
        ("calls_left", 10**6),
    ):
        monkeypatch.setattr(Trainer, name, value)
    return workspace


CHECKPOINT = Path("data/model/checkpoint.safetensors")


def run(**changes: object) -> dict[str, Any]:
    return Trainer(config(**changes)).run()


class Teller(Trainer):
    """Tells something of the network beside its passport."""

    def texts(self, model: nn.Module) -> dict[str, str]:
        assert not model.training
        return {"told": f"{sum(weight.numel() for weight in model.parameters())} weights"}


def parent(weights: str = "w", **changes: object) -> Passport:
    return read_passport(CHECKPOINT).model_copy(update={"weights_digest": weights, **changes})


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
    assert metrics["map/val"] == 0.5
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
    assert rows == [{"image_id": i, "digest": d, "source": "tags"} for i, d in (("a", "1"), ("b", "2"))]


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


def outputs() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(CHECKPOINT.parent.iterdir())}


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
            monkeypatch.setattr(training, "refused", lambda: Withdrawn(image_ids=frozenset("b")))
        else:
            Trainer(config())._write_rows(spoil)
        run(seed=6)
        assert len(entries("model")) == 1


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
