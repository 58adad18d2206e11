"""The fast gradients of depthwise convolutions are those of PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F

from models.backbones._convolution import convolve
from models.backbones._depthwise_weights import weight_gradient


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (1, 2), (1, 3), (1, 9), (2, 1), (3, 1)])
@pytest.mark.parametrize("size", [(9, 9), (8, 11), (17, 6)])
@pytest.mark.parametrize(("channels", "with_bias"), [(6, True), (6, False), (70, False)])
def test_values_and_gradients_are_those_of_a_plain_convolution(kernel, stride, dilation, size, channels, with_bias):
    """Odd and even sides, kernels that reach out of the map, channels that fill no register: all three gradients agree."""
    torch.manual_seed(0)
    x = torch.randn(2, channels, *size, requires_grad=True)
    weight = torch.randn(channels, 1, kernel, kernel, requires_grad=True)
    bias = torch.randn(channels, requires_grad=True) if with_bias else None
    leaves = [t for t in (x, weight, bias) if t is not None]
    padding = dilation * (kernel // 2)

    plain = F.conv2d(x, weight, bias, stride, padding, dilation, channels)
    push = torch.randn_like(plain)
    wanted = torch.autograd.grad(plain, leaves, push)
    fast = convolve(x, weight, bias, padding=padding, stride=stride, dilation=dilation, groups=channels)
    found = torch.autograd.grad(fast, leaves, push)

    torch.testing.assert_close(fast, plain)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_gradient_does_not_depend_on_the_number_of_threads(monkeypatch):
    """A resumed training may have other cores."""
    torch.manual_seed(0)
    x, push = torch.randn(2, 150, 9, 9), torch.randn(2, 150, 9, 9)
    found = []
    for threads in (1, 2, 3, 16):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=threads: n)
        found.append(weight_gradient(x, push, 5, stride=1, padding=4, dilation=2))
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_autocast_computes_in_its_dtype_and_gives_gradients_in_that_of_the_weights():
    """Under bf16 the result is bf16 and near the float32 one; the weight's gradient is float32."""
    torch.manual_seed(0)
    x, weight = torch.randn(2, 8, 9, 9), torch.randn(8, 1, 5, 5, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = convolve(x, weight, None, padding=4, dilation=2, groups=8)
    (gradient,) = torch.autograd.grad(out.float().sum(), weight)
    assert out.dtype == torch.bfloat16
    assert gradient.dtype == torch.float32
    torch.testing.assert_close(
        out.float(), convolve(x, weight, None, padding=4, dilation=2, groups=8).detach(), rtol=0.05, atol=0.2
    )


@pytest.mark.parametrize("activation", ["relu", "relu6"])
@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_an_activation_in_the_same_pass_changes_no_value_and_no_gradient(activation, groups, dtype):
    """With and without gradients, in each dtype that a network is computed in."""
    torch.manual_seed(0)
    x = (4 * torch.randn(2, 8, 9, 7)).to(dtype).requires_grad_()
    weight = torch.randn(8, 8 // groups, 3, 3).to(dtype).requires_grad_()
    bias = torch.randn(8).to(dtype).requires_grad_()
    apart = getattr(F, activation)(F.conv2d(x, weight, bias, 1, 1, 1, groups))
    push = torch.randn_like(apart)
    wanted = torch.autograd.grad(apart, (x, weight, bias), push)

    joined = convolve(x, weight, bias, padding=1, groups=groups, activation=activation)
    found = torch.autograd.grad(joined, (x, weight, bias), push)
    with torch.no_grad():
        inferred = convolve(x, weight, bias, padding=1, groups=groups, activation=activation)

    near = {"rtol": 0.02, "atol": 0.1} if dtype is torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-4}
    assert 0 < int((apart == 0).sum()) < apart.numel()
    torch.testing.assert_close(joined, apart, **near)
    torch.testing.assert_close(inferred, joined, rtol=0, atol=0)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, **near)


def test_without_onednn_the_values_are_the_same(monkeypatch):
    """As on a Mac."""
    torch.manual_seed(0)
    x, weight = torch.randn(1, 4, 6, 6).bfloat16(), torch.randn(4, 4, 1, 1).bfloat16()
    there = convolve(x, weight, None, activation="relu6")
    monkeypatch.setattr("models.backbones._convolution._fuses", lambda dtype: False)
    torch.testing.assert_close(convolve(x, weight, None, activation="relu6"), there, rtol=0.02, atol=0.02)
