"""True masks that the import names and that are away: no figure is of fewer than its digest says."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from made_line import SIZE, MadeLine

from labelfactory.dataset.images import encode_mask
from labelfactory.dataset.manifest import read_manifest, write_manifest
from labelfactory.dataset.prepared import write_dataset
from labelfactory.digests import digest_file
from labelfactory.errors import DataError
from labelfactory.settings.thresholds import Threshold, write_thresholds
from labelfactory.settings.wiring import METRICS
from labelfactory.stage.output_state import list_state, passport_of
from labelfactory.stage.runner import build_stage, read_sections
from lineage.ledger_rows import Labels, Trained
from stages import evaluate


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A line of four photographs that all have a true mask."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    made = MadeLine()
    manifest, entries = read_manifest(), []
    for k, entry in enumerate(manifest.entries):
        path = Path(f"data/raw/true/{entry.image_id}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_mask(np.full(SIZE, k % 3, dtype=np.uint8)))
        entries.append(replace(entry, mask_path=str(path), mask_sha256=digest_file(path)))
    write_manifest(replace(manifest, entries=tuple(entries)))
    made.prepare()
    shutil.rmtree("data/segmenter")  # no network
    for noun in ("seed_thresholds", "walk_threshold"):
        names = ("background", *evaluate.AFFINITY)
        write_thresholds(Path("data") / noun, {name: Threshold(0.5, "auto") for name in names})
    return made


def stage(name: str):
    made = build_stage(name, read_sections())
    made.output.mkdir(parents=True, exist_ok=True)
    return made


def scored(monkeypatch) -> tuple[int, str]:
    """Run `evaluate` on rows and thresholds, without a report; gives the number of masks scored, and the list's digest by it."""
    monkeypatch.setattr(evaluate, "make_report", lambda *words, **more: None)
    monkeypatch.setattr("reporting.page.write_report", lambda path, report: None)
    stage("evaluate").run()
    metrics = json.loads(METRICS.read_text())
    (digest,) = (state["digest"] for state in metrics["measured"] if (state["kind"], state["name"]) == ("list", "val"))
    assert metrics["true_masks"] == metrics["images/val/masks"]
    return metrics["true_masks"], digest


@pytest.mark.parametrize("away", [1, 4])
def test_nothing_is_scored_while_true_masks_are_away(line, monkeypatch, away):
    """One of them or the whole disk: an error, and the figures on disk stay; when they are back, the same digest is of all."""
    before = METRICS.read_bytes()
    masks = sorted(Path("data/raw/true").iterdir())
    for mask in masks[:away]:
        mask.rename(mask.name)
    with pytest.raises(DataError, match=rf"image-0\.png: No such file or directory; {away} of 4 true masks") as caught:
        scored(monkeypatch)
    assert "import the photographs again" in caught.value.remedy
    assert METRICS.read_bytes() == before
    for mask in masks[:away]:
        Path(mask.name).rename(mask)
    assert scored(monkeypatch) == (4, list_state("val")["digest"])


def test_a_mask_that_an_import_left_out_stops_nothing(line, monkeypatch):
    """Its photograph goes without one: the import does not name it."""
    manifest = read_manifest()
    first, *others = manifest.entries
    Path(str(first.mask_path)).unlink()
    write_manifest(replace(manifest, entries=(replace(first, mask_path=None, mask_sha256=None), *others)))
    digest = list_state("val")["digest"]
    line.prepare()
    count, other = scored(monkeypatch)
    assert count == 3
    assert other != digest


CHANGES = {
    "the photograph": lambda m, e: (m, replace(e, sha256="1" * 64)),
    "the mask": lambda m, e: (m, replace(e, mask_sha256="2" * 64)),
    "the classes of its values": lambda m, e: (replace(m, mask_ids={0: 0, 1: 2, 2: 1}), e),
    "its path": lambda m, e: (m, replace(e, mask_path="data/raw/moved.png")),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_upper_bound_learns_again_where_what_it_learns_from_changes(line, what):
    """Photograph, mask and the meaning of its values are in a row's digest, a path is not; the ledger finds the image again."""
    before = dict(stage("train_upper_bound").training_rows())
    manifest = read_manifest()
    first, *others = manifest.entries
    manifest, first = CHANGES[what](manifest, first)
    write_manifest(replace(manifest, entries=(first, *others)))
    line.prepare()
    bound = stage("train_upper_bound")
    if what == "the classes of its values":  # MadeLine has classes of its own
        bound.dataset = replace(bound.dataset, mask_ids=dict(manifest.mask_ids))
        write_dataset(bound.dataset)
    after = dict(bound.training_rows())
    changed = [image_id for image_id in before if before[image_id] != after[image_id]]
    every = [f"image-{k}" for k in range(4)]
    assert changed == {"its path": [], "the classes of its values": every}.get(what, ["image-0"])
    rows = pa.table({"image_id": list(after), "digest": list(after.values()), "source": ["true masks"] * len(after)})
    model = Trained("upper_bound", passport_of("classifier"), rows, datetime.now(UTC), live=True, files={})
    table = Labels([], pa.table({n: [] for n in ("image_id", "digest", "image", "tags", "key")})).table(
        model, "0" * 64, ""
    )
    assert [image.hex() for image in table["image"].to_pylist()] == [r.sha256 for r in bound.records]


def test_the_upper_bound_learns_from_all_true_masks_or_none(line):
    """Those that are away are not left out of its rows, and stop a training before it begins."""
    bound = stage("train_upper_bound")
    rows = dict(bound.training_rows())
    bound.examples()
    Path("data/raw/true/image-2.png").unlink()
    bound = stage("train_upper_bound")
    assert dict(bound.training_rows()) == rows
    with pytest.raises(DataError, match=r"image-2\.png: No such file or directory; 1 of 4") as caught:
        bound.examples()
    assert "train_upper_bound.enabled=false" in caught.value.remedy
