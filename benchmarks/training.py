"""Seconds of a training step of each network, and of a photograph at four scales, with the code of an earlier commit and now.

    python -m benchmarks.training --before COMMIT [--rounds 3] [--steps 4] [--threads 2] [--only NAME…]

Batches, crops and frozen stages are those of the profile voc-animals-cpu: EfficientNet-Lite2, a classifier of 16 × 257², an
affinity network of 16 × 321², a segmenter (and so a teacher) of 8 × 257². The two codes take turns, each in a process of its own; a
step is that of the quickest process, by the clock and in brackets of the processors. `rate` is the share of a matrix product's
rate that the multiplications of the present step reach: those of plain convolutions and their gradients, without those of
depthwise ones.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = ("classifier", "affinity network", "segmenter", "photograph")
PRECISIONS = ("32-true", "bf16-mixed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required="--one" not in sys.argv, help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(*options.one, steps=options.steps, threads=options.threads)))
        return
    print(
        f"load of the machine {os.getloadavg()[0]:.1f}; {options.threads} threads for training, one for the photograph"
    )
    with tempfile.TemporaryDirectory() as place:
        archive = subprocess.run(["git", "archive", options.before], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x"], input=archive, cwd=place, check=True)
        print(
            "\n| network | precision | before, s | now, s | ratio | memory, MB | rate |\n|---|---|---:|---:|---:|---:|---:|"
        )
        for name in options.only:
            for precision in PRECISIONS:
                before, now = turns(Path(place), name, precision, options)
                print(row(name, precision, before, now), flush=True)
    print(f"\nload of the machine {os.getloadavg()[0]:.1f}")


def turns(before: Path, name: str, precision: str, options: argparse.Namespace) -> tuple[dict[str, float], ...]:
    """The quickest process of each code."""
    found: list[list[dict[str, float]]] = [[], []]
    for _ in range(options.rounds):
        for tree, each in zip((before, ROOT), found, strict=True):
            words = ["--one", name, precision, "--steps", str(options.steps), "--threads", str(options.threads)]
            program = [sys.executable, str(Path(__file__).resolve()), *words]
            # threads wait as in the product, where labelfactory is loaded before torch
            variables = {**os.environ, "PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1", "OMP_WAIT_POLICY": "passive"}
            done = subprocess.run(program, env=variables, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr[-2000:])
            each.append(json.loads(done.stdout.splitlines()[-1]))
    return tuple(min(each, key=lambda result: result["processors"]) for each in found)


def row(name: str, precision: str, before: dict[str, float], now: dict[str, float]) -> str:
    """A line of the table."""
    times = " | ".join(f"{each['clock']:.2f} ({each['processors']:.2f})" for each in (before, now))
    ratio = f"{before['clock'] / now['clock']:.2f} ({before['processors'] / now['processors']:.2f})"
    products = max(before["products"], now["products"])
    rate = products / now["clock"] / now["rate"]
    return f"| {name} | {precision} | {times} | {ratio} | {before['memory']:.0f} → {now['memory']:.0f} | {100 * rate:.0f} % |"


def one(name: str, precision: str, *, steps: int, threads: int) -> dict[str, float]:
    """Seconds of the quickest step, greatest memory in MB, additions and multiplications of a step and of a matrix product."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Products(TorchDispatchMode):
        """Counts operations of convolutions of all channels with all."""

        total = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            name = func.overloadpacket.__name__
            if name in ("convolution", "_convolution_pointwise"):
                groups = args[8] if name == "convolution" else args[6]
                self.total += 2 * out.numel() * args[1][0].numel() * (groups == 1)
            if name == "convolution_backward":
                self.total += 2 * args[0].numel() * args[2][0].numel() * (args[9] == 1) * sum(args[10][:2])
            return out

    torch.manual_seed(0)
    torch.set_num_threads(1 if name == "photograph" else threads)
    work = photograph() if name == "photograph" else training(name)

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
            work()

    step()
    with Products() as counter:
        step()
    costs = []
    for _ in range(steps):
        began, spent = time.perf_counter(), time.process_time()
        step()
        costs.append((time.process_time() - spent, time.perf_counter() - began))
    processors, clock = min(costs)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    rate = product_rate(torch.rand(1024, 1024).to(dtype))
    return {
        "clock": clock,
        "processors": processors,
        "memory": memory,
        "products": counter.total,
        "rate": rate,
    }


def product_rate(square: Any) -> float:
    """Operations a second of the product of a square matrix with itself."""
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        square @ square
        seconds.append(time.perf_counter() - began)
    return 2 * float(square.shape[0]) ** 3 / min(seconds)


def training(name: str) -> Callable[[], None]:
    """A step on random pixels."""
    import torch

    from models.affinity.psa import build
    from models.backbones import build_backbone
    from models.backbones._fold import fold_norms
    from models.classifier import Classifier
    from models.segmenters.deeplab_v3 import build as build_segmenter

    keep_freed_memory()
    backbone = build_backbone("efficientnet_lite2", output_stride=16, state=None, pretrained=True)
    net: torch.nn.Module
    if name == "classifier":
        batch, side = 16, 257
        backbone.freeze(2)
        net = Classifier(backbone, 6)
    elif name == "affinity network":
        batch, side = 16, 321
        fold_norms(backbone)
        backbone.freeze(3)
        net = build(backbone, radius=5, depths=(32, 64, 128), width=128, learn_backbone=True)
    else:
        batch, side = 8, 257
        fold_norms(backbone)
        backbone.freeze(3)
        net = build_segmenter(backbone, 7, width=128, rates=(3, 6, 9))
    net.train()
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-6)
    pixels = torch.rand(batch, 3, side, side) * 255

    def step() -> None:
        net(pixels).float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def keep_freed_memory() -> None:
    """As `fit` does, where the code is new enough."""
    from labelfactory import devices

    getattr(devices, "keep_freed_memory", lambda: None)()


def photograph() -> Callable[[], None]:
    """A photograph of 375 × 500 at the four scales of `extract_cams`, features alone."""
    import torch
    import torch.nn.functional as F

    from models.backbones import build_backbone
    from models.backbones._fold import fold_norms

    backbone = build_backbone("efficientnet_lite2", output_stride=16, state=None, pretrained=True)
    fold_norms(backbone)
    backbone.eval()
    pixels = torch.rand(1, 3, 375, 500) * 255

    @torch.no_grad()
    def look() -> None:
        for scale in (0.5, 1.0, 1.5, 2.0):
            images = F.interpolate(pixels, scale_factor=scale, mode="bilinear")
            backbone.head(backbone(images).c5)

    return look


if __name__ == "__main__":
    main()
