"""A project of five small photographs whose masks the real stage refine_crf makes, some of them corrected by a person."""

from pathlib import Path

import numpy as np
from conftest import Workspace

from labelfactory.dataset.corrections import read_corrections, store_mask, write_corrections
from labelfactory.rows.columns import ArrayColumn
from labelfactory.rows.engine import Tally
from labelfactory.rows.header import shard_schema
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import ShardFolder, finish, quarantine, rows_table
from labelfactory.schema import Classes
from labelfactory.settings.thresholds import Threshold, write_thresholds
from models.refinement._crf import CrfConfig
from stages.refine_crf import RefineCrf, RefineCrfConfig

CLASSES = Classes(("cat", "dog"))
SIZE = (5, 6)
WALKS = {"scores": ArrayColumn("float16"), "class_ids": ArrayColumn("uint8")}
DRAWN = np.array([[0, 0, 1, 1, 255, 255], [0, 2, 2, 1, 1, 1], *[[2] * 6] * 3], dtype=np.uint8)
"""A person's mask for any of the photographs."""


def leave_walks(workspace: Workspace) -> Workspace:
    """Five photographs, and everything that refine_crf reads of them; the walk of e failed."""
    workspace.wire("refine_crf", "train_segmenter")
    folder = ShardFolder(Path("data/walks"))
    folder.folder.mkdir(parents=True)
    for shard in range(3):
        rows = []
        for image in (r for r in workspace.records if r.shard == shard):
            ids = workspace.dataset().classes.ids(image.tags)
            scores = np.random.default_rng(image.position).random((len(ids), 3, 3)).astype(np.float16)
            row = finish(image.image_id, {}, {"scores": scores, "class_ids": ids}, WALKS)
            rows.append(row if image.image_id != "e" else quarantine("e", {}, "it failed", WALKS))
        folder.write(shard, rows_table(rows, shard_schema("random_walk", WALKS, workspace.classes)))
    write_thresholds(Path("data/walk_threshold"), {"background": Threshold(0.5, "auto")})
    return workspace


def refine(**changes: object) -> Tally:
    """Run refine_crf on what is there; `changes` are settings of it."""
    crf = {"steps": 2, "gaussian_sxy": 3, "gaussian_compat": 3}
    crf |= {"bilateral_sxy": 50, "bilateral_srgb": 5, "bilateral_compat": 10}
    values = {"method": "dense_crf", "unary": "labels", "scale": 1.0, "gt_prob": 0.7, "min_confidence": 0.5, "crf": crf}
    cfg = RefineCrfConfig(**{**values, "crf": CrfConfig(**crf), **changes})
    Path("data/masks").mkdir(exist_ok=True)
    return RefineCrf(cfg).update()


def correct(workspace: Workspace, *image_ids: str, mask: np.ndarray = DRAWN) -> None:
    """Put corrections beside those that are there."""
    known = read_corrections()
    for image in workspace.records:
        if image.image_id in image_ids:
            known[image.image_id] = store_mask(image.image_id, image.sha256, mask, CLASSES)
    write_corrections(known.values())


def refined(walked: Workspace) -> Workspace:
    """A project whose masks were made, in three shards."""
    correct(walked, "e")  # so that every photograph has one
    refine()
    return walked


def rows() -> dict[str, dict]:
    """The masks as they are on disk: image_id → its row."""
    reader = RowReader(Path("data/masks"))
    return {image_id: dict(reader[image_id]) for image_id in reader.states}
