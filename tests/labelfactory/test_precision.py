"""`auto` is the quicker precision on this machine: measured once for each network, kept, and named in the record."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from small_training import Noise, config, learner, same, small_net
from torch import Tensor, nn

from labelfactory import measured_precision
from labelfactory.devices import FabricPrecision, has_bfloat16
from labelfactory.learning.resume import Resume
from labelfactory.learning.training import fit
from labelfactory.learning.training_precision import training_precision
from labelfactory.measured_precision import _machine, kept_here, precision_folder, quicker_precision
from models.autocast import chosen_precision, inference_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
ABLE = [
    {"avx512_bf16": True, "amx_bf16": False},
    {"avx512_bf16": False, "amx_bf16": True},
    {"neon": True, "bf16": True},
]
UNABLE = [{"avx512_bf16": False, "amx_bf16": False, "avx512_vnni": True}, {"neon": True, "bf16": False}, {}]
IMAGES = torch.ones(1, 2)
Turn = Callable[[FabricPrecision], None]


class Told(nn.Linear):
    """A layer that notes in which type it was asked to compute, and takes its time in one of them."""

    def __init__(self, slow: torch.dtype | None = None) -> None:
        super().__init__(2, 1)
        self.types: list[torch.dtype] = []
        self.slow = slow

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = super().forward(x)
        self.types.append(found.dtype)
        if found.dtype == self.slow:
            time.sleep(0.05)
        return found


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """Nothing was measured before."""
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.setenv("LABELFACTORY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(measured_precision, "SECONDS", 0.2)
    return tmp_path / f"cache/{measured_precision.FOLDER}-{os.getuid()}"


def be_able(monkeypatch: pytest.MonkeyPatch, able: dict[str, bool]) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    measured_precision.processor.cache_clear()


def new(folder: Path) -> Resume:
    """The state of a training that may have been interrupted."""
    return Resume(folder / "resume.pt", "k")


def slower(slow: FabricPrecision, turns: list[FabricPrecision]) -> Turn:
    """Work that takes longer in one precision, and notes each of its turns."""

    def turn(precision: FabricPrecision) -> None:
        turns.append(precision)
        time.sleep(0.03 if precision == slow else 0.005)

    return turn


@pytest.mark.parametrize("able", ABLE, ids=str)
@pytest.mark.parametrize(
    ("slow", "quicker"), [(torch.float32, "bf16-mixed"), (torch.bfloat16, "32-true")], ids=["32 slow", "16 slow"]
)
def test_the_quicker_of_the_two_is_used(able, slow, quicker, monkeypatch, tmp_path):
    """For inference and for training, on each kind of processor with bfloat16."""
    be_able(monkeypatch, able)
    net = Told(slow)
    with inference_precision("auto", net, IMAGES):
        net.types.clear()
        net(IMAGES)
    fast = torch.bfloat16 if slow == torch.float32 else torch.float32
    assert net.types == [fast]
    assert quicker in measured_precision.computed_in
    trained = learner(net)
    cfg = config(precision="auto", epochs=1)
    assert training_precision(trained, Noise(), cfg, new(tmp_path)) == quicker
    net.types.clear()
    fit(trained, Noise(), cfg, pretrained=[], title="t", resume=Resume(tmp_path / "r.pt", "k"), precision=quicker)
    assert set(net.types) == {fast}


@pytest.mark.parametrize("able", UNABLE, ids=str)
def test_nothing_is_measured_without_bfloat16(able, monkeypatch, cache, tmp_path):
    """32 bits are quicker there in any case."""
    be_able(monkeypatch, able)
    net = Told()
    assert chosen_precision("auto", net, IMAGES) == "32-true"
    assert training_precision(learner(net), Noise(), config(precision="auto"), new(tmp_path)) == "32-true"
    assert not net.types
    assert not cache.exists()


@pytest.mark.parametrize("wanted", get_args(FabricPrecision))
@pytest.mark.parametrize("able", [ABLE[0], UNABLE[0]], ids=["able", "unable"])
def test_a_precision_that_is_asked_for_is_used(wanted, able, monkeypatch, tmp_path):
    """Whatever the machine would be quicker in; nothing is measured."""
    be_able(monkeypatch, able)
    net = Told()
    assert chosen_precision(wanted, net, IMAGES) == wanted
    assert training_precision(learner(net), Noise(), config(precision=wanted), new(tmp_path)) == wanted
    assert not net.types


def test_it_is_measured_once_for_a_network(monkeypatch, cache):
    """Other weights are the same network; other layers, the other work and another number of threads are not."""
    be_able(monkeypatch, ABLE[0])
    turns: list[FabricPrecision] = []
    turn = slower("bf16-mixed", turns)
    assert quicker_precision(small_net(0), "inference", CPU, turn) == "32-true"
    assert turns[:2] == ["32-true", "bf16-mixed"]
    assert turns.count("32-true") == turns.count("bf16-mixed") > 2
    turns.clear()
    assert quicker_precision(small_net(1), "inference", CPU, turn) == "32-true"
    assert not turns
    quicker_precision(small_net(0), "training", CPU, turn)
    quicker_precision(nn.Linear(2, 1), "inference", CPU, turn)
    assert len(list(cache.glob("*.json"))) == 3
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    quicker_precision(small_net(2), "inference", CPU, turn)
    assert len(list(cache.glob("*.json"))) == 4
    assert [each.precision for each in kept_here(CPU)] == ["32-true"] * 4
    be_able(monkeypatch, ABLE[1])
    assert not list(kept_here(CPU))


def test_the_first_process_decides_for_all(monkeypatch, cache):
    """Of two that would measure at the same time one waits for the other: rows of one run are made alike."""
    be_able(monkeypatch, ABLE[0])
    answers: list[FabricPrecision] = []
    turns: list[FabricPrecision] = []
    networks = [small_net(k) for k in range(2)]

    def work(k: int, slow: FabricPrecision) -> None:
        answers.append(quicker_precision(networks[k], "inference", CPU, slower(slow, turns if k else [])))

    threads = [threading.Thread(target=work, args=args) for args in ((0, "32-true"), (1, "bf16-mixed"))]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert answers == ["bf16-mixed", "bf16-mixed"]
    assert not turns


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"precision": "8-bit"}', b"\xff"], ids=str)
def test_a_damaged_answer_is_measured_again(damage, monkeypatch, cache):
    """And replaced."""
    be_able(monkeypatch, ABLE[0])
    quicker_precision(small_net(0), "inference", CPU, slower("bf16-mixed", []))
    (path,) = cache.glob("*.json")
    path.write_bytes(damage)
    assert quicker_precision(small_net(1), "inference", CPU, slower("32-true", [])) == "bf16-mixed"
    assert json.loads(path.read_bytes())["precision"] == "bf16-mixed"


@pytest.mark.parametrize("whose", ["a link to another one's folder", "open to others", "own"])
def test_what_others_may_have_written_is_not_read(whose, cache, tmp_path):
    """Played: another user makes `precision-2-<uid>` in a shared cache, with a pipe in it that `doctor` would wait for."""
    cache.mkdir(parents=True, mode=0o700)
    os.mkfifo(cache / "a.json")
    told = {"network": "n", "work": "training", "precision": "bf16-mixed", "seconds": {}}
    (cache / "b.json").write_text(json.dumps({**told, "where": f"{_machine(CPU)}, 2 threads"}))
    if whose == "own":
        assert [each.precision for each in kept_here(CPU)] == ["bf16-mixed"]
        return
    if whose == "open to others":
        cache.chmod(0o775)
    else:
        cache.rename(tmp_path / "theirs")
        cache.symlink_to(tmp_path / "theirs")
    assert not list(kept_here(CPU))


@pytest.mark.parametrize("how", ["a file is in the way", "it is open to others", "no home"])
def test_where_nothing_can_be_kept_it_is_32_bits(how, monkeypatch, tmp_path):
    """Measured, each process would have an answer of its own, and rows of one output would be made in two precisions."""
    be_able(monkeypatch, ABLE[0])
    if how == "a file is in the way":
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("LABELFACTORY_CACHE", str(tmp_path / "file/cache"))
    elif how == "it is open to others":
        folder = precision_folder()
        assert folder is not None
        folder.mkdir(parents=True)
        folder.chmod(0o777)
    else:
        monkeypatch.delenv("LABELFACTORY_CACHE")
        monkeypatch.setattr(Path, "home", no_home)
        assert precision_folder() is None
        assert not list(kept_here(CPU))
    turns: list[FabricPrecision] = []
    assert quicker_precision(small_net(), "inference", CPU, slower("32-true", turns)) == "32-true"
    assert not turns


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_a_precision_that_runs_out_of_memory_is_not_chosen(monkeypatch):
    """It would have ended the run; the other one needs half of it."""
    be_able(monkeypatch, ABLE[0])

    def turn(precision: FabricPrecision) -> None:
        if precision == "32-true":
            raise torch.OutOfMemoryError("CUDA out of memory")

    assert quicker_precision(small_net(), "training", CPU, turn) == "bf16-mixed"


def test_the_rest_of_a_training_is_made_in_the_precision_of_its_start(monkeypatch, tmp_path):
    """Also on another machine, or where the measurement is gone."""
    be_able(monkeypatch, ABLE[0])
    resume = new(tmp_path)
    resume.precision = "bf16-mixed"
    resume.keep(small_net(), torch.optim.SGD(small_net().parameters()), None, 1, [{"epoch": 1.0, "loss": 1.0}])
    net = Told(torch.bfloat16)
    assert training_precision(learner(net), Noise(), config(precision="auto"), new(tmp_path)) == "bf16-mixed"
    assert training_precision(learner(net), Noise(), config(precision="32-true"), new(tmp_path)) == "32-true"
    assert not net.types


def test_measuring_leaves_the_learner_and_the_random_numbers_alone(monkeypatch, tmp_path):
    """A training is the same whether its precision was measured or known."""
    be_able(monkeypatch, ABLE[0])
    net = small_net()
    state = torch.random.get_rng_state()
    training_precision(learner(net), Noise(), config(precision="auto"), new(tmp_path))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert same(net, small_net())
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_is_asked_for_bfloat16_of_its_own(native, monkeypatch):
    """Emulation does not count; other devices are not believed to have it."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert has_bfloat16(GPU) is native
    assert not has_bfloat16(torch.device("mps"))


def test_it_is_measured_at_the_size_that_the_network_takes(monkeypatch, cache):
    """Of several scales at the least: measuring must not need more memory than the work."""
    be_able(monkeypatch, ABLE[0])
    sizes: set[tuple[int, ...]] = set()

    class Sized(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            sizes.add(tuple(x.shape[2:]))
            return super().forward(x)

    for size, scale, taken in (
        ((80, 64), 0.5, (40, 32)),
        ((80, 64), 0.1, (40, 32)),
        ((9, 7), 0.5, (9, 7)),
        ((40, 32), 2.0, (80, 64)),
    ):
        sizes.clear()
        measured_precision._known.clear()
        shutil.rmtree(cache, ignore_errors=True)
        chosen_precision("auto", Sized(3, 1, 1), torch.ones(1, 3, *size), scale=scale)
        assert sizes == {taken}
