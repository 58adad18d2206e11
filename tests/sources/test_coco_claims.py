"""What a COCO file claims: ids that two objects share, sizes that no photograph has, and numbers that are none."""

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from labelfactory.dataset.images import decode_mask
from labelfactory.errors import DataError
from sources._coco_drawing import draw
from sources._import_plan import ImportOptions, ImportPlan, plan_import
from sources.coco import find_coco

HEIGHT, WIDTH = 10, 12
LENIENT = ImportOptions(max_bad_fraction=0.9, val_fraction=0.5)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for k in range(2):
        Image.new("RGB", (WIDTH, HEIGHT), (k, 9, 9)).save(tmp_path / f"{k}.png")
    return tmp_path


def square(x: int) -> list[list[int]]:
    return [[x, 0, x + 4, 0, x + 4, 4, x, 4]]


def parts() -> dict[str, list[dict[str, object]]]:
    """Two images, a cat in one and a dog in the other."""
    return {
        "images": [{"id": k, "file_name": f"{k}.png", "width": WIDTH, "height": HEIGHT} for k in range(2)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [{"image_id": k, "category_id": k + 1, "segmentation": square(6 * k)} for k in range(2)],
    }


def found(listed: dict[str, list[dict[str, object]]]) -> ImportPlan:
    Path("c.json").write_text(json.dumps(listed))
    return plan_import(find_coco(Path("c.json"), Path()), LENIENT)


def test_two_images_of_one_id_stop_the_import(here):
    """Two files were merged: an annotation could belong to either image. Both are named."""
    listed = parts()
    listed["images"].insert(0, {"id": "seven"})  # numbers are those of the file, not of its good objects
    listed["images"][2]["id"] = 0
    with pytest.raises(DataError) as caught:
        found(listed)
    assert r"c.json, images[2]: '1.png' has the same id (0) as '0.png' in images[1]" in caught.value.problem


def test_two_names_of_one_category_stop_the_import(here):
    """The last one would name the objects of both."""
    listed = parts()
    listed["categories"][1]["id"] = 1
    with pytest.raises(DataError, match=r"categories\[1\]: 'dog' has the same id \(1\) as 'cat' in categories\[0\]"):
        found(listed)


def test_a_category_that_is_listed_twice_is_one_category(here):
    """Merged files that agree are not ambiguous."""
    listed = parts()
    listed["categories"] *= 2
    assert [entry.tags for entry in found(listed).manifest.entries] == [("cat",), ("dog",)]


@pytest.mark.parametrize("key", ["image_id", "category_id"])
def test_true_is_not_an_id(here, key):
    """Python counts it as 1."""
    listed = parts()
    listed["annotations"].append({"image_id": 1, "category_id": 1, "segmentation": square(0)} | {key: True})
    plan = found(listed)
    assert [item.line for item in plan.left_out] == [f"c.json, annotations[2]: has no {key}"]
    assert [entry.tags for entry in plan.manifest.entries] == [("cat",), ("dog",)]
    listed = parts()
    listed["images"].append({"id": True, "file_name": "1.png"})
    listed["categories"].append({"id": True, "name": "dog"})
    assert [item.line.partition(": ")[2] for item in found(listed).left_out] == ["has no id"] * 2


@pytest.mark.parametrize("size", [(True, True), ("12", "ten"), (12.5, 10), (-12, -10), (0, 10), (None, 10), ([], {})])
def test_a_size_that_is_not_one_costs_the_mask(here, size):
    """The photograph is imported, and the reason says which size was stated."""
    listed = parts()
    listed["images"][1] |= {"width": size[0], "height": size[1]}
    plan = found(listed)
    assert [(item.image_id, item.what) for item in plan.left_out] == [("1", "mask")]
    assert "not two numbers of pixels" in plan.left_out[0].line
    assert [entry.mask_path is not None for entry in plan.manifest.entries] == [True, False]


@pytest.mark.parametrize("size", [(8000, 8000), (10**6, 10**6), (WIDTH, HEIGHT + 1)])
def test_a_mask_is_drawn_only_at_the_size_of_its_photograph(here, monkeypatch, size):
    """The claim is compared first: drawing at any size that a file claims would cost memory."""
    drawn: list[tuple[int, int]] = []

    def spy(annotations: object, numbers: object, height: int, width: int) -> np.ndarray:
        drawn.append((height, width))
        return draw(annotations, numbers, height, width)

    monkeypatch.setattr("sources._coco_masks.draw", spy)
    listed = parts()
    listed["images"][1] |= {"width": size[0], "height": size[1]}
    plan = found(listed)
    expected = f"the mask is {size[0]}×{size[1]} pixels, its photograph {WIDTH}×{HEIGHT}"
    assert [(item.image_id, item.what, item.reason) for item in plan.left_out] == [("1", "mask", expected)]
    assert set(drawn) == {(HEIGHT, WIDTH)}


def test_a_size_that_is_turned_is_drawn(here):
    """A photograph whose EXIF turns it: the file may state either size."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (HEIGHT, WIDTH)).save("1.png", exif=exif)
    listed = parts()
    listed["images"][1] |= {"width": HEIGHT, "height": WIDTH}
    listed["annotations"][1]["segmentation"] = square(0)
    plan = found(listed)
    assert not plan.left_out
    plan.write_files()
    assert decode_mask(Path(plan.manifest.entries[1].mask_path).read_bytes()).shape == (WIDTH, HEIGHT)


def drawn_at_once(annotations, numbers, height, width):
    """Crowds first, then objects from the largest to the smallest; all regions in memory."""

    def region(segmentation):
        encoded = coco_mask.frPyObjects(segmentation, height, width)
        return coco_mask.decode(encoded).astype(bool).any(axis=2)

    mask = np.zeros((height, width), np.uint8)
    pairs = [(a, region(a["segmentation"])) for a in annotations]
    for _, covered in (pair for pair in pairs if pair[0]["iscrowd"]):
        mask[covered] = 255
    single = [pair for pair in pairs if not pair[0]["iscrowd"]]
    for annotation, covered in sorted(single, key=lambda pair: -int(pair[1].sum())):
        mask[covered] = numbers[annotation["category_id"]]
    return mask


corners = st.lists(st.tuples(st.integers(-3, 15), st.integers(-3, 13)), min_size=3, max_size=5)
polygon = corners.map(lambda points: [float(x) for point in points for x in point])
objects = st.fixed_dictionaries(
    {
        "segmentation": st.lists(polygon, min_size=1, max_size=3),
        "category_id": st.integers(1, 3),
        "iscrowd": st.integers(0, 1),
    }
)


@settings(max_examples=200, deadline=None)
@given(annotations=st.lists(objects, max_size=8))
def test_one_region_at_a_time_draws_what_all_at_once_draw(annotations):
    """Sizes, equal sizes, crowds before and after objects, polygons in parts and beyond the border."""
    numbers = {1: 1, 2: 2, 3: 7}
    expected = drawn_at_once(annotations, numbers, HEIGHT, WIDTH)
    assert np.array_equal(draw(annotations, numbers, HEIGHT, WIDTH), expected)


@pytest.mark.parametrize("how", ["in one annotation", "in many", "as runs"])
def test_the_number_of_regions_needs_no_memory(how):
    """Eight hundred regions on a megapixel are 800 MB at once; drawn in a process that may use 256 MiB more than at its start."""
    program = """
    import resource, sys
    from sources._coco_drawing import draw
    side, count, how = 1000, 800, sys.argv[1]
    polygon = [0, 0, 5, 0, 5, 5]
    runs = {"size": [side, side], "counts": [0, side * side]}
    start = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (start + 2**28,) * 2)
    segmentations = [[polygon] * count] if how == "in one annotation" else [runs if how == "as runs" else [polygon]] * count
    mask = draw([{"category_id": 1, "segmentation": s} for s in segmentations], {1: 1}, side, side)
    print(mask.max())
    """
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", dedent(program), how],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "1\n", "")


def test_a_polygon_of_endless_sides_is_refused():
    """pycocotools takes memory for each pixel along a side, and ends the process where there is none."""
    zigzag = [float(10**6 * (k % 4 in (1, 2))) for k in range(20_000)]
    with pytest.raises(DataError, match="the outline of a polygon is longer than 5 million pixels"):
        draw([{"category_id": 1, "segmentation": [zigzag]}], {1: 1}, HEIGHT, WIDTH)


def test_more_categories_than_a_mask_has_values_stop_the_import(here):
    """Before a mask is drawn with one of them."""
    listed = parts()
    listed["categories"] = [{"id": k, "name": f"c{k}"} for k in range(300)]
    listed["annotations"] = [{"image_id": 0, "category_id": k, "segmentation": square(0)} for k in range(300)]
    with pytest.raises(DataError, match="300 categories; a mask can have at most 254"):
        found(listed)
