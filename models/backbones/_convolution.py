"""Convolutions of the backbones: with their activation in one pass on a CPU, with gradients that are fast there, and
depthwise ones without cuDNN on a GPU.

oneDNN has a fast weight gradient for depthwise 3×3 kernels without dilation only; others take a path that was measured 10 to 30
times slower, which dominates the backward pass of a dilated network. Here the input gradient is a convolution with the mirrored
kernel, and the other weight gradients are ours (`_depthwise_weights.py`). The values are the same.

In bfloat16 a pass of its own over the features takes as long as a 1×1 convolution: oneDNN applies the activation to what it has
in registers. In float32 such a pass is short, and oneDNN took 250 MB more for a photograph of 0.7 megapixels.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Activation = Literal["none", "relu", "relu6"]
_TOP = {"relu": float("inf"), "relu6": 6.0}
_ONEDNN: dict[Activation, tuple[str, list[float]]] = {
    "none": ("none", []),
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
}


class _Geometry(NamedTuple):
    """Of a convolution, equal along rows and columns."""

    stride: int
    padding: int
    dilation: int
    groups: int


class DepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` with as many groups as channels."""

    def __init__(self, channels: int, kernel: int, *, padding: int, dilation: int) -> None:
        super().__init__(channels, channels, kernel, padding=padding, dilation=dilation, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, H', W'] as `nn.Conv2d` does."""
        padding, dilation = int(self.padding[0]), self.dilation[0]
        return convolve(x, self.weight, self.bias, padding=padding, dilation=dilation, groups=self.groups)


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: the grid is ceil(size / stride) for any size.

    On an even size a stride of 2 picks the odd positions, on an odd size the even ones.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int, dilation: int, groups: int) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, dilation=dilation, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pad and convolve [B, inputs, H, W] to [B, outputs, ceil(H / stride), ceil(W / stride)]."""
        x, padding = self.padded(x)
        shape: dict[str, Any] = {
            "stride": self.stride[0],
            "padding": padding,
            "dilation": self.dilation[0],
            "groups": self.groups,
        }
        return convolve(x, self.weight, self.bias, **shape)

    def padded(self, x: Tensor) -> tuple[Tensor, int]:
        """What is to be convolved, and with which padding: x itself where all sides are padded alike."""
        reach = self.dilation[0] * (self.kernel_size[0] - 1)
        top, bottom = _same_padding(x.shape[-2], self.stride[0], reach)
        left, right = _same_padding(x.shape[-1], self.stride[0], reach)
        if top == bottom == left == right:
            return x, top
        return F.pad(x, (left, right, top, bottom)), 0


def _same_padding(size: int, stride: int, reach: int) -> tuple[int, int]:
    """Zeros before and after a side of `size`; `reach` is dilation × (kernel − 1).

    In integers: for a symbolic side (exports/_package.py) the terms cancel, where quotients would accumulate layer by layer.
    """
    total = max(((size + stride - 1) // stride - 1) * stride + reach + 1 - size, 0)
    return total // 2, total - total // 2


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    activation: Activation = "none",
) -> Tensor:
    """Convolve, and apply an activation.

    Args:
        x: [B, C, H, W].
        weight: [C', C / groups, k, k].
        bias: [C'] or None.
        stride: of the convolution.
        padding: zeros at each side.
        dilation: of the kernel.
        groups: 1, or C for each channel on its own.
        activation: of the result.

    Returns:
        [B, C', H', W'] in autocast's dtype where it is on.
    """
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    geometry = _Geometry(stride, padding, dilation, groups)
    learns = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, bias))
    if learns and x.device.type == "cpu":
        out: Tensor = _Convolution.apply(x, weight, bias, geometry, activation)  # type: ignore[no-untyped-call]
        return out
    return _convolved(x, weight, bias, geometry, activation)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: _Geometry, activation: Activation) -> Tensor:
    stride, padding, dilation, groups = geometry
    if activation != "none" and x.device.type == "cpu" and not torch.compiler.is_compiling() and _fuses(x.dtype):
        name, bounds = _ONEDNN[activation]
        sides = [padding] * 2, [stride] * 2, [dilation] * 2
        fused: Tensor = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *sides, groups, name, bounds, "")
        return fused
    with _without_cudnn(x.device) if groups > 1 else nullcontext():
        fresh = F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    return activated(fresh, activation)


