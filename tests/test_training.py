"""The training loop and the training stages: resume to the same bytes, a correct optimiser, nothing trained twice."""

import csv
import math
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from labelfactory import training
from labelfactory.checkpoints import Passport, load_checkpoint, read_passport
from labelfactory.errors import DataError, SupervisionError, UserError
from labelfactory.resume import Resume
from labelfactory.training import Batch, TrainingSection, decay_factor, fit, make_optimizer, write_curve
from labelfactory.training_stage import TrainingStage


def config(**changes: object) -> TrainingSection:
    values: dict[str, Any] = {
        "epochs": 3,
        "least_steps": 0,
        "batch_size": 2,
        "learning_rate": 0.05,
        "head_factor": 2.0,
        "rate": "absolute",
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "decay": "poly",
        "warmup_steps": 1,
        "clip_norm": 10,
        "precision": "32-true",
        "seed": 5,
    }
    return TrainingSection(**{**values, **changes})


class Noise:
    """Examples that depend on the generator which they are given, as augmentation does."""

    def __init__(self, count: int = 5) -> None:
        self.count = count
        self.seen: list[int] = []

    def __len__(self) -> int:
        return self.count

    def get(self, index: int, rng: np.random.Generator) -> Batch:
        self.seen.append(index)
        x = torch.from_numpy(rng.normal(size=2).astype(np.float32)) + index
        return {"x": x, "y": x.sum()[None]}


def small_net(seed: int = 0) -> nn.Module:
    """Weights, statistics and dropout: everything that a resumed run has to bring back."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.3), nn.Linear(3, 1))


def squared(model: nn.Module, batch: Batch) -> Tensor:
    return ((model(batch["x"]) - batch["y"]) ** 2).mean()


def train(
    folder: Path, cfg: TrainingSection, *, ema: float = 0.0, loss: Any = squared, key: str = "k"
) -> tuple[Any, Any]:
    net = small_net()
    return fit(
        net,
        Noise(),
        loss,
        cfg,
        pretrained=list(net[0].parameters()),  # type: ignore[index]
        title="test",
        resume=Resume(folder / "resume.pt", key),
        ema_decay=ema,
    )


def same(first: nn.Module, second: nn.Module) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


class Killed:
    """A loss during whose n-th call the process is killed."""

    def __init__(self, call: int) -> None:
        self.left = call

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return squared(model, batch)


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("call", [0, 1, 2, 3, 5])
def test_a_killed_run_ends_in_the_same_bytes(tmp_path, call, optimizer, ema, capsys):
    """Killed before, between and within epochs: weights, statistics, average and curve are those of an undisturbed run."""
    cfg = config(optimizer=optimizer)
    (tmp_path / "whole").mkdir()
    expected, curve = train(tmp_path / "whole", cfg, ema=ema)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, cfg, ema=ema, loss=Killed(call))
    net, resumed = train(tmp_path, cfg, ema=ema)
    assert same(net, expected)
    assert resumed == curve
    assert ("resumed after epoch" in capsys.readouterr().err) == (call >= 2)


def test_a_run_killed_after_its_last_epoch_trains_no_more(tmp_path):
    """Only the checkpoint was not written yet."""
    expected, curve = train(tmp_path, config(), ema=0.5)
    again, resumed = train(tmp_path, config(), ema=0.5, loss=Killed(0))
    assert same(again, expected)
    assert resumed == curve


def test_the_seed_decides_everything(tmp_path):
    """Same seed, same weights; another seed, others. The state of torch's generator before does not matter."""
    nets = []
    for k, seed in enumerate((5, 5, 6)):
        (tmp_path / str(k)).mkdir()
        net = small_net()
        torch.manual_seed(k)
        resume = Resume(tmp_path / str(k) / "resume.pt", "k")
        nets.append(fit(net, Noise(), squared, config(seed=seed), pretrained=[], title="t", resume=resume)[0])
    assert same(nets[0], nets[1])
    assert not same(nets[0], nets[2])


