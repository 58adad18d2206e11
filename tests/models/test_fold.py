"""Folded batch norm: the same function with fewer steps."""

import pytest
import torch
from torch import nn

from models.backbones import Backbone, build_backbone
from models.backbones._fold import fold_norms


def settled(name: str, output_stride: int = 16) -> Backbone:
    """Random weights, and statistics and affine parameters that do something."""
    torch.manual_seed(1)
    net = build_backbone(name, output_stride=output_stride, state=None, pretrained=False)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return net.eval()


@pytest.mark.parametrize("name", ["tiny", "efficientnet_lite0", "resnet50"])
@torch.no_grad()
def test_folding_changes_no_value_and_leaves_no_norm(name):
    """At each of the four depths, in double precision to rounding."""
    net = settled(name).double()
    images = torch.rand(1, 3, 33, 49, dtype=torch.float64) * 255
    before = [f.clone() for f in net(images)]
    fold_norms(net)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    for was, now in zip(before, net(images), strict=True):
        assert float(was.abs().max()) > 1e-3
        assert torch.allclose(was, now, rtol=1e-9, atol=1e-9 * float(was.abs().max()))


def test_a_fold_by_hand():
    """y = (2x + 1 − 3) / 2 · 4 + 5 = 4x + 1: weight 4, bias 1."""
    pair = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)).eval()
    conv, norm = pair[0], pair[1]
    for tensor, value in (
        (conv.weight, 2.0),
        (conv.bias, 1.0),
        (norm.running_mean, 3.0),
        (norm.running_var, 4.0),
        (norm.weight, 4.0),
        (norm.bias, 5.0),
    ):
        nn.init.constant_(tensor, value)
    fold_norms(pair)
    assert (pair[0].weight.item(), pair[0].bias.item()) == (4.0, 1.0)
    assert isinstance(pair[1], nn.Identity)


def test_a_norm_that_follows_no_convolution_stays():
    """After an activation, or at the front."""
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 1, 1), nn.ReLU(), nn.BatchNorm2d(1))
    fold_norms(net)
    assert [isinstance(m, nn.BatchNorm2d) for m in net] == [True, False, False, True]


def test_a_norm_without_statistics_is_refused():
    """It has nothing to fold."""
    with pytest.raises(ValueError, match="without statistics"):
        fold_norms(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, track_running_stats=False)))


def test_folded_weights_can_be_loaded_into_a_folded_net():
    """The names of the state do not depend on when it was folded."""
    first, second = settled("tiny"), settled("tiny")
    fold_norms(first)
    fold_norms(second)
    second.load_state_dict(first.state_dict())
    assert "bias" in {name.rsplit(".", 1)[-1] for name in first.state_dict()}
