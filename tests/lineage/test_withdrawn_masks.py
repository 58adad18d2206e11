"""Masks that people drew of a withdrawn photograph go with it: those in use, and earlier ones wherever DVC's cache has them."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from made_line import CLASSES, SIZE, MadeLine, recorded_line
from withdrawing import CACHE, began, finish, left

from labelfactory.dataset.corrections import CORRECTIONS, Correction, read_corrections, store_mask, write_corrections
from labelfactory.dataset.manifest import read_manifest, write_manifest
from labelfactory.dataset.map_files import MAPS
from labelfactory.digests import digest_file
from labelfactory.schema import Classes
from lineage.artifacts import md5_of
from lineage.cached_names import named_in_cache
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.removal import remove
from lineage.withdraw import again_if_more_known


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project with four images in which everything was made once and recorded."""
    return recorded_line(tmp_path, monkeypatch)


def drawn(line: MadeLine, image_id: str, value: int) -> Correction:
    """A mask of one value, drawn over the image; `dvc add data/corrections` after it."""
    entry = next(e for e in read_manifest().entries if e.image_id == image_id)
    correction = store_mask(image_id, entry.sha256, np.full(SIZE, value, np.uint8), Classes(CLASSES))
    known = read_corrections()
    if image_id in known:
        known[image_id].path().unlink(missing_ok=True)
    write_corrections({**known, image_id: correction}.values())
    line._cache(CORRECTIONS)
    return correction


def in_cache(*digests: str) -> set[str]:
    """Those of these digests that an object of the cache has."""
    return set(digests) & {digest_file(path) for path in CACHE.glob("*/*")}


def test_every_mask_that_was_drawn_of_it_goes_from_the_cache(line):
    """The present one and an earlier one; another image's stay, one of the same bytes among them."""
    earlier, other = drawn(line, "image-1", 1), drawn(line, "image-2", 2)
    same = drawn(line, "image-1", 2)
    now = drawn(line, "image-1", 0)
    assert same.mask == other.mask
    withdrawal = began("image-1")
    assert withdrawal.drawn_masks == {earlier.mask, now.mask}
    finish(line, withdrawal)
    assert in_cache(earlier.mask, now.mask, other.mask) == {other.mask}
    assert other.path().is_file()
    assert not now.path().exists()


@pytest.mark.parametrize("image_id", ["12", "a/b 1"])
def test_a_mask_is_known_by_its_name_in_a_list_of_the_cache(line, image_id):
    """Where no table and no record tells of it: by the list that `dvc add` made, whatever the id. Maps of other programs too."""
    entries = (replace(e, image_id=image_id) if e.image_id == "image-1" else e for e in read_manifest().entries)
    write_manifest(replace(read_manifest(), entries=tuple(entries)))
    line.run()
    untold = drawn(line, image_id, 1)
    for name in (f"{image_id}.png", "image-2.png"):
        (MAPS / name).parent.mkdir(parents=True, exist_ok=True)
        (MAPS / name).write_bytes(f"map of {name}".encode())
    line._cache(MAPS.parent)
    write_corrections(())
    own, other = md5_of(MAPS / f"{image_id}.png"), md5_of(MAPS / "image-2.png")
    for path in [
        untold.path(),
        *(p for p in CACHE.glob("*/*") if p.read_bytes()[:4] == b"PAR1" and p.stat().st_size < 2500),
    ]:
        path.unlink()
    withdrawal = began(image_id)
    assert not withdrawal.drawn_masks
    finish(line, withdrawal)
    assert in_cache(untold.mask) == set()
    md5s = {f"{path.parent.name}{path.name}" for path in CACHE.glob("*/*")}
    assert {own, other} & md5s == {other}


def test_a_list_names_pictures_alone(line):
    """An id may be the name of a file that every network has."""
    assert named_in_cache(["checkpoint", "curve", "shard-00000"]).lists == frozenset()


def test_a_photograph_of_the_same_name_in_another_folder_is_no_picture_of_the_image(line):
    """Cameras count from 1 again; below the folder of maps the folder says which program made them."""
    md5s = {path: hashlib.md5(path.encode()).hexdigest() for path in ("a/DSC_1.jpg", "b/DSC_1.jpg", "maps/x/DSC_1.png")}
    md5s |= {path: hashlib.md5(path.encode()).hexdigest() for path in ("DSC_1.png", "true/DSC_1.png", "c/DSC_1.png")}
    listed = [{"md5": md5, "relpath": path} for path, md5 in md5s.items()]
    line._store(json.dumps(listed).encode(), ".dir")
    entries = read_manifest().entries
    first = replace(entries[0], image_id="DSC_1", path="data/raw/a/DSC_1.jpg", mask_path="data/raw/true/DSC_1.png")
    second = replace(entries[1], image_id="other", path="data/raw/b/DSC_1.jpg", mask_path="data/raw/DSC_1.png")
    write_manifest(replace(read_manifest(), entries=(first, second)))
    mine = ("a/DSC_1.jpg", "maps/x/DSC_1.png", "true/DSC_1.png")
    assert named_in_cache(["DSC_1"]).pictures == {md5s[path] for path in mine}
    write_manifest(replace(read_manifest(), entries=()))
    assert named_in_cache(["DSC_1"]).pictures == {md5s["maps/x/DSC_1.png"], md5s["DSC_1.png"]}


def test_a_mask_that_only_the_ledger_tells_of_goes(line, monkeypatch):
    """A version that did not look for it has withdrawn the image: its list and its table are gone, a name says nothing."""
    old = Correction("image-1", "", digest_file(stored(line, "image-1", 1)), CLASSES)
    before, masks_of = began("image-1"), Lookup.masks_of
    assert before.drawn_masks == frozenset()
    recipe = json.dumps({"masks": {"correction": old.digest}})
    monkeypatch.setattr(Lookup, "masks_of", lambda *of: [mask | {"recipe": recipe} for mask in masks_of(*of)])
    again = again_if_more_known(Ledger(), before)
    assert again.drawn_masks == {old.mask}
    assert again_if_more_known(Ledger(), again) == again
    remove(again)
    line.run()
    left(again)
    assert in_cache(old.mask) == set()


def stored(line: MadeLine, image_id: str, value: int) -> Path:
    """A mask that lies in the cache alone; gives its object."""
    correction = store_mask(image_id, "0" * 64, np.full(SIZE, value, np.uint8), Classes(CLASSES))
    md5 = line._store(correction.path().read_bytes())
    correction.path().unlink()
    return CACHE / md5[:2] / md5[2:]


def test_the_event_has_what_a_remote_may_have_and_the_cache_does_not(line):
    """The cache was collected since it was pushed."""
    correction = drawn(line, "image-1", 1)
    md5 = md5_of(correction.path())
    (CACHE / md5[:2] / md5[2:]).unlink()
    withdrawal = began("image-1")
    assert md5 in withdrawal.objects
    assert md5 not in withdrawal.cache


def test_a_damaged_table_of_the_cache_stops_no_withdrawal(line):
    line._store(pa.BufferOutputStream().getvalue().to_pybytes() + b"PAR1 and nothing more")
    line._store(b"[{]", ".dir")
    assert began("image-1").drawn_masks == frozenset()