def test_the_average_is_of_the_weights_and_not_the_last_ones(tmp_path):
    """Given back in evaluation mode on the CPU; with EMA it is another net, with the same statistics."""
    for name in ("plain", "ema"):
        (tmp_path / name).mkdir()
    plain, _ = train(tmp_path / "plain", config())
    average, _ = train(tmp_path / "ema", config(), ema=0.9)
    assert not plain.training
    assert not average.training
    assert not torch.equal(plain[0].weight, average[0].weight)
    assert torch.equal(plain[1].running_mean, average[1].running_mean)


def test_the_average_by_hand(tmp_path):
    """One weight pulled down by 0.1 a step: e ← 0.5 e + 0.5 w, from the first step on."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 1.0)
    cfg = config(
        optimizer="sgd", weight_decay=0, learning_rate=0.1, head_factor=1, epochs=1, batch_size=1, warmup_steps=1000
    )
    weights: list[float] = []

    def pull(model: nn.Module, batch: Batch) -> Tensor:
        weights.append(float(net.weight.detach()))
        return net.weight.sum() * 1.0

    made, _ = fit(net, Noise(3), pull, cfg, pretrained=[], title="t", resume=Resume(tmp_path / "r", "k"), ema_decay=0.5)
    rates = [0.1 * (k + 1) / 1000 for k in range(3)]
    momentum = [1.0, 1.9, 2.71]
    after = list(np.cumsum([-r * m for r, m in zip(rates, momentum, strict=True)]) + 1)
    assert weights[1:] == pytest.approx(after[:2], abs=1e-7)
    expected = after[0]
    for w in after[1:]:
        expected = 0.5 * expected + 0.5 * w
    assert float(made.weight.detach()) == pytest.approx(expected, abs=1e-7)


def test_each_epoch_sees_each_example_once_in_another_order(tmp_path):
    """The incomplete last batch is left out, so that one of five is missing; a set smaller than a batch is one batch."""
    for count, expected in ((5, 4), (4, 4), (1, 1)):
        examples = Noise(count)
        net = nn.Linear(2, 1)
        resume = Resume(tmp_path / f"{count}.pt", "k")
        _, curve = fit(net, examples, squared, config(epochs=4), pretrained=[], title="t", resume=resume)
        epochs = [examples.seen[i * expected : (i + 1) * expected] for i in range(4)]
        assert len(examples.seen) == 4 * expected
        assert all(len(set(epoch)) == expected for epoch in epochs)
        assert count == 1 or len({tuple(epoch) for epoch in epochs}) > 1
        assert [row["epoch"] for row in curve] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("count", "least", "epochs"), [(8, 0, 3), (8, 12, 3), (8, 13, 4), (8, 17, 5), (9, 17, 5), (1, 7, 7), (2, 4, 4)]
)
def test_few_examples_make_enough_steps(tmp_path, count, least, epochs, capsys):
    """Batches of two, three epochs asked for. The rate falls over all steps, to the last one."""
    steps: list[int] = []

    def counted(model: nn.Module, batch: Batch) -> Tensor:
        steps.append(len(batch["x"]))
        return squared(model, batch)

    cfg = config(least_steps=least, warmup_steps=0)
    resume = Resume(tmp_path / "resume.pt", "k")
    _, curve = fit(nn.Linear(2, 1), Noise(count), counted, cfg, pretrained=[], title="a net", resume=resume)
    each = count // 2 or 1
    assert len(curve) == epochs
    assert len(steps) == epochs * each >= least
    assert curve[-1]["learning_rate"] == pytest.approx(0.05 * (1 / len(steps)) ** 0.9)
    said = f"a net: {epochs} epochs of {each} steps instead of 3, for least_steps {least}"
    assert (said in capsys.readouterr().err) == (epochs > 3)


def test_a_loss_without_a_value_stops_the_run(tmp_path):
    """A checkpoint of NaN would pass every digest."""
    with pytest.raises(UserError, match="no finite number in epoch 1") as caught:
        train(tmp_path, config(), loss=lambda m, b: squared(m, b) * math.nan)
    assert "learning_rate" in caught.value.remedy
    assert not (tmp_path / "resume.pt").exists()


@pytest.mark.parametrize("damage", [b"", b"no pickle", None])
def test_a_useless_state_means_to_begin_anew(tmp_path, damage, capsys):
    """Damaged, or of a run with another key."""
    (tmp_path / "whole").mkdir()
    expected, _ = train(tmp_path / "whole", config())
    if damage is None:
        train(tmp_path, config(epochs=1), key="other")
    else:
        (tmp_path / "resume.pt").write_bytes(damage)
    assert same(train(tmp_path, config())[0], expected)
    assert ("damaged" in capsys.readouterr().err) == (damage is not None)


# --- schedule and optimiser


@pytest.mark.parametrize(
    ("kind", "step", "expected"),
    [
        ("poly", 0, 0.5),
        ("poly", 1, 1.0),
        ("poly", 2, 1.0),
        ("poly", 6, 0.5**0.9),
        ("poly", 9, 0.125**0.9),
        ("cosine", 2, 1.0),
        ("cosine", 4, 0.5 * (1 + math.sqrt(0.5))),
        ("cosine", 6, 0.5),
        ("cosine", 10, 0.0),
    ],
)
def test_decay_by_hand(kind, step, expected):
    """Ten steps of which two warm up."""
    assert decay_factor(kind, step, 10, 2) == pytest.approx(expected, abs=1e-12)


@given(kind=st.sampled_from(["poly", "cosine"]), steps=st.integers(1, 50), warmup=st.integers(0, 60))
def test_the_rate_rises_then_falls_and_is_never_gone_before_the_end(kind, steps, warmup):
    """Positive at every step that is taken, at most 1."""
    shares = [decay_factor(kind, step, steps, warmup) for step in range(steps)]
    assert all(0 < share <= 1 for share in shares)
    assert shares[:warmup] == sorted(shares[:warmup])
    assert shares[warmup:] == sorted(shares[warmup:], reverse=True)


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_weight_decay_is_weight_decay(name, kind):
    """Not the momentum, where half the field's code puts it; new layers learn faster by their factor."""
    old, new = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(2))
    optimizer = make_optimizer(config(optimizer=name, weight_decay=0.03, head_factor=7), [old], [new])
    assert type(optimizer) is kind
    slow, fast = optimizer.param_groups
    assert (slow["params"], slow["lr"]) == ([old], 0.05)
    assert (fast["params"], fast["lr"]) == ([new], pytest.approx(0.35))
    for group in (slow, fast):
        assert group["weight_decay"] == 0.03
        assert group.get("momentum", 0.9) == 0.9


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weight_decay_shrinks_a_weight_without_gradient(name):
    """One step by hand: w − lr · decay · w, for both."""
    weight = nn.Parameter(torch.full((1,), 2.0))
    optimizer = make_optimizer(config(optimizer=name, weight_decay=0.5), [weight], [])
    weight.grad = torch.zeros(1)
    optimizer.step()
    assert float(weight.detach()) == pytest.approx(2.0 - 0.05 * 0.5 * 2.0)


