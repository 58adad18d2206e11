"""What a person answered of a withdrawn photograph goes with it: masks, points, and its place in the sample."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_line import CLASSES, SIZE, MadeLine, recorded_line
from withdrawing import began, finish, left

from labelfactory.dataset.audits import (
    AUDITS,
    MASKS,
    POINTS,
    SAMPLE,
    AnsweredPoints,
    audit_files,
    read_audits,
    read_points,
    read_sample,
    write_audits,
    write_points,
    write_sample,
)
from labelfactory.dataset.changed_corrections import AUDITED, CORRECTED
from labelfactory.dataset.corrections import store_mask
from labelfactory.dataset.manifest import read_manifest
from labelfactory.dataset.prepared import read_dataset
from labelfactory.digests import digest_file
from labelfactory.errors import DataError
from labelfactory.files import write_json
from labelfactory.review.sample import draw_sample
from labelfactory.schema import Classes
from lineage.removal import remove
from lineage.traces import Traces, in_project
from lineage.verify import verify
from lineage.withdrawals import Inputs
from sources.corrections import find_edited


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project with four images, all of them in the sample; three have a mask, one has points."""
    made = recorded_line(tmp_path, monkeypatch)
    write_sample(draw_sample(read_dataset(), "train", count=4, seed=0, points=3))
    entries = {entry.image_id: entry for entry in read_manifest().entries}
    audits = [
        store_mask(i, entries[i].sha256, np.full(SIZE, k, np.uint8), Classes(CLASSES), AUDITS)
        for k, i in enumerate(("image-0", "image-1", "image-2"))
    ]
    write_audits(audits)
    names = ("image-1", "image-3")
    write_points(AnsweredPoints(i, entries[i].sha256, (1,), (2,), ("cat",)) for i in names)
    return made


def test_all_of_it_goes_and_the_others_stay(line):
    """From the tables, the folder and DVC's cache; nothing under data/ tells of it."""
    gone, stays = read_audits()["image-1"], read_audits()["image-2"]
    line._cache(AUDITS)
    withdrawal = began("image-1")
    assert gone.mask in withdrawal.drawn_masks
    finish(line, withdrawal)
    assert set(read_audits()) == {"image-0", "image-2"}
    assert set(read_points()) == {"image-3"}
    assert {image.image_id for image in read_sample().images} == {"image-0", "image-2", "image-3"}
    assert not gone.path(AUDITS).exists()
    assert digest_file(stays.path(AUDITS)) == stays.mask
    assert audit_files(["image-1"]) == []
    assert in_project(Traces.of(["image-1"], withdrawal.pixels, ())) == {}
    assert left(withdrawal) == []


def test_a_mask_that_a_killed_command_wrote_goes_too(line):
    """No table names it, but a note of what was under way does."""
    entry = next(entry for entry in read_manifest().entries if entry.image_id == "image-1")
    drawn = np.full(SIZE, 2, np.uint8)
    for masks in (CORRECTED, AUDITED):
        orphan = store_mask("image-1", entry.sha256, drawn, Classes(CLASSES), masks.folder).path(masks.folder)
        write_json(masks.note, ["image-1"])
        assert orphan.exists()
    finish(line, began("image-1"))
    assert not orphan.exists()
    assert not list(CORRECTED.folder.glob("*.png"))


def test_a_table_that_comes_back_opens_the_withdrawal_again(line):
    """Whichever of the three it is."""
    kept = {path: path.read_bytes() for path in (SAMPLE, MASKS, POINTS)}
    withdrawal = began("image-1")
    remove(withdrawal)
    assert not Inputs.now().hold(withdrawal)
    for path, content in kept.items():
        now = path.read_bytes()
        path.write_bytes(content)
        assert Inputs.now().hold(withdrawal)
        path.write_bytes(now)
    assert not Inputs.now().hold(withdrawal)
    assert "image-1" not in pq.read_table(SAMPLE)["image_id"].to_pylist()


def test_no_door_takes_it_again(line, tmp_path):
    """Neither as a mask nor into the next sample."""
    dataset = read_dataset()
    withdrawal = began("image-1")
    remove(withdrawal)
    folder = tmp_path / "drawn"
    folder.mkdir()
    (folder / "image-1.png").write_bytes(next(AUDITS.glob("image-0.*.png")).read_bytes())
    with pytest.raises(DataError, match="image-1 was withdrawn"):
        find_edited(folder, dataset, lambda record: None, refused=lambda record: "")
    line.run()
    assert "image-1" not in {i.image_id for i in draw_sample(read_dataset(), "train", count=4, seed=0, points=0).images}


def test_verify_names_audits_that_have_changed(line):
    """By their bytes: missing, or others than were added."""
    assert not [finding for finding in verify() if "audits" in str(finding)]
    first, second = (read_audits()[i].path(AUDITS) for i in ("image-0", "image-2"))
    first.unlink()
    second.write_bytes(second.read_bytes() + b"0")
    found = [str(finding) for finding in verify() if "audits" in str(finding)]
    assert len(found) == 2
    assert any("missing" in finding for finding in found)
    assert any("changed since it was added" in finding for finding in found)
