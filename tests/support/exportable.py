"""Photographs with masks of a line that nobody ran, a tiny segmenter, and what an export wrote of them."""

import dataclasses
import hashlib
import io
import shutil
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from conftest import Workspace
from passports import passport
from PIL import Image
from rated import rate
from workspace import ROOT

from exports._selection import Selection
from exports._write import export
from labelfactory.learning.checkpoints import save_checkpoint
from labelfactory.rows.header import shard_schema
from labelfactory.rows.shards import ShardFolder, finish, rows_table
from models.backbones import build_backbone
from models.segmenters import build_segmenter
from stages.refine_crf import RefineCrf

SIZES = {"a": (30, 40), "b": (24, 32), "été/1 x": (40, 30), "turned": (20, 36)}
CLASSES = ("cat", "dog")


def blobs(seed: int, size: tuple[int, int]) -> np.ndarray:
    """A mask with regions that touch, holes, single pixels and void."""
    field = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    smooth = cv2.GaussianBlur(field, (0, 0), 1.6)
    made = np.zeros(size, np.uint8)
    made[smooth > 0.08] = 1
    made[smooth < -0.15] = 2
    made[:3, :3] = 255
    made[-1, -1] = 1 + (made[-1, -1] == 1)
    return made


def exportable(
    workspace: Workspace, classes: tuple[str, ...] = CLASSES, sizes: Mapping[str, tuple[int, int]] = SIZES
) -> dict[str, np.ndarray]:
    """Photographs with masks, one of them turned by EXIF, one without an id that a file could have; val has one more.

    Each photograph shows two of the classes, the next one the two after these.
    """
    workspace.records.clear()
    shutil.copyfile(ROOT / "dvc.yaml", "dvc.yaml")
    workspace.classes = classes
    truth = {}
    for k, (image_id, size) in enumerate(sizes.items()):
        shown = [2 * k % len(classes), (2 * k + 1) % len(classes)]
        workspace.add(f"p{k}", "")
        pixels = np.random.default_rng(k).integers(0, 256, (*size, 3), dtype=np.uint8)
        exif = Image.Exif()
        stored = pixels
        if image_id == "turned":
            exif[0x0112] = 6
            stored = np.rot90(pixels)
        stream = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(stored)).save(stream, format="PNG", exif=exif)
        Path(f"photographs/p{k}.png").write_bytes(stream.getvalue())
        lists = ("train", "train_aug") if k < 3 else ("train",)
        sha256 = hashlib.sha256(stream.getvalue()).hexdigest()
        workspace.records[k] = dataclasses.replace(
            workspace.records[k], image_id=image_id, sha256=sha256, height=size[0], width=size[1], lists=lists
        )
        workspace.records[k] = dataclasses.replace(
            workspace.records[k], tags=tuple(sorted(classes[s] for s in (shown if k != 1 else shown[1:])))
        )
        mask = blobs(k, size)
        truth[image_id] = np.array([0, shown[0] + 1, shown[1] + 1, 255], np.uint8)[np.minimum(mask, 3)]
    workspace.add("v", "", split="score")
    workspace.change("v", lists=("val",), tags=classes[:1])
    write_masks(workspace, truth)
    return truth


def write_masks(
    workspace: Workspace, masks: Mapping[str, np.ndarray], corrections: Mapping[str, str] | None = None
) -> None:
    """Rows with these masks (image_id → [H, W] uint8), made of the photographs and classes that the workspace has now.

    `corrections`: image_id → digest of the correction that its row is.
    """
    drawn = corrections or {}
    columns = RefineCrf.columns
    schema = shard_schema("refine_crf", columns, workspace.classes)
    Path("data/masks").mkdir(parents=True, exist_ok=True)
    for shard in {record.shard for record in workspace.records}:
        rows = [
            finish(
                record.image_id,
                {
                    "made": "by a test",
                    "image": record.sha256,
                    "classes": list(workspace.classes),
                    **({"correction": drawn[record.image_id]} if record.image_id in drawn else {}),
                },
                {
                    "mask": masks[record.image_id],
                    "confidence": np.zeros((1, 1), np.uint8),
                    "mean_confidence": 0.5,
                    "void_share": 0.0,
                    "agreement": 0.5,
                    "area": np.zeros(len(workspace.classes) + 1, np.float32),
                    "source": "human" if record.image_id in drawn else "refine_crf",
                },
                columns,
            )
            for record in workspace.records
            if record.shard == shard and record.image_id in masks
        ]
        ShardFolder(Path("data/masks")).write(shard, rows_table(rows, schema))
    known = {record.image_id for record in workspace.records}
    quality = {image_id: 0.5 + 0.1 * (k % 5) for k, image_id in enumerate(masks) if image_id in known}
    rate(workspace.records, workspace.classes, quality)


def written(name: str, **options: object) -> tuple[Path, dict]:
    selection = Selection("masks", **options)
    return Path("out") / name, export(name, selection, Path("out") / name)


def picture(path: Path | str) -> Image.Image:
    """The picture, its file closed again."""
    with Image.open(path) as opened:
        opened.load()
        return opened.copy()


def tiny_segmenter(project: Path) -> Path:
    """The checkpoint of a tiny net with random weights."""
    architecture = {
        "backbone": "tiny",
        "output_stride": 16,
        "net": "deeplab_v3",
        "width": 16,
        "rates": [1, 2],
        "classes": 3,
        "folded": False,
    }
    torch.manual_seed(0)
    net = build_segmenter(build_backbone("tiny", output_stride=16, state=None, pretrained=False), architecture)
    for weight in net.classifier.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    path = project / "data/segmenter/checkpoint.safetensors"
    save_checkpoint(
        path, net.state_dict(), passport(stage="train_segmenter", architecture=architecture, classes=list(CLASSES))
    )
    return path
