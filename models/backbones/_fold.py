"""Frozen batch norm as a part of the convolution before it: the same function with fewer steps.

`fold_norms` does it once and for all. `normed` does it at each step of a training that leaves the norm's statistics as they are:
the weights that learn are those of before, and neither the norm nor its gradient passes over the features.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.backbones._convolution import Activation, SameConv2d, activated, convolve


@torch.no_grad()
def fold_norms(net: nn.Module) -> None:
    """Fold every batch norm that follows a convolution, with its present statistics; it becomes an identity.

    Attached blocks are not changed. Pairs are recognised by the order in which a module registers its parts: (conv, bn),
    (conv1, bn1), ….
    """
    attached = getattr(net, "attached", nn.ModuleDict())
    own = set(attached.modules())
    for parent in (module for module in list(net.modules()) if module not in own):
        previous: nn.Module | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm) and isinstance(previous, nn.Conv2d):
                _fold(previous, child)
                setattr(parent, name, nn.Identity())
            previous = child


def normed(conv: nn.Conv2d, norm: nn.Module, x: Tensor, activation: Activation = "none") -> Tensor:
    """The activation of `norm(conv(x))`, in one pass where the norm is in evaluation mode or folded.

    Args:
        conv: with the same geometry along rows and columns.
        norm: a batch norm, or the identity that `fold_norms` left.
        x: [B, C, H, W].
        activation: of the result.
    """
    weight, bias = conv.weight, conv.bias
    learns = isinstance(norm, _BatchNorm) and norm.training
    if isinstance(norm, _BatchNorm) and not learns:
        weight, bias = _folded(conv, norm)
    x, padding = conv.padded(x) if isinstance(conv, SameConv2d) else (x, int(conv.padding[0]))
    shape: dict[str, Any] = {
        "stride": conv.stride[0],
        "padding": padding,
        "dilation": conv.dilation[0],
        "groups": conv.groups,
    }
    if learns:
        return activated(norm(convolve(x, weight, bias, **shape)), activation)
    return convolve(x, weight, bias, **shape, activation=activation)


def _fold(conv: nn.Conv2d, norm: _BatchNorm) -> None:
    weight, bias = _folded(conv, norm)
    conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)


def _folded(conv: nn.Conv2d, norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that is both."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None or norm.weight is None or norm.bias is None:
        raise ValueError("a batch norm without statistics or affine parameters cannot be folded")
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    bias = -mean if conv.bias is None else conv.bias - mean
    return conv.weight * scale.view(-1, 1, 1, 1), bias * scale + norm.bias
