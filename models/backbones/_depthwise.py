"""Depthwise convolution with gradients that are fast on a CPU, and a forward pass without cuDNN on a GPU.

oneDNN has a fast weight gradient for 3×3 kernels without dilation only; others take a path that was measured 10 to 30 times
slower, which dominates the backward pass of a dilated network. Here the input gradient is a convolution with the mirrored
kernel, and the weight gradient is assembled from undilated 3×3 ones: dilation 2 is split into four grids of every other
position, and a 5×5 kernel is covered by four overlapping 3×3 kernels. The values are the same.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` with as many groups as channels, convolved by `channelwise`."""

    def __init__(self, channels: int, kernel: int, *, padding: int, dilation: int) -> None:
        super().__init__(channels, channels, kernel, padding=padding, dilation=dilation, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, H', W'] as `nn.Conv2d` does."""
        return channelwise(x, self.weight, self.bias, self.stride, self.padding, self.dilation)


def channelwise(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any) -> Tensor:
    """`F.conv2d` of each channel on its own; on a GPU by PyTorch's kernels.

    cuDNN (9.10 and later) compiles its kernels for these at run time, and photographs have many sizes: with
    EfficientNet-Lite2 on an H200 each new one took 2 s where a known one takes 8 ms (docs/experiments.md). A backward pass
    may still take cuDNN: crops have one size.

    Args:
        x: [B, C, H, W].
        weight: [C, 1, k, k].
        bias: [C] or None.
        stride: of the convolution, as are padding and dilation.
        padding: see stride.
        dilation: see stride.

    Returns:
        [B, C, H', W'].

    Source: https://github.com/NVIDIA/cudnn-frontend/issues/1066
    """
    with _without_cudnn(x.device):
        return F.conv2d(x, weight, bias, stride, padding, dilation, x.shape[1])


def _without_cudnn(device: torch.device) -> AbstractContextManager[object]:
    return torch.backends.cudnn.flags(enabled=False) if device.type == "cuda" else nullcontext()


def depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None, *, dilation: int) -> Tensor:
    """Convolve each channel on its own, stride 1, on an unchanged grid.

    Args:
        x: [B, C, H, W].
        weight: [C, 1, k, k], k 3 or 5.
        bias: [C] or None.
        dilation: 1 or 2 for the fast path; others have autograd's gradients.

    Returns:
        [B, C, H, W] in autocast's dtype where it is on.
    """
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if learns and x.device.type == "cpu" and dilation <= 2 and weight.shape[-1] in (3, 5):
        out: Tensor = _Depthwise.apply(x, weight, bias, dilation)  # type: ignore[no-untyped-call]
        return out
    return _convolve(x, weight, bias, dilation)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    reach = dilation * (weight.shape[-1] // 2)
    cast_bias = None if bias is None else bias.to(x.dtype)
    return channelwise(x, weight.to(x.dtype), cast_bias, 1, reach, dilation)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation, ctx.has_bias = dilation, bias is not None
        return _convolve(x, weight, bias, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        incoming = gradients[0].contiguous(memory_format=torch.channels_last)
        for_x = for_weight = for_bias = None
        if ctx.needs_input_grad[0]:
            for_x = _convolve(incoming, weight.flip(2, 3), None, ctx.dilation)
        if ctx.needs_input_grad[1]:
            for_weight = _weight_gradient(x, incoming, weight.shape[-1], ctx.dilation).to(weight.dtype)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            for_bias = incoming.sum((0, 2, 3), dtype=torch.float32)
        return for_x, for_weight, for_bias, None


def _weight_gradient(x: Tensor, incoming: Tensor, kernel: int, dilation: int) -> Tensor:
    """[C, 1, k, k] for x and the gradient of the result, both [B, C, H, W]."""
    reach = dilation * (kernel // 2)
    odd_rows, odd_columns = (side % dilation for side in incoming.shape[-2:])
    padded = F.pad(x, (reach, reach + odd_columns, reach, reach + odd_rows))
    if dilation == 2:
        incoming = _every_other(F.pad(incoming, (0, odd_columns, 0, odd_rows)))
        padded = _every_other(padded)
    height, width = incoming.shape[-2:]
    corners = (0,) if kernel == 3 else (0, 2)
    result = x.new_empty(x.shape[1], 1, kernel, kernel)
    for top in corners:
        for left in corners:
            part = padded[:, :, top : top + height + 2, left : left + width + 2]
            result[:, :, top : top + 3, left : left + 3] = _valid_3x3_gradient(part, incoming)
    return result


def _every_other(x: Tensor) -> Tensor:
    """[B, C, 2 H, 2 W] → [4 B, C, H, W]: the four grids of every other position."""
    return torch.cat([x[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)])


def _valid_3x3_gradient(x: Tensor, incoming: Tensor) -> Tensor:
    """Weight gradient [C, 1, 3, 3] of a 3×3 depthwise convolution without padding."""
    channels = x.shape[1]
    shape_only = x.new_empty(channels, 1, 3, 3)
    x, incoming = (t.contiguous(memory_format=torch.channels_last) for t in (x, incoming))
    gradients = torch.ops.aten.convolution_backward(
        incoming, x, shape_only, None, [1, 1], [0, 0], [1, 1], False, [0, 0], channels, [False, True, False]
    )
    gradient: Tensor = gradients[1]
    return gradient
