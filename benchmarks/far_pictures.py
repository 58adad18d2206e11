"""Which figure tells a picture that is far from what a segmenter learnt: its distance, its confidence, and others.

    LABELFACTORY_VOC_ANIMALS=DIR python -m benchmarks.far_pictures --learnt cat,cow,person [--seed 0]
    LABELFACTORY_VOC_ANIMALS=DIR python -m benchmarks.far_pictures --learnt demo

DIR is a folder in VOC layout with tags.csv and true masks. A segmenter with the packaged ImageNet weights learns some of the six
classes, or the drawn pictures of the demo; from true masks, which saves the rest of the line. Each figure is then compared between
photographs of the same classes that were not learnt from (`held out`) and other pictures:

    AUROC   probability that another picture has a higher figure than one held out
    noted   share above the limit, which 99 % of the photographs learnt from do not exceed (each measured without itself)

The share of the held out that is noted is the rate of false notes; 1 % is what the limit says.
"""

import argparse
import csv
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from labelfactory.dataset.images import Photograph, decode_photograph
from labelfactory.dataset.tensors import to_tensor
from labelfactory.learning import training
from labelfactory.learning.examples import MaskExamples
from labelfactory.learning.resume import Resume
from labelfactory.schema import VOID, Mask
from models.backbones._choice import start_backbone
from models.distance import FOLDS, LONG_SIDE, QUANTILE, features_of, measure
from models.grids import aligned_size, resize_images
from models.mask_objectives import MaskObjective
from models.segmenters import Segmenter, build_segmenter
from sources.demo import render_image
from stages.train_segmenter import TrainSegmenterConfig

VARIABLE = "LABELFACTORY_VOC_ANIMALS"
ANIMALS = {"cat", "cow", "dog", "horse", "person", "sheep"}
DEMO = "demo"
CPU = torch.device("cpu")
Floats = NDArray[np.float64]
SHORT = {
    "backbone": "efficientnet_lite0",
    "weights": "package",
    "freeze_stages": 5,
    "crop": 193,
    "long_side_min": 200,
    "long_side_max": 400,
    "epochs": 1,
}
"""What the short training sets in `train_segmenter`; the rest is as in params.yaml."""


@dataclass(frozen=True)
class Picture:
    """A picture that is read when it is needed, and its true mask."""

    photograph: Callable[[], Photograph]
    mask: Callable[[], Mask] | None = None


