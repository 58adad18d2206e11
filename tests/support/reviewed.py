"""A project whose masks, predictions and expected areas nobody's stage made, and true masks that only a test knows."""

import csv
import dataclasses
import hashlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Workspace
from passports import passport
from PIL import Image
from workspace import ROOT

from labelfactory.dataset.audits import read_sample
from labelfactory.dataset.images import encode_mask
from labelfactory.digests import digest_json
from labelfactory.learning.checkpoints import CHECKPOINT, save_checkpoint
from labelfactory.review.areas import areas_of
from labelfactory.rows.columns import ArrayColumn, MaskColumn, NumberColumn, TextColumn
from labelfactory.rows.header import shard_schema
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import ShardFolder, finish, rows_table
from labelfactory.schema import VOID

SIZE = (24, 32)
CLASSES = ("cat", "dog", "fox")
MASKS = {"mask": MaskColumn(), "agreement": NumberColumn(), "source": TextColumn()}
PREDICTIONS = {"mask": MaskColumn(), "class_ids": ArrayColumn("uint8")}
AREAS = ("expected_iou", "intersection", "union", "model_intersection", "model_union")
QUALITY = {
    "quality": NumberColumn(),
    "class_ids": ArrayColumn("uint8"),
    **{name: ArrayColumn("float32") for name in AREAS},
    "mask_digest": TextColumn(),
}


