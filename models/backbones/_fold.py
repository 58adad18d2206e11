"""Frozen batch norm, folded into the convolution before it: the same function with fewer steps."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


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


def _fold(conv: nn.Conv2d, norm: _BatchNorm) -> None:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None or norm.weight is None or norm.bias is None:
        raise ValueError("a batch norm without statistics or affine parameters cannot be folded")
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    bias = conv.bias if conv.bias is not None else torch.zeros_like(mean)
    conv.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1))
    conv.bias = nn.Parameter((bias - mean) * scale + norm.bias)
