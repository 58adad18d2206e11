"""The science makes what it made before: losses of five steps, areas and mIoU of a small line, on the CPU in 32 bits.

All are held to 0.002: what another processor or number of threads rounds otherwise stays below that.
"""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden import FOLDER

from labelfactory.dataset.prepared import Dataset, ImageRecord, write_dataset
from labelfactory.digests import digest_bytes
from labelfactory.learning import training
from labelfactory.metrics import Confusion
from labelfactory.rows.reader import RowReader
from labelfactory.schema import VOID, Classes
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.runner import read_sections, stage_class
from models.seeds import scores_at_size

ROOT = Path(__file__).resolve().parents[2]
CODE = ("labelfactory", "models", "reporting", "sources", "stages", "dvc.yaml")
HEIGHT, WIDTH, IMAGES = 96, 128, 6
TOLERANCE = 0.002
LINE = (
    "train_classifier",
    "extract_cams",
    "calibrate_seeds",
    "label_affinity",
    "train_affinity",
    "random_walk",
    "calibrate_walks",
    "refine_crf",
    "train_segmenter",
    "segment_images",
    "rate_masks",
)


def drawn(k: int) -> tuple[np.ndarray, np.ndarray]:
    """A red square or a green disc on grey stripes, [H, W, 3] uint8, and its true mask, [H, W] uint8; integers alone."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    grey = 90 + (x * 3 + y * 5 + k * 7) % 64
    pixels = np.stack([grey] * 3, axis=2)
    down, right = y - 32 - 6 * k, x - 36 - 10 * k
    inside = down**2 + right**2 <= 20**2 if k % 2 else (abs(down) <= 20) & (abs(right) <= 20)
    pixels[inside] = (40, 190, 60) if k % 2 else (210, 50, 40)
    return pixels.astype(np.uint8), np.where(inside, 1 + k % 2, 0).astype(np.uint8)


@pytest.fixture
def line(tmp_path, monkeypatch) -> Path:
    """The data set and the code of the line; this process stands there and trains on one thread."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_WORKERS", "1")
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.setattr(training, "cores", lambda: 1)
    for name in CODE:
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copyfile(FOLDER / "params.yaml", tmp_path / "params.yaml")
    classes = Classes(("square", "disc"))
    records = []
    for k in range(IMAGES):
        pixels, _ = drawn(k)
        data = f"P6 {WIDTH} {HEIGHT} 255\n".encode() + pixels.tobytes()
        Path(f"{k}.ppm").write_bytes(data)
        tags = (classes.names[k % 2],)
        place = (k, WIDTH, HEIGHT, "train", 0, "ok", "")
        records.append(ImageRecord(f"{k}", f"{k}.ppm", digest_bytes(data), ("train",), tags, None, None, *place))
    dataset = Dataset(classes, {0: 0, 1: 1, 2: 2}, "train", "train", 0.0, tuple(records))
    write_dataset(dataset, Path("data/dataset/images.parquet"))
    return tmp_path


def run(name: str) -> dict[str, Any]:
    """One stage, as `python -m stages.<name>` runs it."""
    sections, kind = read_sections(), stage_class(name)
    stage = kind(sections[name], {other: sections[other] for other in kind.borrows})
    stage.output.mkdir(parents=True)
    return stage.run()


def losses(noun: str) -> list[float]:
    """The loss of each step: an epoch is one batch."""
    lines = Path("data", noun, "curve.csv").read_text().splitlines()
    place = lines[0].split(",").index("loss")
    return [float(text.split(",")[place]) for text in lines[1:]]


def of_each(noun: str, column: str, figure: Callable[[Any], Any]) -> list[float]:
    """A figure of each image's row."""
    rows = RowReader(Path("data", noun))
    return [float(figure(rows[image_id][column].astype(np.float64))) for image_id in sorted(rows.states)]


def area_above(least: float, scores: np.ndarray) -> float:
    """Share of the photograph where scores [K, h, w] reach a value; at its size: one cell of the grid is 0.005 of it."""
    return float((scores_at_size(scores, (HEIGHT, WIDTH)) >= least).mean())


def miou(noun: str, column: str) -> float:
    """Of masks at their photographs' size."""
    rows, confusion = RowReader(Path("data", noun)), Confusion(3)
    for k in range(IMAGES):
        confusion.add(drawn(k)[1], rows[f"{k}"][column])
    return confusion.miou()


def test_the_line_makes_the_same_figures(line, hold_golden):
    """Every stage that makes rows or a network, each on what the ones before it made."""
    assert set(LINE) <= read_wiring().keys()
    made = {name: run(name) for name in LINE}
    figures = {
        "losses": {noun: losses(noun) for noun in ("classifier", "affinity", "segmenter")},
        "mAP": made["train_classifier"]["map/train"],
        "CAMs, mean": of_each("cams", "cam", np.mean),
        "CAMs, area above 0.5": of_each("cams", "cam", partial(area_above, 0.5)),
        "affinity labels, labelled area": of_each("affinity_labels", "label", lambda label: (label != VOID).mean()),
        "walks, mean": of_each("walks", "scores", np.mean),
        "walks, area above 0.75": of_each("walks", "scores", partial(area_above, 0.75)),  # half of them are near 0.5
        "masks, area of the background": of_each("masks", "area", lambda areas: areas[0]),
        "masks, mIoU": miou("masks", "mask"),
        "predictions, mean confidence": of_each("predictions", "mean_confidence", float),
        "predictions, mean probability of a channel": of_each("predictions", "probabilities", lambda p: p.mean() / 255),
    }
    assert all(len(each) == 5 for each in figures["losses"].values())
    hold_golden("science", figures, tolerance=TOLERANCE, by_number=False)
