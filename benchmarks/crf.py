"""The dense CRF beside pydensecrf on photographs of VOC: processor seconds of one core, equal labels, mIoU.

    LABELFACTORY_VOC_ANIMALS=DIR taskset -c 1 python -m benchmarks.crf [--images 60]

The two take turns over each photograph, on the classes that are in it. Scores are like those of a walk: the true mask smoothed,
at stride 8, with smooth noise of a seed of its own for each photograph; from both CRFs the same mIoU is wanted, not a high one.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from benchmarks.overhead import VARIABLE
from labelfactory.dataset.images import shrink
from labelfactory.metrics import Confusion
from labelfactory.schema import VOID
from models.refinement import pydensecrf
from models.refinement._crf import CrfConfig
from models.refinement._refined import scores_with_background
from models.refinement.dense_crf import DenseCrf
from models.seeds import channels_above, scores_at_size

CLASSES = ("cat", "cow", "dog", "horse", "person", "sheep")
IRN = CrfConfig(steps=10, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=50, bilateral_srgb=5, bilateral_compat=10)
PSA = CrfConfig(steps=10, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=80, bilateral_srgb=13, bilateral_compat=10)
STRIDE, SMOOTH, NOISE, THRESHOLD, GT_PROB = 8, 7.0, 0.2, 0.45, 0.7


class Case(NamedTuple):
    """One kind of run: its name, parameters on the whole photograph, the photograph's scale, the unary."""

    name: str
    config: CrfConfig
    scale: float
    of_labels: bool


CASES = (
    Case("IRN's kernels, labels", IRN, 1.0, True),
    Case("IRN's kernels, labels, half size", IRN, 0.5, True),
    Case("IRN's kernels, scores", IRN, 1.0, False),
    Case("PSA's kernels, labels", PSA, 1.0, True),
    Case("PSA's kernels, scores", PSA, 1.0, False),
)

COLUMNS = (
    "run",
    "pydensecrf",
    "ours",
    "faster",
    "with the lattice",
    "faster",
    "labels changed, %",
    "equal, %",
    "least",
    "mIoU before",
    "pydensecrf",
    "ours",
)


class Photograph(NamedTuple):
    """Pixels [H, W, 3] uint8, true mask [H, W] uint8 of class ids with void, scores [K, H, W], class id of each channel."""

    pixels: np.ndarray
    truth: np.ndarray
    scores: np.ndarray
    classes: list[int]

    def mask_of(self, probabilities: np.ndarray) -> np.ndarray:
        """Class ids [H, W] of probabilities [1 + K, h, w]."""
        channels = scores_at_size(probabilities, self.truth.shape).argmax(axis=0)
        return np.array([0, *self.classes], dtype=np.uint8)[channels]


def photographs(folder: Path, count: int) -> Iterator[Photograph]:
    """Every so many of the list `train`, those without one of the classes left out."""
    names = (folder / "classes.txt").read_text().split("\n")
    ids = [names.index(name) for name in CLASSES]
    listed = (folder / "ImageSets/train.txt").read_text().split()
    for number, image_id in enumerate(listed[:: max(1, len(listed) // count)][:count]):
        pixels = np.array(Image.open(folder / f"JPEGImages/{image_id}.jpg").convert("RGB"))
        mask = np.array(Image.open(folder / f"SegmentationClass/{image_id}.png"))
        truth = np.where(mask == 0, 0, VOID).astype(np.uint8)
        for ours, of_voc in enumerate(ids, start=1):
            truth[mask == of_voc] = ours
        classes = sorted({*truth.ravel().tolist()} - {0, VOID})
        if not classes:
            continue
        random = np.random.default_rng(number)
        scores = np.stack([_like_a_walk(truth == class_id, random) for class_id in classes])
        yield Photograph(pixels, truth, scores, classes)


def _like_a_walk(inside: np.ndarray, random: np.random.Generator) -> np.ndarray:
    height, width = inside.shape
    grid = -(-width // STRIDE), -(-height // STRIDE)
    smooth = cv2.resize(cv2.GaussianBlur(inside.astype(np.float32), (0, 0), SMOOTH), grid, interpolation=cv2.INTER_AREA)
    coarse = random.standard_normal((max(2, grid[1] // 4), max(2, grid[0] // 4))).astype(np.float32)
    noise = cv2.resize(coarse, grid, interpolation=cv2.INTER_CUBIC)
    return cv2.resize(np.clip(smooth + NOISE * noise, 0, 1), (width, height))


def run_case(case: Case, cases: list[Photograph]) -> str:
    """A line of the table."""
    config = case.config.scaled(case.scale)
    seconds, equal, changed = np.zeros(3), [], []
    before, theirs, ours = (Confusion(1 + len(CLASSES)) for _ in range(3))
    for photograph in cases:
        image = shrink(photograph.pixels, case.scale)
        scores = scores_at_size(photograph.scores, (image.shape[0], image.shape[1]))
        labels, dense = channels_above(scores, THRESHOLD), DenseCrf(image, config)
        if case.of_labels:
            given: tuple[Any, ...] = (labels, 1 + len(scores))
            run = partial(dense.refine_labels, gt_prob=GT_PROB)
            reference = partial(pydensecrf.refine_labels, image, gt_prob=GT_PROB, config=config)
        else:
            given = (scores_with_background(scores, THRESHOLD),)
            run = partial(dense.refine_scores)
            reference = partial(pydensecrf.refine_scores, image, config=config)
        made, fresh = timed(run, *given)
        _, again = timed(run, *given)
        expected, pydense = timed(reference, *given)
        seconds += fresh, again, pydense
        equal.append((made.argmax(axis=0) == expected.argmax(axis=0)).mean())
        changed.append((expected.argmax(axis=0) != labels).mean())
        before.add(
            photograph.truth, photograph.mask_of(np.eye(1 + len(scores), dtype=np.float32)[labels].transpose(2, 0, 1))
        )
        theirs.add(photograph.truth, photograph.mask_of(expected))
        ours.add(photograph.truth, photograph.mask_of(made))
    fresh, again, pydense = 1000 * seconds / len(cases)
    miou = " | ".join(f"{100 * confusion.miou():.2f}" for confusion in (before, theirs, ours))
    return (
        f"| {case.name} | {pydense:.0f} | {fresh:.0f} | {pydense / fresh:.1f} | {again:.0f} | {pydense / again:.1f} "
        f"| {100 * np.mean(changed):.1f} | {100 * np.mean(equal):.3f} | {100 * min(equal):.2f} | {miou} |"
    )


def timed(work: Callable[..., np.ndarray], *given: Any) -> tuple[np.ndarray, float]:
    """What it makes, and this process's seconds of processor."""
    began = time.process_time()
    made = work(*given)
    return made, time.process_time() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=60)
    args = parser.parse_args()
    cases = list(photographs(Path(os.environ[VARIABLE]), args.images))
    run_case(CASES[0], cases[:1])  # compiles
    channels = [1 + len(photograph.classes) for photograph in cases]
    print(f"{len(cases)} photographs, {np.mean(channels):.2f} channels on average, at most {max(channels)}; ms each")
    print(f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS), sep="\n")
    for case in CASES:
        print(run_case(case, cases), flush=True)


if __name__ == "__main__":
    main()
