"""Attention modules behind a backbone's taps: where they stand, that they change nothing at first, and that they are rebuilt."""

import pytest
import torch

from labelfactory.settings.registry import choose, method_names
from models.backbones import build_backbone
from models.backbones._choice import rebuild_backbone
from models.blocks.squeeze_excite import SqueezeExcite

ATTACHED = [name for name in method_names("models.blocks") if name != "none"]
TAPS = ("c4", "c5")


def tiny(name: str | None = None, taps: tuple[str, ...] = TAPS):
    torch.manual_seed(0)
    net = build_backbone("tiny", output_stride=16, state=None, pretrained=False)
    if name:
        net.attach(choose("models.blocks", name).bind("build"), taps)
    return net.eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(1)) * 255


def test_a_gate_by_hand():
    """Two channels with means 1 and 3, one hidden unit: relu(1·1 + 3·1) = 4, so the gates are 2 σ(0.5·4) and 2 σ(−0.5·4)."""
    block = SqueezeExcite(2, 2)
    with torch.no_grad():
        block.squeeze.weight.copy_(torch.tensor([[1.0, 1.0]]))
        block.squeeze.bias.zero_()
        block.excite.weight.copy_(torch.tensor([[0.5], [-0.5]]))
    x = torch.tensor([[[[0.0, 2.0]], [[3.0, 3.0]]]])
    gates = 2 * torch.sigmoid(torch.tensor([2.0, -2.0]))
    assert torch.allclose(block(x), x * gates[None, :, None, None])


def test_fewer_channels_than_the_reduction_leave_one_hidden_unit():
    assert SqueezeExcite(4, 16).squeeze.out_features == 1


@pytest.mark.parametrize("name", ATTACHED)
def test_a_block_starts_as_the_identity(images, name):
    """The features of published weights are those without it, bit for bit."""
    assert all(torch.equal(*pair) for pair in zip(tiny()(images), tiny(name)(images), strict=True))


@pytest.mark.parametrize("name", ATTACHED)
def test_a_block_stands_where_it_is_told_to(images, name):
    """What comes before its tap is untouched by its weights; its tap and all behind it are not."""
    plain, net = tiny()(images), tiny(name, ("c4",))
    assert list(net.attached) == ["c4"]
    with torch.no_grad():
        for parameter in net.attached.parameters():
            parameter.add_(torch.linspace(0.1, 1, parameter.numel()).view_as(parameter))
    same = [torch.equal(*pair) for pair in zip(plain, net(images), strict=True)]
    assert same == [True, True, False, False]


@pytest.mark.parametrize("name", ATTACHED)
def test_weights_of_blocks_are_new_ones_and_stay_free(name):
    """They are not among the published parameters, and a frozen stage does not freeze the block behind it."""
    net = tiny(name)
    attached = {id(p) for p in net.attached.parameters()}
    assert attached
    assert not attached & {id(p) for p in net.published_parameters()}
    assert len(net.published_parameters()) + len(attached) == len(list(net.parameters()))
    net.freeze(len(net.stages()))
    assert all(p.requires_grad for p in net.attached.parameters())


@pytest.mark.parametrize("name", ATTACHED)
def test_a_checkpoint_with_two_taps_is_rebuilt(images, name):
    """From a passport's architecture and the weights alone."""
    net = tiny(name)
    with torch.no_grad():
        for parameter in net.attached.parameters():
            parameter.add_(0.3)
    block = choose("models.blocks", name).model_dump(mode="json")
    passport = {"backbone": "tiny", "output_stride": 16, "folded": False, "block": block, "block_taps": list(TAPS)}
    again = rebuild_backbone(passport)
    again.load_state_dict(net.state_dict())
    assert all(torch.equal(*pair) for pair in zip(net(images), again.eval()(images), strict=True))
