"""Seconds of a network in 32 bits and in bfloat16 on this device, and what `precision: auto` chooses here.

    python -m benchmarks.precision [--repeats 6] [--threads 2]

The two take turns; the median of each is shown. Random weights and pixels: neither changes the time.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from labelfactory.devices import FabricPrecision, has_bfloat16, pick_device
from labelfactory.measured_precision import processor, quicker_precision
from models.autocast import inference_precision
from models.backbones import build_backbone

BATCH, SIDE = 4, 257
PRECISIONS: tuple[FabricPrecision, ...] = ("32-true", "bf16-mixed")


def seconds_of(work: Callable[[], None], device: torch.device) -> float:
    """Seconds until the device has finished the work."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def main() -> None:
    """Print one line for training and one for inference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    device = pick_device()
    net = build_backbone("efficientnet_lite2", output_stride=16, state=None, pretrained=False).to(device)
    pixels = torch.randn(BATCH, 3, SIDE, SIDE, device=device)

    def train(precision: FabricPrecision) -> None:
        with inference_precision(precision, net, pixels):
            deepest = net(pixels)[-1]
        deepest.float().mean().backward()

    @torch.no_grad()
    def infer(precision: FabricPrecision, images: Tensor = pixels) -> None:
        with inference_precision(precision, net, images):
            net(images)

    print(f"efficientnet_lite2 at stride 16, {BATCH} × {SIDE}×{SIDE}, on {device} with {args.threads} threads")
    for name, work in (("forward and backward", train), ("forward", infer)):
        taken: dict[FabricPrecision, list[float]] = {precision: [] for precision in PRECISIONS}
        for repeat in range(args.repeats + 1):
            for precision in PRECISIONS:
                seconds = seconds_of(lambda p=precision, w=work: w(p), device)  # type: ignore[misc]
                if repeat:  # the first of each warms up
                    taken[precision].append(seconds)
        plain, mixed = (statistics.median(taken[precision]) for precision in PRECISIONS)
        print(f"{name}: 32-true {plain:.3f} s, bf16-mixed {mixed:.3f} s, {mixed / plain:.2f} times as long")
    for precision in PRECISIONS:
        unseen = [torch.randn(BATCH, 3, SIDE, SIDE + 16 * k, device=device) for k in (1, 2, 3)]
        first = [seconds_of(lambda p=precision, x=x: infer(p, x), device) for x in unseen]  # type: ignore[misc]
        print(f"forward, a size that was not seen before: {precision} {statistics.median(first):.3f} s")
    for work, seconds in (("training", train), ("inference", infer)):
        print(f"auto, {work}: {quicker_precision(net, work, device, seconds)}")
    print(f"on {processor()}; bfloat16 of its own: {has_bfloat16(device)}")


if __name__ == "__main__":
    main()
