"""COCO instances: tags from categories, masks from polygons and RLE, crowds void."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask

from labelfactory.dataset.images import decode_mask
from labelfactory.errors import DataError
from labelfactory.files import temporary_path
from sources._coco_drawing import draw
from sources._import_plan import ImportOptions, ImportPlan, plan_import
from sources.coco import find_coco

HEIGHT, WIDTH = 10, 12
EASY = ImportOptions(val_fraction=0.5)


def box(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    """A polygon around the pixels of a box, right and bottom excluded."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def annotation(image: int, category: int, segmentation: object, crowd: int = 0) -> dict[str, object]:
    return {"image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": crowd}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for k in range(3):
        Image.new("RGB", (WIDTH, HEIGHT), (k, 9, 9)).save(tmp_path / f"images/{k}.png")
    return tmp_path


def found(listed: list[dict[str, object]], **options: object) -> ImportPlan:
    images = [{"id": 10 + k, "file_name": f"{k}.png", "height": HEIGHT, "width": WIDTH} for k in range(3)]
    categories = [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}]
    Path("c.json").write_text(json.dumps({"images": images, "annotations": listed, "categories": categories}))
    return plan_import(find_coco(Path("c.json"), Path("images")), dataclasses.replace(EASY, **options))


def runs(region: np.ndarray, *, packed: bool) -> dict[str, object]:
    """RLE of a region, as numbers or packed by pycocotools."""
    if packed:
        encoded = coco_mask.encode(np.asfortranarray(region.astype(np.uint8)))
        return {"size": list(region.shape), "counts": encoded["counts"].decode()}
    flat = region.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"size": list(region.shape), "counts": [0, *lengths] if flat[0] else lengths}


def test_nothing_is_deleted_beside_the_users_photographs(here):
    """Only masks are written, elsewhere: hidden files of others stay, and so does what another command is writing there."""
    of_others = [Path("images") / name for name in (".album.lr-tmp", ".drafts.tmp/novel.txt", ".0.png.77.tmp")]
    of_others.append(temporary_path(Path("images/0.png")))
    for path in of_others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    plan = found([annotation(10 + k, (90, 3, 3)[k], box(2, 1, 7, 6)) for k in range(3)])
    (half,) = {temporary_path(mask) for mask in [plan.pending[0].mask] if mask}
    half.parent.mkdir(parents=True, exist_ok=True)
    half.write_text("half a mask")
    plan.write_files()
    assert [path.read_text() for path in of_others] == ["mine"] * 4
    assert not half.exists()


def test_tags_masks_and_classes_by_hand(here):
    """Classes in the order of their ids; small objects over large ones; a crowd is void where no object stands."""
    plan = found(
        [
            annotation(10, 3, box(4, 4, 6, 6)),
            annotation(10, 90, box(2, 2, 8, 8)),
            annotation(10, 3, runs(np.arange(120).reshape(10, 12) < 36, packed=False), 1),
            annotation(11, 90, box(0, 0, 1, 1), 1),
        ]
    )
    assert plan.manifest.classes.names == ("cat", "dog")
    assert plan.manifest.mask_ids == {0: 0, 1: 1, 2: 2}
    assert [entry.tags for entry in plan.manifest.entries] == [("cat", "dog"), (), ()]
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:3] = 255
    expected[2:8, 2:8] = 2
    expected[4:6, 4:6] = 1
    plan.write_files()
    written = decode_mask(Path(plan.manifest.entries[0].mask_path).read_bytes())
    assert np.array_equal(written, expected)
    assert plan_import(find_coco(Path("c.json"), Path("images")), EASY, plan.manifest).manifest == plan.manifest


def test_classes_that_are_not_chosen_become_void(here):
    """Their tags go, their pixels are in no score."""
    manifest = found(
        [annotation(10, 3, box(0, 0, 2, 2)), annotation(11, 90, box(0, 0, 2, 2))], classes=("dog",)
    ).manifest
    assert [entry.tags for entry in manifest.entries] == [(), ("dog",), ()]
    assert manifest.mask_ids == {0: 0, 2: 1}


@given(bits=st.lists(st.booleans(), min_size=30, max_size=30), packed=st.booleans())
def test_any_region_survives_its_runs(bits, packed):
    """RLE in both forms draws the pixels that were packed."""
    region = np.array(bits).reshape(5, 6)
    drawn = draw([annotation(1, 7, runs(region, packed=packed))], {7: 4}, 5, 6)
    assert np.array_equal(drawn, np.where(region, 4, 0))


