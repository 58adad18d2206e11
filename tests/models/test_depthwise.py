"""The fast gradients of depthwise convolutions are those of PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F

from models.backbones._depthwise import depthwise_conv


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("size", [(9, 9), (8, 11), (17, 6)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_values_and_gradients_are_those_of_a_plain_convolution(kernel, dilation, size, with_bias):
    """Odd and even sides, both kernels, with and without dilation: result and all three gradients agree."""
    torch.manual_seed(0)
    x = torch.randn(2, 6, *size, requires_grad=True)
    weight = torch.randn(6, 1, kernel, kernel, requires_grad=True)
    bias = torch.randn(6, requires_grad=True) if with_bias else None
    leaves = [t for t in (x, weight, bias) if t is not None]
    push = torch.randn(2, 6, *size)

    plain = F.conv2d(x, weight, bias, 1, dilation * (kernel // 2), dilation, 6)
    wanted = torch.autograd.grad(plain, leaves, push)
    fast = depthwise_conv(x, weight, bias, dilation=dilation)
    found = torch.autograd.grad(fast, leaves, push)

    torch.testing.assert_close(fast, plain)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_autocast_computes_in_its_dtype_and_gives_gradients_in_that_of_the_weights():
    """Under bf16 the result is bf16 and near the float32 one; the weight's gradient is float32."""
    torch.manual_seed(0)
    x, weight = torch.randn(2, 8, 9, 9), torch.randn(8, 1, 5, 5, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = depthwise_conv(x, weight, None, dilation=2)
    (gradient,) = torch.autograd.grad(out.float().sum(), weight)
    assert out.dtype == torch.bfloat16
    assert gradient.dtype == torch.float32
    torch.testing.assert_close(out.float(), depthwise_conv(x, weight, None, dilation=2).detach(), rtol=0.05, atol=0.2)