@pytest.mark.parametrize("with_none", ["pretrained", "new"])
def test_a_net_of_one_kind_of_layers_has_one_group(with_none):
    """Only new layers, or none."""
    some = [nn.Parameter(torch.ones(1))]
    groups = make_optimizer(config(), *(([], some) if with_none == "pretrained" else (some, []))).param_groups
    assert [g["lr"] for g in groups] == [0.1 if with_none == "pretrained" else 0.05]


def test_a_relative_rate_follows_the_size_of_each_weight():
    """Learning rate times the root mean square, for pretrained weights alone; also inside the loop's schedule."""
    large, small, new = (nn.Parameter(torch.full((4,), v)) for v in (3.0, -0.01, 1.0))
    groups = make_optimizer(config(rate="relative"), [large, small], [new]).param_groups
    assert [g["lr"] for g in groups] == pytest.approx([0.15, 0.0005, 0.1])
    assert [g["scale"] for g in groups] == pytest.approx([3.0, 0.01, 2.0])


def test_rates_in_training_follow_the_schedule(tmp_path):
    """Both groups, step by step; the gradient's norm is clipped over the whole net."""
    net = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1))
    before = [p.detach().clone() for p in net.parameters()]
    cfg = config(optimizer="sgd", weight_decay=0, epochs=1, batch_size=5, warmup_steps=0, clip_norm=0.01)
    resume = Resume(tmp_path / "r", "k")
    pretrained = list(net[0].parameters())
    _, curve = fit(
        net, Noise(5), lambda m, b: 1e3 * squared(m, b), cfg, pretrained=pretrained, title="t", resume=resume
    )
    moved = [after.detach() - b for after, b in zip(net.parameters(), before, strict=True)]
    steps = torch.cat([m.flatten() / (0.05 if k < 2 else 0.1) for k, m in enumerate(moved)])
    assert float(steps.norm()) == pytest.approx(0.01, rel=1e-2)
    assert curve[0]["learning_rate"] == pytest.approx(0.05)


