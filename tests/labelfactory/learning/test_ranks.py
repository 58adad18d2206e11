"""Training on several devices, here two processes on the CPU: the loss and the weights of one process with the joint batch."""

import os
import pickle
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_line import MadeLine
from small_training import config, learner, same
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessExitedException

from labelfactory.errors import DataError, UserError
from labelfactory.learning.batches import Batch
from labelfactory.learning.learner import Learner, LossLearner
from labelfactory.learning.ranks import joint_mean, training_devices
from labelfactory.learning.resume import Resume
from labelfactory.learning.training import fit
from labelfactory.settings.registry import choose
from labelfactory.stage.runner import read_sections, stage_class
from models.backbones import build_backbone
from models.classifier import Classifier
from models.losses.affinity import affinity_loss
from models.losses.cross_entropy import cross_entropy
from models.mask_objectives import MaskObjective
from models.objectives import Objective

TOLERANCE = 1e-5
"""Of a loss around 1, and of weights around 1, after a dozen steps in float32: the shares are added in another order."""
OFFSETS = [(0, 1), (1, 0), (1, 1)]


class Pictures:
    """Random pictures, of which some are nearly all void: a mean over half a batch is not half of the mean over all."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def get(self, index: int, rng: np.random.Generator) -> Batch:
        mask = rng.integers(0, 3, (6, 6), dtype=np.uint8)
        mask[rng.random((6, 6)) < (0.95 if index % 2 else 0.1)] = 255
        image = rng.normal(size=(2, 6, 6)).astype(np.float32) + (mask == 1)
        return {"image": torch.from_numpy(image), "mask": torch.from_numpy(mask)}


def net() -> nn.Module:
    """Convolutions, a norm that is not learnt, and a layer that the loss never looks at."""
    torch.manual_seed(3)
    made = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), FrozenNorm(4), nn.ReLU(), nn.Conv2d(4, 3, 1))
    made[3].unused = nn.Linear(2, 2)
    return made


class FrozenNorm(nn.BatchNorm2d):
    """As the backbones have them: their statistics stay."""

    def train(self, mode: bool = True) -> "FrozenNorm":
        return super().train(False)


def both_losses(model: nn.Module, batch: Batch) -> Tensor:
    """Those of the segmenter and of AffinityNet: means over valid pixels, and over three kinds of pairs."""
    logits = model(batch["image"])
    affinities = torch.sigmoid(logits)  # as many channels as there are offsets
    return cross_entropy(logits, batch["mask"]) + affinity_loss(affinities, batch["mask"], OFFSETS)


def no_number(model: nn.Module, batch: Batch) -> Tensor:
    return both_losses(model, batch) * float("nan")


class KilledOnce:
    """The process whose files are not there yet is killed in its n-th call."""

    def __init__(self, flag: Path, call: int) -> None:
        self.flag, self.left = flag, call

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        self.left -= 1
        if self.left < 0 and torch.distributed.get_rank() == 1 and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return both_losses(model, batch)


def train(folder: Path, loss: Any, devices: int, examples: Any = None) -> tuple[Any, Any]:
    """Ten pictures in batches of four, four epochs, with a moving average of the weights."""
    folder.mkdir(exist_ok=True)
    model = net()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELFACTORY_DEVICE", "cpu")
        patch.setenv("LABELFACTORY_DEVICES", str(devices))
        return fit(
            learner(model, loss),
            examples or Pictures(10),
            config(batch_size=4, epochs=4),
            pretrained=list(model[0].parameters()),
            title="test",
            resume=Resume(folder / "resume.pt", "k"),
            ema_decay=0.9,
        )


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[Any, Any]:
    """Net and curve of two processes."""
    return train(tmp_path_factory.mktemp("two") / "whole", both_losses, 2)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_the_joint_batch(tmp_path, two):
    """Loss of each epoch and weights, within the tolerance; masks are void in one share and not in the other."""
    net, curve = two
    one, expected = train(tmp_path / "one", both_losses, 1)
    assert [row["epoch"] for row in curve] == [1, 2, 3, 4]
    assert [row["loss"] for row in curve] == pytest.approx([row["loss"] for row in expected], rel=TOLERANCE)
    for name, tensor in one.state_dict().items():
        assert torch.allclose(tensor, net.state_dict()[name], atol=TOLERANCE), name
    assert not net.training
    assert expected[-1]["loss"] < expected[0]["loss"]


@pytest.mark.slow
@pytest.mark.endurance
def test_a_killed_process_costs_its_epoch_and_changes_nothing(tmp_path, two):
    """One of two is killed in the second epoch: the run ends; the next one ends in the bytes of an undisturbed one."""
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        train(tmp_path / "killed", KilledOnce(tmp_path / "flag", 3), 2)
    assert Resume(tmp_path / "killed/resume.pt", "k").load()["epoch"] == 1  # type: ignore[index]
    net, curve = train(tmp_path / "killed", KilledOnce(tmp_path / "flag", 3), 2)
    assert same(two[0], net)
    assert curve == two[1]


@pytest.mark.slow
def test_a_loss_without_a_value_is_the_users_error_in_every_process(tmp_path):
    """Problem and remedy arrive, not the traceback of a process."""
    with pytest.raises(UserError, match="is not finite in epoch 1") as caught:
        train(tmp_path, no_number, 2)
    assert "learning_rate" in caught.value.remedy


class OneIsBad(Pictures):
    """A photograph that has changed since the import: only the process whose share it is in finds out."""

    def get(self, index: int, rng: np.random.Generator) -> Batch:
        if index == 3:
            raise DataError("photographs/3.png: changed since it was imported", "Import it again.")
        return super().get(index, rng)


@pytest.mark.slow
def test_an_error_in_one_share_ends_the_others(tmp_path):
    """They would wait for it for ever; its two parts arrive."""
    with pytest.raises(UserError, match=r"^photographs/3\.png: changed") as caught:
        train(tmp_path, both_losses, 2, OneIsBad(10))
    assert caught.value.remedy == "Import it again."


@pytest.mark.parametrize("name", ["train_classifier", "train_affinity", "train_segmenter"])
def test_what_a_stage_learns_from_travels_to_another_process(name, tmp_path, monkeypatch):
    """Examples and loss are sent to each process: they hold no open file and no function without a name."""
    monkeypatch.chdir(tmp_path)
    MadeLine()
    stage = stage_class(name)(read_sections()[name])
    examples = pickle.loads(pickle.dumps(stage.examples()))  # type: ignore[attr-defined]
    assert len(examples) == 4
    assert examples.get(0, np.random.default_rng(0)).keys() == stage.examples().get(0, np.random.default_rng(0)).keys()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["tags", "affinity", "masks"])
def test_what_a_network_learns_by_travels_to_another_process(name):
    """With its knobs and its network."""
    backbone = build_backbone("tiny", output_stride=16, state=None, pretrained=False)
    if name == "tags":
        tags = choose("models.objectives", "tags")
        learns: Learner = tags.subclass_of(Objective)(
            Classifier(backbone, 3), tags, targets=torch.zeros(2, 3), epochs=1
        )
    elif name == "affinity":
        psa = choose("models.affinity", {"name": "psa", "depths": [4, 4, 4], "width": 8})
        learns = LossLearner(psa.bind("build")(backbone, learn_backbone=True), psa.bind("loss"))
    else:
        net = choose("models.segmenters", {"name": "deeplab_v3", "width": 16, "rates": [1]}).bind("build")(backbone, 3)
        cross_entropy = choose("models.mask_objectives", "cross_entropy")
        learns = cross_entropy.subclass_of(MaskObjective)(net, cross_entropy)
    sent = pickle.loads(pickle.dumps(learns))
    batch = {
        "image": torch.rand(2, 3, 33, 33) * 255,
        "target": torch.ones(2, 3),
        "mask": torch.zeros(2, 33, 33, dtype=torch.uint8),
        "trust": torch.ones(2, 33, 33),
    }
    both = [each.eval()(batch) for each in (learns, sent)]
    assert {key: term.item() for key, term in both[0].items()} == {key: term.item() for key, term in both[1].items()}


def test_alone_a_count_is_its_own_mean():
    """The very tensor: on one device not a bit of a loss changes."""
    count = torch.tensor(3.0)
    assert joint_mean(count) is count


# --- how many devices


@given(batch=st.integers(1, 64), wanted=st.integers(1, 16))
def test_shares_are_equal_and_no_more_devices_are_used_than_there_are(batch, wanted):
    """And where all of them can have an equal share, all are used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELFACTORY_DEVICE", "cpu")
        patch.setenv("LABELFACTORY_DEVICES", str(wanted))
        used = training_devices(batch)
    assert 1 <= used <= wanted
    assert batch % used == 0
    assert used == wanted or batch % wanted != 0