BAD = {
    "no image_id": ({"category_id": 3}, "has no image_id"),
    "a polygon of two corners": (annotation(10, 3, [[0, 0, 1, 1]]), "cannot be drawn: a polygon needs three corners"),
    "runs of another size": (
        annotation(10, 3, {"size": [5, 5], "counts": [25]}),
        "cannot be drawn: its size is [5, 5], the image's [10, 12]",
    ),
    "runs that do not fill": (annotation(10, 3, {"size": [10, 12], "counts": [7]}), "its runs do not fill the image"),
    "no segmentation": (annotation(10, 3, None), "some of its objects are only boxes"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_bad_annotation_is_left_out_with_its_place(here, case):
    """It costs a mask, not a photograph."""
    bad, message = BAD[case]
    plan = found([annotation(11, 3, box(0, 0, 2, 2)), annotation(11, 90, box(4, 0, 6, 2)), bad], max_bad_fraction=0.5)
    (item,) = plan.left_out
    assert message in item.line
    assert "c.json, " in item.line
    assert item.what == "mask" or "has no" in message
    assert len(plan.manifest.entries) == 3


def test_a_file_that_is_no_coco_is_refused(here):
    """Missing, not JSON, other JSON; a folder that is not there."""
    for data, message in ((b"{", "not JSON"), (b"[]", "contains no images"), (b'{"images": []}', "contains no images")):
        Path("c.json").write_bytes(data)
        with pytest.raises(DataError, match=message):
            find_coco(Path("c.json"), Path("images"))
    with pytest.raises(DataError, match="No such file"):
        find_coco(Path("d.json"), Path("images"))
    Path("c.json").write_text('{"images": [], "categories": []}')
    with pytest.raises(DataError, match="no such folder"):
        find_coco(Path("c.json"), Path("photographs"))


def test_a_photograph_outside_the_folder_is_left_out(here):
    """file_name may not climb."""
    images = [{"id": k, "file_name": name} for k, name in enumerate(["0.png", "../c.json", "/etc/passwd"])]
    listed = {
        "images": images,
        "annotations": [{**annotation(0, 3, []), "image_id": 0}],
        "categories": [{"id": 3, "name": "cat"}],
    }
    Path("c.json").write_text(json.dumps(listed))
    plan = plan_import(find_coco(Path("c.json"), Path("images")), dataclasses.replace(EASY, max_bad_fraction=0.9))
    assert [item.reason for item in plan.left_out] == [
        "'../c.json' is outside of images",
        "'/etc/passwd' is outside of images",
    ]


def test_masks_join_photographs_that_have_none(here):
    """What is here may number its classes otherwise as long as no mask of it does; then it is refused."""
    plain = ImportOptions(val_fraction=0.5, classes=("dog", "cat"))
    first = plan_import(find_coco(_file([annotation(10, 3, box(0, 0, 2, 2))], "a", 0), Path("images")), plain).manifest
    bare = dataclasses.replace(
        first,
        mask_ids={0: 0, 1: 1, 2: 2},
        entries=tuple(dataclasses.replace(e, mask_path=None, mask_sha256=None) for e in first.entries),
    )
    more = find_coco(_file([annotation(11, 90, box(0, 0, 2, 2))], "b", 1), Path("images"))
    joined = plan_import(more, ImportOptions(append=True), bare).manifest
    assert joined.mask_ids == {0: 0, 1: 2, 2: 1}
    assert joined.entries[0] == bare.entries[0]
    other = dataclasses.replace(first, mask_ids={0: 0, 1: 1, 2: 2})
    with pytest.raises(DataError, match="number their classes differently"):
        plan_import(more, ImportOptions(append=True), other)


def _file(listed: list[dict[str, object]], name: str, image: int) -> Path:
    """A file of one image that shows both categories."""
    images = [{"id": 10 + image, "file_name": f"{image}.png", "height": HEIGHT, "width": WIDTH}]
    marks = listed + [annotation(10 + image, category, box(5, 5, 6, 6)) for category in (3, 90)]
    categories = [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}]
    path = Path(f"{name}.json")
    path.write_text(json.dumps({"images": images, "annotations": marks, "categories": categories}))
    return path


@settings(max_examples=200, deadline=None)
@given(mask=arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1)))
def test_runs_are_read_as_pycocotools_writes_them(mask):
    """Its own string, and the plain list of the same runs."""
    encoded = coco_mask.encode(np.asfortranarray(mask))
    drawn = draw([{"category_id": 1, "segmentation": encoded}], {1: 1}, *mask.shape)
    assert np.array_equal(drawn, mask)
    text = {**encoded, "counts": encoded["counts"].decode()}
    assert np.array_equal(draw([{"category_id": 1, "segmentation": text}], {1: 1}, *mask.shape), mask)


@pytest.mark.parametrize("counts", ["0000000000", "XX", "P", "o", "é", [5, -1, 8], [120, 1], [3.0, 117]])
def test_runs_that_do_not_fit_are_refused(counts):
    """Too long, too short, below 0, broken off: an error, where a library in C would write beyond its memory."""
    with pytest.raises(DataError, match="cannot be drawn"):
        draw([{"category_id": 1, "segmentation": {"size": [10, 12], "counts": counts}}], {1: 1}, 10, 12)
