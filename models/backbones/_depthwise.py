"""Depthwise convolution with gradients that are fast on a CPU, and a forward pass without cuDNN on a GPU.

oneDNN has a fast weight gradient for 3×3 kernels without dilation only; others take a path that was measured 10 to 30 times
slower, which dominates the backward pass of a dilated network. Here the input gradient is a convolution with the mirrored
kernel, and the other weight gradients are ours (`_depthwise_weights.py`). The values are the same.
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
        return depthwise_conv(x, self.weight, self.bias, padding=self.padding[0], dilation=self.dilation[0])


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


def depthwise_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, padding: int | str, stride: int = 1, dilation: int = 1
) -> Tensor:
    """Convolve each channel on its own.

    Args:
        x: [B, C, H, W].
        weight: [C, 1, k, k], k odd.
        bias: [C] or None.
        padding: zeros at each side; fast gradients want k // 2 times the dilation.
        stride: of the convolution; fast gradients want 1 where there is a dilation.
        dilation: of the kernel.

    Returns:
        [B, C, H', W'] in autocast's dtype where it is on.
    """
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    fits = padding == dilation * (weight.shape[-1] // 2) and (stride == 1 or dilation == 1)
    if learns and x.device.type == "cpu" and fits:
        out: Tensor = _Depthwise.apply(x, weight, bias, stride, dilation)  # type: ignore[no-untyped-call]
        return out
    return _convolve(x, weight, bias, padding, stride, dilation)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int | str, stride: int, dilation: int) -> Tensor:
    cast_bias = None if bias is None else bias.to(x.dtype)
    return channelwise(x, weight.to(x.dtype), cast_bias, stride, padding, dilation)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.dilation, ctx.has_bias = stride, dilation, bias is not None
        return _convolve(x, weight, bias, dilation * (weight.shape[-1] // 2), stride, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        incoming = gradients[0].contiguous(memory_format=torch.channels_last)
        for_x = for_weight = for_bias = None
        if ctx.needs_input_grad[0]:
            for_x = _input_gradient(x, incoming, weight, ctx.stride, ctx.dilation)
        if ctx.needs_input_grad[1]:
            for_weight = _weight_gradient(x, incoming, weight, ctx.stride, ctx.dilation).to(weight.dtype)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            for_bias = incoming.sum((0, 2, 3), dtype=torch.float32)
        return for_x, for_weight, for_bias, None, None


def _input_gradient(x: Tensor, incoming: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    """[B, C, H, W] for the gradient of the result, [B, C, H', W']."""
    reach = dilation * (weight.shape[-1] // 2)
    if stride == 1:
        return _convolve(incoming, weight.flip(2, 3), None, reach, 1, dilation)
    # with a stride, oneDNN takes ten times as long in bfloat16
    like_x = torch.empty_like(x, dtype=torch.float32)
    return _of_pytorch(like_x, incoming.float(), weight.float(), stride, [True, False, False])[0].to(x.dtype)


def _weight_gradient(x: Tensor, incoming: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    """[C, 1, k, k] for x [B, C, H, W] and the gradient of the result, [B, C, H', W']."""
    if weight.shape[-1] == 3 and dilation == 1:
        return _of_pytorch(x, incoming, weight.to(x.dtype), stride, [False, True, False])[1]
    from models.backbones._depthwise_weights import weight_gradient  # compiles, which only training needs

    return weight_gradient(x, incoming, weight.shape[-1], stride=stride, dilation=dilation)


def _of_pytorch(x: Tensor, incoming: Tensor, weight: Tensor, stride: int, wanted: list[bool]) -> tuple[Tensor, Tensor]:
    """Gradients for x and weight without dilation, those that are wanted."""
    gradients = torch.ops.aten.convolution_backward(
        incoming, x, weight, None, [stride] * 2, [weight.shape[-1] // 2] * 2, [1, 1], False, [0, 0], x.shape[1], wanted
    )
    return gradients[0], gradients[1]
