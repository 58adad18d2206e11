"""What a project's outputs say: digests, rows, reports; for tests that compare a line before and after."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import yaml

from labelfactory.dataset.manifest import Entry, read_manifest, write_manifest
from labelfactory.learning.checkpoints import CHECKPOINT, read_passport
from labelfactory.rows.shards import RowState, ShardFolder

PER_IMAGE = ("cams", "affinity_labels", "walks", "masks")
TRAINED = ("classifier", "affinity", "segmenter")
CALIBRATED = ("seed_thresholds", "walk_threshold")
LEARNT = [f"data/{noun}/{CHECKPOINT}" for noun in TRAINED] + [f"data/{noun}/thresholds.json" for noun in CALIBRATED]


def stages(folder: Path) -> list[str]:
    return list(yaml.safe_load((folder / "dvc.yaml").read_text())["stages"])


def digests(folder: Path) -> dict[str, str]:
    """Digest of every row of every per-image stage, of every checkpoint's weights, and the thresholds."""
    found = {}
    for noun in PER_IMAGE:
        for state in ShardFolder(folder / "data" / noun).all_states():
            found[f"{noun}/{state.image_id}"] = f"{state.status} {state.digest}"
    for noun in TRAINED:
        found[noun] = read_passport(folder / "data" / noun / CHECKPOINT).weights_digest
    for noun in CALIBRATED:
        found[noun] = (folder / f"data/{noun}/thresholds.json").read_text()
    return found


def report(folder: Path, name: str) -> dict:
    return json.loads((folder / f"data/reports/{name}.json").read_text())


def states_of(folder: Path) -> dict[str, RowState]:
    """Every row of every per-image stage by stage and image, without its payload."""
    found = {noun: ShardFolder(folder / "data" / noun).all_states() for noun in PER_IMAGE}
    return {f"{noun}/{state.image_id}": state for noun, states in found.items() for state in states}


def counts(folder: Path) -> set[tuple[int, int]]:
    """Rows computed and copied, of each per-image stage; one pair where all did the same."""
    made = [report(folder, name) for name in ("extract_cams", "label_affinity", "random_walk", "refine_crf")]
    return {(m["rows_computed"], m["rows_copied"]) for m in made}


def edit_manifest(folder: Path, edit: Callable[[tuple[Entry, ...]], tuple[Entry, ...]]) -> None:
    path = folder / "data/import/manifest.parquet"
    manifest = read_manifest(path)
    write_manifest(replace(manifest, entries=edit(manifest.entries)), path)