def activated(fresh: Tensor, activation: Activation) -> Tensor:
    """The activation in place: the widest features of a photograph of 20 megapixels take 2 GB."""
    if activation == "none":
        return fresh
    return F.relu(fresh, inplace=True) if activation == "relu" else F.relu6(fresh, inplace=True)


@cache
def _fuses(dtype: torch.dtype) -> bool:
    """Whether oneDNN is to convolve with an activation in this dtype, and can on this processor.

    Unlike PyTorch's, its activations turn NaN into 0: a training looks at its weights for that (`fit`).
    """
    if dtype != torch.bfloat16:
        return False
    x = torch.full((1, 1, 1, 1), -1.0, dtype=dtype)
    try:
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, -7 * x, None, [0, 0], [1, 1], [1, 1], 1, "relu", [], ""
        )
        return float(out) == 0
    except (AttributeError, RuntimeError):  # another build of PyTorch
        return False


def _without_cudnn(device: torch.device) -> AbstractContextManager[object]:
    """For depthwise convolutions, PyTorch's kernels on a GPU.

    cuDNN (9.10 and later) compiles its kernels for these at run time, and photographs have many sizes: with
    EfficientNet-Lite2 on an H200 each new one took 2 s where a known one takes 8 ms (docs/experiments.md). A backward pass
    may still take cuDNN: crops have one size.

    Source: https://github.com/NVIDIA/cudnn-frontend/issues/1066
    """
    return torch.backends.cudnn.flags(enabled=False) if device.type == "cuda" else nullcontext()


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: _Geometry, activation: Activation
    ) -> Tensor:
        out = _convolved(x, weight, bias, geometry, activation)
        ctx.save_for_backward(x, weight, *([] if activation == "none" else [out]))
        ctx.geometry, ctx.activation, ctx.has_bias = geometry, activation, bias is not None
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        x, weight, *result = ctx.saved_tensors
        incoming = gradients[0].contiguous(memory_format=torch.channels_last)
        for out in result:
            incoming = torch.ops.aten.hardtanh_backward(incoming, out, 0.0, _TOP[ctx.activation])
        wanted = ctx.needs_input_grad[:2]
        if ctx.geometry.groups > 1:
            for_x, for_weight = _depthwise_gradients(x, incoming, weight, ctx.geometry, wanted)
        else:
            for_x, for_weight = _of_pytorch(x, incoming, weight, ctx.geometry, wanted)
        for_bias = None
        if ctx.has_bias and ctx.needs_input_grad[2]:
            for_bias = incoming.sum((0, 2, 3), dtype=torch.float32).to(weight.dtype)
        return for_x, for_weight, for_bias, None, None


Wanted = tuple[bool, bool]
"""Whether the gradients of x and of the weight are wanted."""


def _depthwise_gradients(
    x: Tensor, incoming: Tensor, weight: Tensor, geometry: _Geometry, wanted: Wanted
) -> tuple[Tensor | None, Tensor | None]:
    stride, padding, dilation, _ = geometry
    kernel = weight.shape[-1]
    for_x = for_weight = None
    if wanted[0] and stride == 1 and padding == dilation * (kernel // 2):
        for_x = _convolved(incoming, weight.flip(2, 3), None, geometry, "none")
    elif wanted[0]:  # with a stride, oneDNN takes ten times as long in bfloat16
        exact = (torch.empty_like(x, dtype=torch.float32), incoming.float(), weight.float())
        (for_x, _) = _of_pytorch(*exact, geometry, (True, False))
        for_x = None if for_x is None else for_x.to(x.dtype)
    if wanted[1] and (kernel, dilation) == (3, 1):
        (_, for_weight) = _of_pytorch(x, incoming, weight, geometry, (False, True))
    elif wanted[1]:
        from models.backbones._depthwise_weights import weight_gradient  # compiles, which only training needs

        found = weight_gradient(x, incoming, kernel, stride=stride, padding=padding, dilation=dilation)
        for_weight = found.to(weight.dtype)
    return for_x, for_weight


def _of_pytorch(
    x: Tensor, incoming: Tensor, weight: Tensor, geometry: _Geometry, wanted: Wanted
) -> tuple[Tensor | None, Tensor | None]:
    stride, padding, dilation, groups = ([n] * 2 for n in geometry)
    shape = (stride, padding, dilation, False, [0, 0], groups[0])
    gradients = torch.ops.aten.convolution_backward(incoming, x, weight, None, *shape, [*wanted, False])
    return gradients[0], gradients[1]