def test_the_curve_is_one_csv_row_an_epoch(tmp_path):
    """What `dvc plots` reads."""
    write_curve(tmp_path / "curve.csv", [{"epoch": 1.0, "loss": 0.5, "learning_rate": 0.1}])
    with (tmp_path / "curve.csv").open() as stream:
        assert list(csv.DictReader(stream)) == [{"epoch": "1.0", "loss": "0.5", "learning_rate": "0.1"}]


# --- the stage


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

    def build(self) -> tuple[nn.Module, Sequence[Tensor]]:
        return small_net(self.cfg.seed), []

    def examples(self) -> Noise:
        return Noise()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        type(self).calls_left -= 1
        if self.calls_left < 0:
            raise KeyboardInterrupt
        return squared(model, batch)

    def ema_decay(self) -> float:
        return 0.9

    def score(self, model: nn.Module) -> dict[str, float]:
        return {"map/val": 0.5}


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


def parent(weights: str = "w", **changes: object) -> Passport:
    return read_passport(CHECKPOINT).model_copy(update={"weights_digest": weights, **changes})


@pytest.mark.slow
def test_a_stage_trains_on_several_devices_and_its_passport_says_so(project, monkeypatch):
    """Two processes with half of each batch; the same file as ever comes out, once."""
    monkeypatch.setenv("LABELFACTORY_DEVICES", "2")
    assert run(batch_size=4)["trained"]
    assert load_checkpoint(CHECKPOINT)[1].device == "2 × cpu"
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


@pytest.mark.parametrize("call", [1, 2, 5])
def test_a_killed_stage_goes_on_to_the_same_bytes(project, monkeypatch, call):
    """The old checkpoint stands until the new one is whole."""
    run()
    whole = CHECKPOINT.read_bytes()
    CHECKPOINT.unlink()
    monkeypatch.setattr(Trainer, "calls_left", call)
    with pytest.raises(KeyboardInterrupt):
        run()
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


# --- processes that read photographs


class Dying(Noise):
    """Examples over which a loader's process dies, or hangs, so often."""

    def __init__(self, folder: Path, times: int, *, hang: bool = False) -> None:
        super().__init__(count=6)
        self.folder, self.times, self.hang = folder, times, hang

    def get(self, index: int, rng: np.random.Generator) -> Batch:
        died = len(list(self.folder.iterdir()))
        if index == 4 and died < self.times and torch.utils.data.get_worker_info() is not None:
            (self.folder / str(died)).touch()
            if self.hang:
                time.sleep(600)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().get(index, rng)


@pytest.mark.slow
@pytest.mark.parametrize(("times", "hang"), [(1, False), (9, False), (1, True)])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # torch's loaders fork
def test_a_loader_that_dies_or_hangs_is_replaced(tmp_path, monkeypatch, times, hang, capsys):
    """New processes read the batch again; if they die too, the training process reads itself. The weights are the same."""
    monkeypatch.setenv("LABELFACTORY_TASK_SECONDS", "4")
    for name in ("whole", "marks"):
        (tmp_path / name).mkdir()
    expected = fit_on(Dying(tmp_path / "marks", 0), tmp_path / "whole")
    monkeypatch.setattr(training, "_feeders", lambda device: 1)
    assert same(fit_on(Dying(tmp_path / "marks", times, hang=hang), tmp_path), expected)
    said = capsys.readouterr().err
    assert "DataLoader" in said
    assert ("in this process" in said) == (times > 1)


def fit_on(examples: Noise, folder: Path) -> nn.Module:
    net = small_net()
    parameters = list(net[0].parameters())  # type: ignore[index]
    resume = Resume(folder / "resume.pt", "k")
    return fit(net, examples, squared, config(epochs=1), pretrained=parameters, title="test", resume=resume)[0]
