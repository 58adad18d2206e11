"""Seconds and memory per image of CAM extraction, walk, CRF and scoring, each against its reference in the same run.

    python -m benchmarks [--images 12] [--threads 1]

References do what the authors' research scripts do: one forward pass for each scale and mirror image in float32; dense
squaring of the transition matrix; pydensecrf, one image after the other; one confusion matrix for each
threshold. The photographs are the rendered demo's, enlarged to 500 × 375. Each measurement has a process of its own.
"""

import argparse
import math
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.walk import dense, sparse
from labelfactory.dataset.tensors import to_tensor
from labelfactory.metrics import Confusion, ThresholdCurve
from labelfactory.pool.pool import process_pool
from models.autocast import inference_precision
from models.backbones import build_backbone
from models.backbones._fold import fold_norms
from models.cams import multiscale_cams
from models.classifier import Classifier
from models.propagation import chebyshev
from models.refinement import pydensecrf
from models.refinement._crf import CrfConfig
from models.refinement.dense_crf import DenseCrf
from sources.demo import render_image

SIZE = (375, 500)
SCALES = (0.5, 1.0, 1.5, 2.0)
CRF = CrfConfig(steps=10, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=50, bilateral_srgb=5, bilateral_compat=10)
GT_PROB = 0.7
THRESHOLDS = [k / 100 for k in range(1, 100)]
Task = Callable[[int], Iterator[None]]


def photographs(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Photographs [375, 500, 3] uint8 and true masks [375, 500] uint8."""
    pairs = [render_image(index, 0) for index in range(count)]
    turned = SIZE[::-1]
    return [
        (cv2.resize(image, turned), cv2.resize(mask, turned, interpolation=cv2.INTER_NEAREST)) for image, mask in pairs
    ]


def classifier(*, folded: bool) -> Classifier:
    """EfficientNet-Lite0 under a new linear layer for three classes."""
    torch.manual_seed(0)
    backbone = build_backbone("efficientnet_lite0", output_stride=16, state=None, pretrained=True)
    if folded:
        fold_norms(backbone)
    return Classifier(backbone, 3).eval()


def cams_ours(count: int) -> Iterator[None]:
    """Folded, in the precision that is quicker on this machine, an image and its mirror image in one batch."""
    net, ids = classifier(folded=True), [torch.tensor([0, 1])]
    for image, _ in photographs(count):
        pixels = to_tensor(image)
        with inference_precision("auto", net, pixels[None]):
            multiscale_cams(net, "cam", [pixels], class_ids=ids, scales=SCALES, flip=True)
        yield


@torch.no_grad()
def cams_reference(count: int) -> Iterator[None]:
    """One float32 pass for each scale and mirror image, each enlarged to the photograph's size."""
    net = classifier(folded=False)
    for image, _ in photographs(count):
        pixels = to_tensor(image)[None]
        total = torch.zeros(1, 3, *SIZE)
        for scale in SCALES:
            size = [round(side * scale) for side in SIZE]
            resized = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
            for mirrored in (False, True):
                view = resized.flip(3) if mirrored else resized
                maps = net.classifier(net.activation(view)).relu()
                total += F.interpolate(maps.flip(3) if mirrored else maps, size=SIZE, mode="bilinear")
        yield


def walk_inputs(count: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Features [128, 47, 63] and seeds [2, 47, 63] at stride 8."""
    random = torch.Generator().manual_seed(0)
    grid = [math.ceil(side / 8) for side in SIZE]
    for _ in range(count):
        yield torch.randn(128, *grid, generator=random).mul_(0.3), torch.rand(2, *grid, generator=random)


def walk_ours(count: int) -> Iterator[None]:
    """The Chebyshev series over shifted planes."""
    for features, scores in walk_inputs(count):
        sparse(chebyshev.walk, features, scores)
        yield


def walk_reference(count: int) -> Iterator[None]:
    """Eight squarings of the dense matrix in float32."""
    for features, scores in walk_inputs(count):
        dense(features, scores, torch.float32)
        yield


def crf_ours(count: int) -> Iterator[None]:
    """Processes of one thread each over all cores."""
    tasks = [(image, np.minimum(mask, 2)) for image, mask in photographs(count)]
    with process_pool(min(2, multiprocessing.cpu_count()), _nothing, ()) as submit:
        for _ in submit(_crf, tasks):
            yield


def _nothing() -> None:
    """No preparation is needed."""


def _crf(image: np.ndarray, labels: np.ndarray) -> float:
    return float(DenseCrf(image, CRF).refine_labels(labels.astype(np.int64), 3, gt_prob=GT_PROB).max())


def crf_reference(count: int) -> Iterator[None]:
    """pydensecrf, one image after the other, on all 21 classes of VOC."""
    for image, mask in photographs(count):
        pydensecrf.refine_labels(image, np.minimum(mask, 2).astype(np.int64), 21, gt_prob=GT_PROB, config=CRF)
        yield


def _scores(mask: np.ndarray, index: int) -> np.ndarray:
    noise = np.random.default_rng(index).random(mask.shape, dtype=np.float32)
    return np.clip(0.5 * (mask > 0) + 0.5 * noise, 0, 1)


def scoring_ours(count: int) -> Iterator[None]:
    """One pass for all thresholds."""
    curve = ThresholdCurve(6)
    for index, (_, mask) in enumerate(photographs(count)):
        curve.add(mask, np.maximum(mask, 1), _scores(mask, index))
        yield
    curve.curve()


def scoring_reference(count: int) -> Iterator[None]:
    """One confusion matrix for each threshold."""
    confusions = [Confusion(6) for _ in THRESHOLDS]
    for index, (_, mask) in enumerate(photographs(count)):
        scores, best = _scores(mask, index), np.maximum(mask, 1)
        for threshold, confusion in zip(THRESHOLDS, confusions, strict=True):
            confusion.add(mask, np.where(scores >= threshold, best, 0).astype(np.uint8))
        yield


PAIRS: dict[str, tuple[Task, Task]] = {
    "CAM extraction": (cams_ours, cams_reference),
    "walk, stride 8": (walk_ours, walk_reference),
    "CRF": (crf_ours, crf_reference),
    "scoring, 99 thresholds": (scoring_ours, scoring_reference),
}


def measure(name: str, which: int, count: int, threads: int) -> tuple[float, float]:
    """Seconds per image after the first, and peak memory in MiB, of one task in this process."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    steps = PAIRS[name][which](count + 1)
    next(steps)  # loading and warming up
    start = time.perf_counter()
    for _ in steps:
        pass
    seconds = (time.perf_counter() - start) / count
    own, child = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return seconds, max(own, child) / 1024


def alone(*task: Any) -> tuple[float, float]:
    """`measure` in a fresh process, so that its peak memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *task).result()


def main() -> None:
    """Print one line for each part of the line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=12, help="photographs of 500 × 375 in each measurement")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch and OpenCV")
    args = parser.parse_args()
    print(f"{args.images} images of {SIZE[1]} × {SIZE[0]}, {args.threads} threads, {multiprocessing.cpu_count()} cores")
    head = f"{'part':<24}{'s/image':>9}{'reference':>11}{'faster':>9}{'MiB':>7}{'reference':>11}{'of it':>7}"
    print(head, "-" * len(head), sep="\n")
    for name in PAIRS:
        (ours, memory), (theirs, their_memory) = (alone(name, which, args.images, args.threads) for which in (0, 1))
        print(
            f"{name:<24}{ours:>9.4f}{theirs:>11.4f}{theirs / ours:>8.1f}x"
            f"{memory:>7.0f}{their_memory:>11.0f}{memory / their_memory:>7.2f}"
        )
