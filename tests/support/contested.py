"""A tournament that was never run: contenders with gains, costs, failures and masks of drawn photographs."""

import random
from typing import Any

import numpy as np

from labelfactory.tournament import BASELINE, Contender, Guess, Results, Round, Run, ShownGain
from reporting.content import ContenderMask, ContestedPhotograph

CLASSES = ("background", "cat", "cow", "dog", "horse", "person", "sheep")
VERDICTS = {True: "better", False: "worse", None: "cannot be told"}


def shown_gain(value: float, half: float) -> ShownGain:
    """A gain with a symmetrical interval, and the word that follows from it."""
    certain = None if value - half <= 0 <= value + half else value > 0
    return ShownGain(value=value, low=value - half, high=value + half, verdict=VERDICTS[certain])


def contender(name: str, value: float | None = 0.02, half: float = 0.01, **fields: Any) -> Contender:
    """A contender that finished with two seeds; without a value it is one that has no score."""
    chance = random.Random(name)
    cost = fields.pop("cost", 1.3)
    if value is None:
        return Contender(name=name, **fields)
    runs = tuple(
        Run(
            seed=seed,
            score=0.6 + value + 0.004 * (2 * seed - 1),
            seconds=300 * (cost or 1),
            memory_mb=1400 + 300 * seed,
        )
        for seed in (0, 1)
    )
    made = {
        "overlay": {"train_classifier.objective": name},
        "supervision": ("imagenet-tags", "tags"),
        "state": "finished",
        "runs": runs,
        "score": 0.6 + value,
        "at_best": 0.61 + value,
        "guess": 0.4 + value / 2,
        "gain": shown_gain(value, half),
        "by_seed": {0: shown_gain(value + 0.002, half), 1: shown_gain(value - 0.002, half)},
        "gain_at_best": shown_gain(value * 0.8, half),
        "class_gains": {k: shown_gain(value + chance.uniform(-0.05, 0.05), 0.02) for k in CLASSES},
        "cost": cost,
    }
    return Contender(name=name, **{**made, **fields})


def baseline(**fields: Any) -> Contender:
    """The line as it stands."""
    plain = {"overlay": {}, "gain": None, "by_seed": {}, "gain_at_best": None, "class_gains": {}, "cost": 1.0}
    return contender(BASELINE, 0.0, **{**plain, **fields})


def tournament(*contenders: Contender, **fields: Any) -> Results:
    """The result with these contenders after the baseline."""
    made: dict[str, Any] = {
        "title": "objectives",
        "until": "seeds",
        "split": "train",
        "images": 437,
        "seeds": (0, 1),
        "classes": CLASSES,
        "with_truth": True,
        "guess": "colours that the seeds explain",
        "contenders": (baseline(), *contenders),
        "rounds": (Round(images=437, seeds=2, entered=(BASELINE, *(c.name for c in contenders))),),
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "dirty": False,
        "machine": "2 cores of a processor",
        "time": "2026-11-30 18:00",
        "settings": "a" * 64,
    }
    return Results(**{**made, **fields})


def full_tournament() -> Results:
    """One of each kind: better, worse, not told, dropped, failed and not finished."""
    return tournament(
        contender("seam", 0.034, 0.011, cost=2.4),
        contender("oaa", 0.021, 0.012, cost=1.2, supervision=("imagenet-tags", "tags", "saliency masks")),
        contender("oc_cse", 0.004, 0.013, cost=1.6),
        contender(
            "cian", -0.019, 0.012, cost=1.5, overlay={f"train_classifier.objective.knob_{k}": k / 7 for k in range(6)}
        ),
        contender("eps", -0.11, 0.02, cost=1.1, state="dropped"),
        contender(
            "puzzle", None, state="failed", problem="stage train_classifier: out of memory: 3.1 GB were asked for"
        ),
        contender("recam", None, state="not finished"),
        guess_was_right=Guess(tau=0.67, chosen="oaa", behind=0.013),
        partly=12,
        rounds=(
            Round(
                images=110,
                seeds=1,
                entered=(BASELINE, "seam", "oaa", "oc_cse", "cian", "eps", "puzzle", "recam"),
                dropped=("eps",),
            ),
            Round(images=449, seeds=2, entered=(BASELINE, "seam", "oaa", "oc_cse", "cian")),
        ),
    )


def contested(names: list[str], count: int = 3, *, truth: bool = True) -> list[ContestedPhotograph]:
    """Drawn photographs with a mask of each name; the last name has none on the first photograph."""
    made = []
    for k in range(count):
        rng = np.random.default_rng(k)
        height, width = ((240, 320), (320, 240), (200, 320))[k % 3]
        rows, columns = np.mgrid[:height, :width]
        photograph = np.stack([columns % 256, rows % 256, (rows + columns) % 256], axis=2).astype(np.uint8) // 2 + 60
        centre = rng.uniform(0.35, 0.65, 2) * (height, width)

        def mask(radius: float, k: int = k, grid: Any = (rows, columns), centre: Any = centre) -> np.ndarray:
            inside = np.hypot(grid[0] - centre[0], grid[1] - centre[1]) < radius
            return np.where(inside, np.uint8(1 + k % 6), np.uint8(0))

        masks = {n: ContenderMask(mask(40 + 7 * i), 0.4 + 0.03 * i) for i, n in enumerate(names)}
        if not k and len(names) > 1:
            masks.pop(names[-1])
        made.append(
            ContestedPhotograph(f"2007_{k:06d}", photograph, masks, mask(60) if truth else None, "most disputed")
        )
    return made
