"""A project in which tournaments can be played without running a stage: code, parameters, an import, and runs that are made up."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from workspace import ROOT

from flows.tournaments.jobs import Job
from flows.tournaments.nodes import DONE
from labelfactory.dataset.manifest import Entry, Manifest, write_manifest
from labelfactory.dataset.tables import HEAD
from labelfactory.digests import digest_bytes
from labelfactory.rows.scored import LISTS, PIXELS_TYPE, SCORED_IMAGES, cells_to_value, pixels_column
from labelfactory.schema import Classes
from labelfactory.settings.wiring import METRICS, read_wiring

CLASSES = ("cat", "dog")
PIXELS = 100
"""Of each image: half background, half its class."""


def make_project(folder: Path, images: int = 40) -> None:
    """Code, parameters, and an import of so many photographs on the list train, eight on val, that nobody opens."""
    for name in ("params.yaml", "dvc.yaml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    for name in ("labelfactory", "models", "reporting", "stages"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data/import").mkdir(parents=True)
    entries = [entry(k, "train") for k in range(images)] + [entry(images + k, "val") for k in range(8)]
    (folder / "masks").mkdir()
    for each in entries:
        (folder / each.mask_path).touch()
    manifest = Manifest(Classes(CLASSES), {1: 1, 2: 2}, "made up", tuple(entries))
    write_manifest(manifest, folder / "data/import/manifest.parquet")


def entry(number: int, split: str) -> Entry:
    """One photograph of a cat or a dog, with a true mask."""
    name = f"image-{number:03d}"
    return Entry(
        image_id=name,
        path=f"photographs/{name}.jpg",
        sha256=digest_bytes(name.encode()),
        lists=(split,),
        tags=(CLASSES[number % 2],),
        mask_path=f"masks/{name}.png",
        mask_sha256=digest_bytes(b"mask of " + name.encode()),
    )


def scored_run(
    job: Job, hits: Mapping[int, float], *, split: str = "train", score: str = "seeds", background: float = 1.0
) -> None:
    """Write what `evaluate` would: each image has its class right on a share of the 50 pixels that show it.

    Args:
        job: the run.
        hits: image number → that share.
        split, score: what is scored.
        background: the share of the background that is right.
    """
    folder = job.node.folder
    for node in job.node.chain:
        node.folder.mkdir(parents=True, exist_ok=True)
        cost = {"seconds": 10.0, "memory_mb": 100, "pace": {"units": 24, "seconds": 10.0}, "places": node.places}
        (node.folder / DONE).write_text(json.dumps({"stage": node.stage, "key": node.key, **cost}))
    total, rows = np.zeros((3, 3)), []
    for number, share in hits.items():
        own = 1 + number % 2
        right = round(PIXELS // 2 * share)
        empty = round(PIXELS // 2 * background)
        cells = np.array(
            [[0, 0, empty], [0, own, PIXELS // 2 - empty], [own, 0, PIXELS // 2 - right], [own, own, right]], np.uint32
        )
        cells = cells[cells[:, 2] > 0]
        for truth, predicted, pixels in cells:
            total[truth, predicted] += pixels
        pixels = {pixels_column(score): cells_to_value(cells)}
        rows.append({"image_id": f"image-{number:03d}", LISTS: [split], score: 0.5, **pixels, "truth": b""})
    union = total.sum(axis=0) + total.sum(axis=1) - np.diag(total)
    iou = np.diag(total) / np.maximum(union, 1)
    (folder / SCORED_IMAGES.parent).mkdir(parents=True, exist_ok=True)
    lists = {"name": split, "kind": "list", "digest": "0" * 64, "rows": len(rows), "classes": list(CLASSES)}
    schema = pa.schema(
        [
            ("image_id", pa.string()),
            (LISTS, pa.list_(pa.string())),
            (score, pa.float32()),
            (pixels_column(score), PIXELS_TYPE),
            ("truth", pa.binary()),
        ]
    ).with_metadata({HEAD: json.dumps({"measured": [lists]})})
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / SCORED_IMAGES, write_page_checksum=True)
    names = ("background", *CLASSES)
    figures = {f"iou/{split}/{score}/{name}": float(value) for name, value in zip(names, iou, strict=True)}
    (folder / METRICS).write_text(json.dumps({f"miou/{split}/{score}": float(iou.mean()), **figures}))


def unscored_run(job: Job, guess: float) -> None:
    """Write what a run leaves where there are no true masks: the colours that the seeds explain, and nothing scored."""
    scored_run(job, {0: 1.0})
    (job.node.folder / METRICS).write_text(json.dumps({"true_masks": 0}))
    noun = read_wiring()["calibrate_seeds"].noun
    chooser = next(node for node in job.node.chain if node.stage == "calibrate_seeds")
    folder = chooser.folder / "data" / noun
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evidence.csv").write_text(f"threshold,J,explained\n0.1,0.9,0.01\n0.2,0.8,{guess}\n")


def performing(shares: Mapping[str, Callable[[int], float]], performed: list[str]) -> Callable[[Job], None]:
    """Performs runs by a made-up share of right pixels: contender → image number → share."""

    def perform(job: Job) -> None:
        performed.append(f"{job.entrant.name} {job.seed} {job.node.selection.images}")
        chosen = sorted(pq.read_table(job.node.selection.folder / "manifest.parquet")["image_id"].to_pylist())
        numbers = [int(name.rpartition("-")[2]) for name in chosen]
        on_list = numbers[: job.node.selection.images]
        scored_run(job, {k: shares[job.entrant.name](k) for k in on_list})

    return perform
