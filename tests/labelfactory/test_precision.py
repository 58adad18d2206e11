"""`auto` is the precision that the device has itself: training, inference and the record agree on it."""

from typing import get_args

import pytest
import torch
from small_training import Noise, config, learner
from torch import Tensor, nn

from labelfactory.devices import FabricPrecision, for_the_record, has_bfloat16, precision_on
from labelfactory.learning.resume import Resume
from labelfactory.learning.training import fit
from models.autocast import inference_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
ABLE = [
    {"avx512_bf16": True, "amx_bf16": False},
    {"avx512_bf16": False, "amx_bf16": True},
    {"neon": True, "bf16": True},
]
UNABLE = [{"avx512_bf16": False, "amx_bf16": False, "avx512_vnni": True}, {"neon": True, "bf16": False}, {}]


class Told(nn.Linear):
    """A layer that notes in which type it was asked to compute."""

    def __init__(self) -> None:
        super().__init__(2, 1)
        self.types: set[torch.dtype] = set()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = super().forward(x)
        self.types.add(found.dtype)
        return found


def be_able(monkeypatch: pytest.MonkeyPatch, able: dict[str, bool]) -> None:
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)


@pytest.mark.parametrize(
    ("able", "dtype", "name"),
    [*[(a, torch.bfloat16, "bf16-mixed") for a in ABLE], *[(u, torch.float32, "32-true") for u in UNABLE]],
    ids=str,
)
def test_a_cpu_with_bfloat16_uses_it(able, dtype, name, monkeypatch, tmp_path):
    """Training and inference compute in it, and the record names it."""
    be_able(monkeypatch, able)
    assert (precision_on(CPU, "auto"), for_the_record("auto")) == (name, f"cpu, {name}")
    net = Told()
    with inference_precision("auto", CPU):
        net(torch.ones(1, 2))
    assert net.types == {dtype}
    net.types.clear()
    resume = Resume(tmp_path / "resume.pt", "k")
    fit(learner(net), Noise(), config(precision="auto", epochs=1), pretrained=[], title="test", resume=resume)
    assert net.types == {dtype}


@pytest.mark.parametrize("wanted", get_args(FabricPrecision))
@pytest.mark.parametrize("able", [ABLE[0], UNABLE[0]], ids=["able", "unable"])
def test_a_precision_that_is_asked_for_is_used(wanted, able, monkeypatch):
    """Whatever the device would rather compute in."""
    be_able(monkeypatch, able)
    assert precision_on(CPU, wanted) == wanted


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_is_asked_for_bfloat16_of_its_own(native, monkeypatch):
    """Emulation does not count; other devices are not believed to have it."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert has_bfloat16(GPU) is native
    assert not has_bfloat16(torch.device("mps"))
