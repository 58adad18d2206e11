"""Training stages: what they leave, when they train again, and what they refuse."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest
import torch
from small_training import Noise, config, learner, small_net, squared
from torch import Tensor, nn

from labelfactory.dataset.prepared import write_dataset
from labelfactory.dataset.withdrawn import Withdrawn
from labelfactory.errors import DataError, SupervisionError
from labelfactory.interrupt import Interrupted
from labelfactory.learning.checkpoints import Passport, change_passport, load_checkpoint, read_passport, read_text
from labelfactory.learning.learner import Batch, Learner
from labelfactory.learning.training import TrainingSection
from labelfactory.learning.training_rows import photographs_of, seen_by
from labelfactory.stage.output_state import with_present_scores
from labelfactory.stage.training import TrainingStage
from labelfactory.store import refused
from labelfactory.store.entries import STORE, entries, trim
from labelfactory.store.limit import VARIABLE
from reporting.phrases import what_it_made


class Trainer(TrainingStage[TrainingSection]):
    """Learns a sum from noise; its rows, parents and supervision are what the test says."""

    writes = "model"
    supervision = "tags"
    seen: ClassVar[list[str]] = []
    allowed: ClassVar[list[str]] = []
    line: ClassVar[dict[str, Passport]] = {}
    rows: ClassVar[dict[str, str]] = {}
    calls_left: ClassVar[int] = 10**6
    measured: ClassVar[int] = 0
    unreadable: ClassVar[bool] = False

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
        """By the network and the tags of the validation list: it is in evaluation mode, with the weights of the checkpoint."""
        if Trainer.unreadable:
            raise DataError("a photograph is damaged", "Mend it.")
        assert not model.training
        Trainer.measured += 1
        tags = sum(len(record.tags) for record in self.dataset.usable if "val" in record.lists)
        return {"map/val": tags + model(torch.ones(1, 2)).item()}


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
        ("measured", 0),
        ("unreadable", False),
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
            monkeypatch.setattr(refused, "refused", lambda: Withdrawn(image_ids=frozenset("b")))
        else:
            Trainer(config())._write_rows(spoil, ())
        run(seed=6)
        assert [read_passport(e.path / CHECKPOINT.name).seed for e in entries("model")] == (
            [] if spoil is Trainer.rows else [6]
        )


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