class Reviewed:
    """The current folder as a project of `images` photographs with masks and predictions.

    Attributes:
        workspace: with the records of the data set.
        truth: image id → true mask, [H, W] uint8; its border is void.
        masks, predictions: image id → what the line made.
        corrected: ids of images whose mask is one that a person corrected.
    """

    def __init__(self, workspace: Workspace, images: int = 90, *, quality: bool = True, seed: int = 0) -> None:
        self.workspace = workspace
        workspace.records.clear()
        workspace.classes = CLASSES
        workspace.save()
        shutil.copyfile(ROOT / "dvc.yaml", "dvc.yaml")
        shutil.copyfile(ROOT / "params.yaml", "params.yaml")
        self._random = np.random.default_rng(seed)
        self.truth: dict[str, np.ndarray] = {}
        self.corrected: set[str] = set()
        self.masks: dict[str, np.ndarray] = {}
        self.predictions: dict[str, np.ndarray] = {}
        for k in range(images):
            self.add(f"i{k:03d}", 1 + k % 2 if k % 10 else 3)
        self.write()
        if quality:
            self.write_quality()

    def add(self, image_id: str, class_id: int) -> None:
        """A photograph of one object; `write` writes its rows."""
        place = len(self.workspace.records)
        self._paint(image_id, place)
        top, left = self._random.integers(1, 8, 2)
        height, width = self._random.integers(8, 14, 2)
        truth = np.zeros(SIZE, np.uint8)
        truth[top : top + height, left : left + width] = class_id
        truth[0] = VOID
        self.truth[image_id] = truth
        for made, most in ((self.masks, 6), (self.predictions, 8)):
            shift = self._random.integers(0, most, 2)
            made[image_id] = np.zeros(SIZE, np.uint8)
            made[image_id][top + shift[0] : top + height, left : left + width + shift[1]] = class_id

    def _paint(self, image_id: str, place: int, seed: int | None = None) -> None:
        pixels = np.random.default_rng(place if seed is None else seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format="PNG")
        Path(f"photographs/{image_id}.png").write_bytes(stream.getvalue())
        sha256 = hashlib.sha256(stream.getvalue()).hexdigest()
        known = {record.image_id: k for k, record in enumerate(self.workspace.records)}
        if image_id not in known:
            self.workspace.records.append(self._record(image_id, place))
        at = known.get(image_id, place)
        self.workspace.records[at] = dataclasses.replace(self.workspace.records[at], sha256=sha256)

    def repaint(self, image_id: str) -> None:
        """The photograph is imported with other pixels."""
        self._paint(image_id, 0, seed=12345)
        self.workspace.save()

    def _record(self, image_id: str, place: int):
        from labelfactory.dataset.prepared import ImageRecord

        return ImageRecord(
            image_id=image_id,
            path=f"photographs/{image_id}.png",
            sha256="",
            lists=("train",),
            tags=(CLASSES[(1 + place % 2 if place % 10 else 3) - 1],),
            mask_path=None,
            mask_sha256=None,
            position=place,
            width=SIZE[1],
            height=SIZE[0],
            split="train",
            shard=place // 2,
            status="ok",
            reason="",
        )

    def write(self) -> None:
        """Write data set, masks and predictions."""
        self.workspace.save()
        self.train()
        self._rows(
            "masks", "refine_crf", MASKS, lambda i: {"mask": self.masks[i], "agreement": 0.9, "source": "refine_crf"}
        )
        ids = np.arange(len(CLASSES) + 1, dtype=np.uint8)
        self._rows(
            "predictions", "segment_images", PREDICTIONS, lambda i: {"mask": self.predictions[i], "class_ids": ids}
        )

    def train(self, seed: int = 0) -> None:
        """Another model; its predictions are those that are there only once `write` makes their rows anew."""
        weights = {"w": torch.full((1,), float(seed))}
        made = passport(
            stage="train_segmenter",
            key=digest_json(seed),
            architecture={"net": "segmenter"},
            classes=list(CLASSES),
            seed=seed,
            parents={},
        )
        Path("data/segmenter").mkdir(parents=True, exist_ok=True)
        self.model = save_checkpoint(Path("data/segmenter") / CHECKPOINT, weights, made)

    def write_quality(self, noise: float = 0.1, *, bias: float = 0.0) -> None:
        """Expected areas: the true ones, with noise; intersections larger by a share."""
        random = np.random.default_rng(1)

        def row(image_id: str) -> dict:
            shares = []
            for made in (self.masks, self.predictions):
                hits, union = areas_of(self.truth[image_id], made[image_id], len(CLASSES) + 1) / np.prod(SIZE)
                hits = np.clip(hits * (1 + bias + noise * random.normal(size=hits.shape)), 0, union)
                shares += [hits.astype(np.float32), union.astype(np.float32)]
            iou = np.divide(shares[0], shares[1], out=np.zeros(4, np.float32), where=shares[1] > 0)
            ids = np.flatnonzero(shares[1] + shares[3] > 0).astype(np.uint8)
            values = dict(zip(AREAS, (iou[ids], *(share[ids] for share in shares)), strict=True))
            quality = {
                "quality": float(iou[ids].mean()),
                "class_ids": ids,
                "mask_digest": masks.states[image_id].digest,
            }
            return quality | values

        masks = RowReader(Path("data/masks"))
        self._rows("quality", "rate_masks", QUALITY, row)

    def _rows(self, noun: str, stage: str, columns: dict, row) -> None:
        folder = Path("data", noun)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        schema = shard_schema(stage, columns, CLASSES)
        shards: dict[int, list] = {}
        for record in self.workspace.records:
            inputs = {"image": record.sha256, "classes": list(CLASSES), "segmenter": self.model.weights_digest}
            if noun == "masks" and record.image_id in self.corrected:
                inputs["correction"] = "c"
            shards.setdefault(record.shard, []).append(finish(record.image_id, inputs, row(record.image_id), columns))
        for shard, rows in shards.items():
            ShardFolder(folder).write(shard, rows_table(rows, schema))

    def draw(self, *image_ids: str, folder: str = "drawn") -> Path:
        """The true masks of some images as a person draws them, in a folder of PNGs."""
        Path(folder).mkdir(exist_ok=True)
        for image_id in image_ids:
            Path(folder, f"{image_id}.png").write_bytes(encode_mask(self.truth[image_id]))
        return Path(folder)

    def true_miou(self, made: dict[str, np.ndarray]) -> float:
        """The mIoU of all images."""
        hits, union = sum(areas_of(self.truth[i], mask, len(CLASSES) + 1) for i, mask in made.items())
        return float((hits[union > 0] / union[union > 0]).mean())


@pytest.fixture
def made(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Reviewed:
    """Ninety images with masks, predictions and expected areas."""
    monkeypatch.setenv("COLUMNS", "100")
    return Reviewed(workspace)


def sampled() -> list[str]:
    return [image.image_id for image in read_sample().drawn]


def audited(made: Reviewed, labelfactory, count: int = 40) -> list[str]:
    """A sample whose images all have a true mask."""
    labelfactory("review", "sample", "--count", str(count))
    labelfactory("corrections", "add", str(made.draw(*sampled())), "--audit")
    return sampled()


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def answer(path: Path, made: Reviewed, *, skip: int = 0) -> None:
    """Fill points.csv with the truth, all but the last `skip` rows."""
    rows = rows_of(path)
    for row in rows[: len(rows) - skip]:
        value = made.truth[row["image_id"]][int(row["y"]), int(row["x"])]
        row["answer"] = "void" if value == 255 else ("background", *CLASSES)[value]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
