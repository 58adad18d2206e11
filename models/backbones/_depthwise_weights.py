"""Weight gradient of a depthwise convolution of any kernel, stride and dilation, as machine code.

It runs near the processor's rate where oneDNN's general path takes 5 to 20 times as long (docs/experiments.md). Sums are float32,
in the order of the positions for each channel, whatever the number of threads.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch
import torch.nn.functional as F
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from models.compiled import compiled

LANES = 32
"""Channels that are summed at once: two registers of AVX-512, four of AVX2."""

Floats = NDArray[np.float32]


def weight_gradient(x: Tensor, incoming: Tensor, kernel: int, *, stride: int, padding: int, dilation: int) -> Tensor:
    """Gradient of the weights.

    Args:
        x: [B, C, H, W] on the CPU.
        incoming: the gradient of the result, [B, C, H', W'].
        kernel: k.
        stride: of the convolution.
        padding: zeros at each side.
        dilation: of the kernel.

    Returns:
        [C, 1, k, k] float32.
    """
    channels = x.shape[1]
    images, gradients = _rows(x), _rows(incoming)
    sums = np.zeros((kernel * kernel, images.shape[3]), np.float32)
    blocks = images.shape[3] // LANES
    threads = max(1, min(blocks, torch.get_num_threads()))
    shape = (sums, images, gradients, kernel, stride, padding, dilation)
    bounds = [blocks * part // threads * LANES for part in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        parts = [pool.submit(_add_gradients, *shape, first, last) for first, last in pairwise(bounds)]
        for part in parts:
            part.result()
    return torch.from_numpy(sums[:, :channels]).view(kernel, kernel, channels).permute(2, 0, 1)[:, None]


def _rows(x: Tensor) -> Floats:
    """[B, H, W, C] float32 in C order, C filled up with zeros to a multiple of the lanes."""
    missing = -x.shape[1] % LANES
    rows = x.detach().permute(0, 2, 3, 1).float()
    return np.ascontiguousarray((F.pad(rows, (0, missing)) if missing else rows).numpy())


@compiled
def _add_gradients(
    sums: Floats,
    images: Floats,
    gradients: Floats,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    first: int,
    last: int,
) -> None:
    """Add to the sums [k · k, C] of channels first … last."""
    batch, height, width, channels = images.shape
    rows, columns = gradients.shape[1:3]
    totals, pixels, pushes = sums.reshape(-1), images.reshape(-1), gradients.reshape(-1)
    for channel in range(first, last, LANES):
        for image in range(batch):
            for row in range(rows):
                for tap in range(kernel * kernel):
                    y = row * stride + tap // kernel * dilation - padding
                    shift = tap % kernel * dilation - padding
                    start = (max(0, -shift) + stride - 1) // stride
                    end = min(columns, (width - 1 - shift) // stride + 1)
                    if 0 <= y < height and start < end:
                        x = ((image * height + y) * width + start * stride + shift) * channels + channel
                        push = ((image * rows + row) * columns + start) * channels + channel
                        _add_products(
                            *(totals, tap * channels + channel, pixels, x, stride * channels),
                            *(pushes, push, channels, end - start),
                        )


@intrinsic  # type: ignore[untyped-decorator]
def _add_products(
    _: Any, totals: Any, at: Any, pixels: Any, pixel: Any, apart: Any, pushes: Any, push: Any, between: Any, count: Any
) -> Any:
    """totals[at + lane] += Σ_n pixels[pixel + n · apart + lane] · pushes[push + n · between + lane], n below `count`.

    In registers, which LLVM does not do by itself with such a loop.
    """
    signature = numba.types.void(totals, at, pixels, pixel, apart, pushes, push, between, count)
    return signature, _generate_products


def _generate_products(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    lanes = ir.VectorType(ir.FloatType(), LANES)
    totals, at, pixels, pixel, apart, pushes, push, between, count = arguments

    def place(argument: int, array: Any, offset: Any) -> Any:
        data = context.make_array(signature.args[argument])(context, builder, array).data
        return builder.bitcast(builder.gep(data, [offset]), lanes.as_pointer())

    def moved(index: Any, start: Any, step: Any) -> Any:
        return builder.add(start, builder.mul(index, step))

    def load(pointer: Any) -> Any:
        loaded = builder.load(pointer)
        loaded.align = 4
        return loaded

    total = cgutils.alloca_once(builder, lanes)
    builder.store(load(place(0, totals, at)), total)
    with cgutils.for_range(builder, count) as loop:
        left = load(place(2, pixels, moved(loop.index, pixel, apart)))
        right = load(place(5, pushes, moved(loop.index, push, between)))
        product = builder.fmul(left, right, flags=("contract",))
        builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
    builder.store(builder.load(total), place(0, totals, at)).align = 4
    return context.get_dummy_value()
