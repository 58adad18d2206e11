"""The demo data set: the same bytes every time, honest masks, and objects that stand out from the ground."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfactory.dataset.images import decode_mask, read_photograph
from labelfactory.errors import DataError
from sources.demo import CLASSES, list_of, render_demo, render_image


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def without_paths(manifest):
    return [(e.image_id, e.sha256, e.mask_sha256, e.lists, e.tags) for e in manifest.entries]


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    """Two renderings agree file by file; another seed shares no picture."""
    first = render_demo(tmp_path / "a", count=6, seed=3)
    second = render_demo(tmp_path / "b", count=6, seed=3)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert without_paths(first) == without_paths(second)
    other = render_demo(tmp_path / "c", count=6, seed=4)
    assert not {e.sha256 for e in first.entries} & {e.sha256 for e in other.entries}
    assert not {e.image_id for e in first.entries} & {e.image_id for e in other.entries}


def test_a_larger_count_adds_images_and_changes_none(tmp_path):
    """Appending from 4 to 9 gives what 9 at once gives; a file that is there keeps its time."""
    few = render_demo(tmp_path / "a", count=4, seed=0)
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*.jpg")}
    more = render_demo(tmp_path / "a", count=9, seed=0, start=4)
    whole = render_demo(tmp_path / "b", count=9, seed=0)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert without_paths(few) + without_paths(more) == without_paths(whole)
    render_demo(tmp_path / "a", count=9, seed=0)
    assert {p: p.stat().st_mtime_ns for p in times} == times


@settings(deadline=None, max_examples=12)
@given(index=st.integers(0, 10_000), seed=st.integers(0, 100))
def test_every_picture_has_a_mask_of_its_size(index, seed):
    """Sides within 160..224, one to three classes unless it is one of the planned negatives."""
    picture, mask = render_image(index, seed)
    assert picture.shape == (*mask.shape, 3)
    assert picture.dtype == mask.dtype == np.uint8
    assert min(mask.shape) >= 160
    assert max(mask.shape) <= 224
    present = set(np.unique(mask)) - {0}
    assert present <= set(range(1, len(CLASSES) + 1))
    assert len(present) in ((0,) if index % 33 == 17 else (1, 2, 3))


def test_pictures_of_one_class_differ_from_each_other():
    """Same first animal, other size, ground and place."""
    pictures = [render_image(index, 0)[0] for index in (0, 5, 10, 15, 20)]
    assert len({picture.shape for picture in pictures}) > 2
    assert len({tuple(picture.mean(axis=(0, 1)).round(1)) for picture in pictures}) == 5


def test_tags_say_what_the_mask_shows(tmp_path):
    """Files on disk, digests and tags of the manifest agree with each other."""
    manifest = render_demo(tmp_path, count=18, seed=1)
    for entry in manifest.entries:
        assert read_photograph(Path(entry.path), entry.sha256).ndim == 3
        present = np.unique(decode_mask(Path(entry.mask_path).read_bytes()))
        assert [int(k) for k in CLASSES.ids(entry.tags)] == [k for k in present if k]
    assert manifest.entries[17].tags == ()
    assert {tag for e in manifest.entries if e.lists == ("train",) for tag in e.tags} == set(CLASSES.names)


def test_lists_are_three_quarters_and_one_quarter():
    """The list of an image depends on its number alone."""
    lists = [list_of(index) for index in range(200)]
    assert lists.count("train") == 150
    assert lists.count("val") == 50


def test_objects_stand_out_from_the_ground_around_them():
    """The middle colour of all animals of a picture is far from that of the ring around them, in Lab."""
    for index in range(12):
        picture, mask = render_image(index, 7)
        lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        thing = (mask > 0).astype(np.uint8)
        ring = cv2.dilate(thing, np.ones((25, 25), np.uint8)) - cv2.dilate(thing, np.ones((9, 9), np.uint8))
        distance = np.linalg.norm(np.median(lab[thing > 0], axis=0) - np.median(lab[ring > 0], axis=0))
        assert distance > 20, index


@pytest.mark.parametrize(("count", "seed", "start"), [(0, 0, 0), (5, 0, 5), (3, -1, 0), (3, 0, -1)])
def test_nothing_to_render_is_refused(tmp_path, count, seed, start):
    """Zero images are an error, not zero files of success."""
    with pytest.raises(DataError, match="--count"):
        render_demo(tmp_path, count=count, seed=seed, start=start)
