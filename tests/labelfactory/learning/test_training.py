"""The training loop: resume to the same bytes, a correct optimiser, processes that read photographs."""

import csv
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_training import Noise, config, learner, same, small_net, squared
from torch import Tensor, nn

from labelfactory.errors import UserError
from labelfactory.learning import batches
from labelfactory.learning.learner import Batch
from labelfactory.learning.resume import Resume
from labelfactory.learning.training import TrainingSection, decay_factor, fit, make_optimizer, write_curve


def train(
    folder: Path, cfg: TrainingSection, *, ema: float = 0.0, loss: Any = squared, key: str = "k"
) -> tuple[Any, Any]:
    net = small_net()
    return fit(
        learner(net, loss),
        Noise(),
        cfg,
        pretrained=list(net[0].parameters()),  # type: ignore[index]
        title="test",
        resume=Resume(folder / "resume.pt", key),
        ema_decay=ema,
    )


class Killed:
    """A loss during whose n-th call the process is killed."""

    def __init__(self, call: int) -> None:
        self.left = call

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return squared(model, batch)


@pytest.mark.slow
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
        nets.append(fit(learner(net, squared), Noise(), config(seed=seed), pretrained=[], title="t", resume=resume)[0])
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

    made, _ = fit(
        learner(net, pull), Noise(3), cfg, pretrained=[], title="t", resume=Resume(tmp_path / "r", "k"), ema_decay=0.5
    )
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
        seen: list[int] = []

        def noted(model: nn.Module, batch: Batch, seen: list[int] = seen) -> Tensor:
            seen.extend(batch["index"].tolist())
            return squared(model, batch)

        resume = Resume(tmp_path / f"{count}.pt", "k")
        _, curve = fit(
            learner(nn.Linear(2, 1), noted), Noise(count), config(epochs=4), pretrained=[], title="t", resume=resume
        )
        epochs = [seen[i * expected : (i + 1) * expected] for i in range(4)]
        assert len(seen) == 4 * expected
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
    _, curve = fit(learner(nn.Linear(2, 1), counted), Noise(count), cfg, pretrained=[], title="a net", resume=resume)
    each = count // 2 or 1
    assert len(curve) == epochs
    assert len(steps) == epochs * each >= least
    assert curve[-1]["learning_rate"] == pytest.approx(0.05 * (1 / len(steps)) ** 0.9)
    said = f"a net: {epochs} epochs of {each} steps instead of 3, for least_steps {least}"
    assert (said in capsys.readouterr().err) == (epochs > 3)


@pytest.mark.parametrize(("count", "epochs"), [(100_000, 3), (1000, 3), (960, 3), (959, 4), (192, 15), (1, 180)])
def test_small_sets_get_the_steps_of_larger_ones_by_themselves(count, epochs):
    """A number of steps would have to be found anew for each size of batch."""
    cfg = config(least_steps="auto", batch_size=16)
    assert cfg.epochs_of(batches.batches_in_epoch(count, cfg.batch_size)) == epochs
    assert config(least_steps="auto", batch_size=1024).epochs_of(1) == 3


def test_weights_without_a_value_stop_the_run_though_the_loss_has_one(tmp_path):
    """Activations in bfloat16 turn NaN into 0; here the loss does not look at a layer."""
    net = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1))
    with torch.no_grad():
        net[0].bias.fill_(torch.nan)
    net[0].requires_grad_(False)

    def only_last(model: nn.Module, batch: Batch) -> Tensor:
        return ((model[1](batch["y"]) - batch["y"]) ** 2).mean()  # type: ignore[index]

    resume = Resume(tmp_path / "resume.pt", "k")
    with pytest.raises(UserError, match="weights are not finite in epoch 1"):
        fit(learner(net, only_last), Noise(2), config(), pretrained=[], title="a net", resume=resume)
    assert not (tmp_path / "resume.pt").exists()


def test_a_loss_without_a_value_stops_the_run(tmp_path):
    """A checkpoint of NaN would pass every digest."""
    with pytest.raises(UserError, match="is not finite in epoch 1") as caught:
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


SPOILT = {
    "a list": lambda state: [1, 2],
    "a tensor": lambda state: torch.zeros(3),
    "no parts": lambda state: {"key": "k"},
    "another net": lambda state: {**state, "model": nn.Linear(2, 1).state_dict()},
    "no optimiser": lambda state: {**state, "optimizer": {}},
    "groups without settings": lambda state: {
        **state, "optimizer": {**state["optimizer"], "param_groups": [{"params": g["params"]} for g in
                                                                      state["optimizer"]["param_groups"]]}},
    "no average": lambda state: {**state, "average": None},
    "another epoch": lambda state: {**state, "epoch": 7},
    "an epoch that is none": lambda state: {**state, "epoch": "two"},
    "no curve": lambda state: {**state, "curve": None},
    "a curve of texts": lambda state: {**state, "curve": [{"epoch": "1", "loss": "2"}]},
    "a curve without a loss": lambda state: {**state, "curve": [{"epoch": 1.0}]},
}  # fmt: skip
"""What a state of two epochs may be instead."""


@pytest.mark.parametrize("name", SPOILT)
def test_a_state_of_another_shape_means_to_begin_anew(tmp_path, name, capsys):
    """Nothing of it is kept: the weights are those of an undisturbed run, not half of the state's."""
    (tmp_path / "whole").mkdir()
    expected, curve = train(tmp_path / "whole", config(), ema=0.9)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, config(), ema=0.9, loss=Killed(5))
    path = tmp_path / "resume.pt"
    state = torch.load(path, weights_only=True)
    torch.save(SPOILT[name](state), path)
    net, again = train(tmp_path, config(), ema=0.9)
    assert same(net, expected)
    assert again == curve
    assert "damaged; training starts at the first epoch" in capsys.readouterr().err


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
        learner(net, lambda m, b: 1e3 * squared(m, b)), Noise(5), cfg, pretrained=pretrained, title="t", resume=resume
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
    monkeypatch.setattr(batches, "_loader_processes", lambda device: 1)
    assert same(fit_on(Dying(tmp_path / "marks", times, hang=hang), tmp_path), expected)
    said = capsys.readouterr().err
    assert "DataLoader" in said
    assert ("in this process" in said) == (times > 1)


class Threads(Noise):
    """Examples that tell how many threads the process which reads them has."""

    def get(self, index: int, rng: np.random.Generator) -> Batch:
        return super().get(index, rng) | {"threads": torch.tensor([torch.get_num_threads(), cv2.getNumThreads()])}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # torch's loaders fork
def test_a_process_that_reads_photographs_has_one_thread(tmp_path, monkeypatch):
    """Of eight such processes with a thread for each of sixteen cores, each would wait for the others."""
    monkeypatch.setattr(batches, "_loader_processes", lambda device: 2)
    found: list[Tensor] = []

    def noted(model: nn.Module, batch: Batch) -> Tensor:
        found.append(batch["threads"])
        return squared(model, batch)

    threads = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        fit(
            learner(nn.Linear(2, 1), noted),
            Threads(4),
            config(),
            pretrained=[],
            title="t",
            resume=Resume(tmp_path / "r", "k"),
        )
    finally:
        cv2.setNumThreads(threads)
    assert torch.cat(found).tolist() == [[1, 1]] * 12


def fit_on(examples: Noise, folder: Path) -> nn.Module:
    net = small_net()
    parameters = list(net[0].parameters())  # type: ignore[index]
    resume = Resume(folder / "resume.pt", "k")
    return fit(learner(net, squared), examples, config(epochs=1), pretrained=parameters, title="test", resume=resume)[0]