def animals(folder: Path, split: str, learnt: Sequence[str], *, known: bool) -> list[Picture]:
    """Photographs of a list that show, of the six classes, learnt ones alone (an animal among them), or none of these."""
    names = (folder / "classes.txt").read_text().split()
    with (folder / "tags.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == split]
    table = np.full(256, VOID, np.uint8)
    table[[0, *(names.index(name) for name in learnt)]] = np.arange(len(learnt) + 1)

    def picture(name: str) -> Picture:
        def mask() -> Mask:
            from PIL import Image  # stored palette indices

            with Image.open(folder / f"SegmentationClass/{name}.png") as opened:
                return table[np.asarray(opened)]

        return Picture(lambda: decode_photograph((folder / f"JPEGImages/{name}.jpg").read_bytes()), mask)

    def wanted(tags: set[str]) -> bool:
        return tags <= set(learnt) and bool(tags - {"person"}) if known else not tags & set(learnt)

    return [picture(row["image_id"]) for row in rows if wanted(set(row["tags"].split("|")) & ANIMALS)]


def drawn(first: int, count: int, seed: int) -> list[Picture]:
    """Pictures of the demo."""
    numbers = range(first, first + count)
    return [Picture(lambda k=k: render_image(k, seed)[0], lambda k=k: render_image(k, seed)[1]) for k in numbers]  # type: ignore[misc]


def page(rng: np.random.Generator) -> Photograph:
    """Lines of letters on white."""
    pixels = np.full((320, 240, 3), 245, np.uint8)
    for y in range(20, 300, 14):
        letters = "".join(map(chr, rng.integers(97, 123, 22)))
        cv2.putText(pixels, letters, (12, y), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (20, 20, 20), 1)
    return pixels


def made(pixels: Photograph) -> Picture:
    """A picture of these pixels."""
    return Picture(lambda: pixels)


def other_pictures(held_out: Sequence[Picture]) -> Iterator[tuple[str, list[Picture]]]:
    """Pictures of other kinds, and those held out after a change."""
    rng = np.random.default_rng(9)
    size = (240, 320, 3)
    yield "noise", [made(rng.integers(0, 256, size, dtype=np.uint8)) for _ in range(20)]
    yield "one colour", [made(np.full(size, rng.integers(0, 256, 3), np.uint8)) for _ in range(20)]
    yield "page of text", [made(page(rng)) for _ in range(20)]
    changes: dict[str, Callable[[Photograph], Any]] = {
        "blurred": lambda p: cv2.GaussianBlur(p, (0, 0), 6),
        "dark": lambda p: (p * 0.15).astype(np.uint8),
        "negative": lambda p: 255 - p,
        "grey": lambda p: np.repeat(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2),
        "on its side": lambda p: np.ascontiguousarray(np.rot90(p)),
        "upside down": lambda p: np.ascontiguousarray(p[::-1, ::-1]),
    }
    for name, change in changes.items():
        yield name, [Picture(lambda p=p, c=change: c(p.photograph())) for p in held_out[:30]]  # type: ignore[misc]


def train(pictures: Sequence[Any], classes: int, *, steps: int, seed: int) -> Segmenter:
    """A segmenter after a short training."""
    given = yaml.safe_load(Path("params.yaml").read_text())["train_segmenter"]
    cfg = TrainSegmenterConfig(**{**given, **SHORT, "least_steps": steps, "seed": seed})
    torch.manual_seed(seed)
    backbone = start_backbone(cfg)
    pretrained = backbone.published_parameters()
    net = build_segmenter(backbone, {"net": cfg.net.model_dump(mode="json"), "classes": classes})
    learner = cfg.objective.subclass_of(MaskObjective)(net, cfg.objective)
    examples = MaskExamples(pictures, lambda record: (record.mask(), None), cfg)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        resume = Resume(Path(folder) / "state", "")
        model, _ = training.fit(
            learner, examples, cfg, pretrained=pretrained, title="train", resume=resume, ema_decay=cfg.ema_decay
        )
    assert isinstance(model, Segmenter)
    return model


@torch.no_grad()
def outputs(net: Segmenter, photographs: Sequence[Photograph]) -> dict[str, Floats]:
    """Figures of the net's own output at one scale, [N, 1]: higher where it is less sure."""
    rows = []
    for photograph in photographs:
        image = to_tensor(photograph)[None]
        height, width = image.shape[-2:]
        size = aligned_size(height, width, stride=16, scale=LONG_SIDE / max(height, width))
        logits = net(resize_images(image, size)).double()
        best, energy = logits.softmax(dim=1).amax(dim=1).mean(), logits.logsumexp(dim=1).mean()
        rows.append((1 - float(best), -float(energy)))
    return {name: np.array([row[k : k + 1] for row in rows]) for k, name in enumerate(("unsure", "energy"))}


Distances = Callable[[Floats], Floats]
"""Features [N, D] to figures [N]."""


def taken(features: Floats) -> Distances:
    """That of models/distance.py; its limit does not matter here."""
    distance = measure(features)
    assert distance is not None
    return distance.of


def full_covariance(features: Floats) -> Distances:
    """Mahalanobis distance with all directions; Ledoit and Wolf 2004 shrink the covariance towards a multiple of one."""
    mean = features.mean(axis=0)
    centred = features - mean
    count, depth = centred.shape
    covariance = centred.T @ centred / count
    scale = np.trace(covariance) / depth
    spread = ((covariance - scale * np.eye(depth)) ** 2).sum()
    noise = min(spread, ((centred**2).sum(axis=1) ** 2).sum() / count**2 - (covariance**2).sum() / count)
    share = noise / spread
    inverse = np.linalg.inv(share * scale * np.eye(depth) + (1 - share) * covariance)
    return lambda x: np.sqrt(np.einsum("ij,jk,ik->i", x - mean, inverse, x - mean, optimize=True))


def nearest(features: Floats, k: int = 10) -> Distances:
    """Distance to the tenth nearest photograph (Sun et al. 2022, arXiv:2204.06507)."""
    return lambda x: np.stack([np.sort(np.linalg.norm(features - row, axis=1))[k - 1] for row in x])


def centre(features: Floats) -> Distances:
    """Distance to the mean."""
    return lambda x: np.linalg.norm(x - features.mean(axis=0), axis=1)


def itself(features: Floats) -> Distances:
    """The figure that is given."""
    return lambda x: x[:, 0]


def auroc(held_out: Floats, others: Floats) -> float:
    """Probability that one of the others is higher, ties counted half."""
    return float(((others[:, None] > held_out) + 0.5 * (others[:, None] == held_out)).mean())


def main() -> None:
    """Print a table: a figure a row, a kind of pictures a column."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--learnt", default="cat,cow,person", help="classes of the six, or demo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photographs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    training.cores = lambda: args.threads
    folder, rng = Path(os.environ[VARIABLE]), np.random.default_rng(args.seed)

    def some(pictures: Sequence[Picture], count: int) -> list[Picture]:
        return [pictures[k] for k in rng.permutation(len(pictures))[:count]]

    if args.learnt == DEMO:
        learnt, held_out = drawn(0, args.photographs, args.seed), drawn(10_000, 120, args.seed)
        groups = {"photographs": some(animals(folder, "val", sorted(ANIMALS), known=True), 120)}
        classes = 1 + max(int(k) for p in learnt[:40] if p.mask is not None for k in np.unique(p.mask()) if k != VOID)
    else:
        names = args.learnt.split(",")
        classes = len(names) + 1
        learnt = some(animals(folder, "train_aug", names, known=True), args.photographs)
        held_out = some(animals(folder, "val", names, known=True), 120)
        groups = {"other animals": some(animals(folder, "val", names, known=False), 120), "drawn": drawn(0, 60, 0)}
    groups |= dict(other_pictures(held_out))
    began = time.perf_counter()
    net = train(learnt, classes, steps=args.steps, seed=args.seed)
    trained = time.perf_counter() - began
    began = time.perf_counter()
    measure(features_of(net.backbone, (p.photograph() for p in learnt), CPU))
    seconds = time.perf_counter() - began
    print(f"learnt {args.learnt}: {len(learnt)} photographs, seed {args.seed}; held out {len(held_out)}")
    print(f"training of {args.steps} steps {trained:.0f} s, pass for the distance {seconds:.1f} s")
    table = {name: figures_of(net, pictures) for name, pictures in {"": learnt, "held out": held_out, **groups}.items()}
    show(table)


def figures_of(net: Segmenter, pictures: Sequence[Picture]) -> dict[str, Floats]:
    """What the figures are computed from: name → [N, D]."""
    photographs = [picture.photograph() for picture in pictures]
    both = features_of(net.backbone, photographs, CPU)
    deep = net.backbone.channels[3]
    return {"c4+c5": both, "c5": both[:, -deep:], **outputs(net, photographs)}


METHODS: Mapping[str, tuple[str, Callable[[Floats], Distances]]] = {
    "distance, c4 and c5 (taken)": ("c4+c5", taken),
    "the same, c5 alone": ("c5", taken),
    "full covariance, c4 and c5": ("c4+c5", full_covariance),
    "10th nearest, c4 and c5": ("c4+c5", nearest),
    "10th nearest, c5": ("c5", nearest),
    "from the mean, c5": ("c5", centre),
    "1 − confidence": ("unsure", itself),
    "−energy": ("energy", itself),
}


def show(table: Mapping[str, Mapping[str, Floats]]) -> None:
    """Print the table as Markdown; pictures learnt from are those under the empty name."""
    kinds = [name for name in table if name not in ("", "held out")]
    print("| figure | held out, noted | " + " | ".join(kinds) + " |\n" + "|---" * (len(kinds) + 2) + "|")
    for title, (source, method) in METHODS.items():
        learnt = table[""][source]
        part = np.arange(len(learnt)) % FOLDS
        without = [method(learnt[part != k])(learnt[part == k]) for k in range(FOLDS)]
        if method is taken:  # a distance is in units of its own limit
            limit, figure = 1.0, taken(learnt)
        else:
            limit, figure = float(np.quantile(np.concatenate(without), QUANTILE, method="higher")), method(learnt)
        held_out = figure(table["held out"][source])
        cells = []
        for kind in kinds:
            others = figure(table[kind][source])
            cells.append(f"{auroc(held_out, others):.2f}, {100 * (others > limit).mean():.0f} %")
        print(f"| {title} | {100 * (held_out > limit).mean():.1f} % | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