@pytest.mark.parametrize(
    ("device", "devices", "batch", "expected"),
    [("auto", "", 16, 4), ("auto", "", 6, 3), ("auto", "2", 16, 2), ("cuda:3", "", 16, 1), ("cpu", "", 16, 1)],
)
def test_every_gpu_of_the_worker_is_used_unless_told(monkeypatch, device, devices, batch, expected):
    """Four GPUs, as far as torch can tell; one of them by its number is one."""
    monkeypatch.setenv("LABELFACTORY_DEVICE", device)
    monkeypatch.setenv("LABELFACTORY_DEVICES", devices)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert training_devices(batch) == expected


@pytest.mark.parametrize(
    ("batch", "multiple", "expected"),
    [(8, 2, 4), (12, 2, 3), (6, 2, 3), (4, 2, 2), (2, 2, 1), (7, 2, 1), (16, 0, 1), (8, 8, 1)],
)
def test_pairs_are_not_shared_out_singly(monkeypatch, batch, multiple, expected):
    """Four devices: each gets a multiple of what must stay together, or there are fewer; 0 is one device."""
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.setenv("LABELFACTORY_DEVICES", "4")
    assert training_devices(batch, multiple) == expected


@pytest.mark.parametrize(
    ("value", "said"), [("0", "a positive whole number"), ("two", "a positive whole number"), ("5", "4 GPU")]
)
def test_a_number_of_devices_that_cannot_be_is_said_before_training(monkeypatch, value, said):
    """What is wrong and what to type."""
    monkeypatch.setenv("LABELFACTORY_DEVICES", value)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(UserError, match=said) as caught:
        training_devices(8)
    assert caught.value.remedy == "Type `unset LABELFACTORY_DEVICES`."
