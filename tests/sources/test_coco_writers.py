"""COCO files as other tools write them: what becomes a tag, what a true mask, and what is said of it."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelfactory.dataset.images import decode_mask
from sources._batch import Batch
from sources._import_plan import ImportOptions, plan_import
from sources.coco import find_coco

HEIGHT, WIDTH = 10, 12
LENIENT = ImportOptions(max_bad_fraction=0.9, val_fraction=0.5)
Listed = dict[str, list[dict[str, object]]]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three photographs of 12 × 10 pixels; the last is turned by its EXIF, upright 12 × 10."""
    monkeypatch.chdir(tmp_path)
    Path("photos/a").mkdir(parents=True)
    for k in range(2):
        Image.new("RGB", (WIDTH, HEIGHT), (k, 9, 9)).save(f"photos/a/{k}.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (HEIGHT, WIDTH)).save("photos/a/2.jpg", exif=exif)
    return tmp_path


def polygon(x: int) -> list[list[int]]:
    """A triangle of a lower left half: not the rectangle of its box."""
    return [[x, 0, x + 4, 4, x, 4]]


def listing() -> Listed:
    """A cat in image 0, a dog in image 1, both in image 2."""
    pairs = [(0, 1), (1, 2), (2, 1), (2, 2)]
    return {
        "images": [
            {"id": k, "file_name": f"a/{k}.{'jpg' if k == 2 else 'png'}", "width": WIDTH, "height": HEIGHT}
            for k in range(3)
        ],
        "categories": [{"id": 0, "name": "pets"}, {"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": category,
                "bbox": [6 * category - 6, 0, 4, 4],
                "segmentation": polygon(6 * category - 6),
                "iscrowd": 0,
            }
            for number, (image, category) in enumerate(pairs)
        ],
    }


def batch(listed: Listed, **options: object) -> Batch:
    Path("c.json").write_text(json.dumps(listed))
    return find_coco(Path("c.json"), Path("photos"), **options)


def each(key: str, change: Callable[[dict[str, object]], object]) -> Callable[[Listed], object]:
    """A change of every object of a list."""
    return lambda listed: [change(item) for item in listed[key]]


def rectangle(annotation: dict[str, object]) -> None:
    x, y, width, height = annotation["bbox"]
    annotation["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]


def renamed(prefix: str, *, slash: str = "/", bare: bool = False) -> Callable[[Listed], object]:
    def change(item: dict[str, object]) -> None:
        end = Path(item["file_name"]).name if bare else item["file_name"]
        item["file_name"] = prefix + str(end).replace("/", slash)

    return each("images", change)


def by_url(item: dict[str, object]) -> None:
    item["coco_url"] = "http://images.example.org/" + str(item.pop("file_name"))


def texts(listed: Listed) -> None:
    for items in listed.values():
        for item in items:
            item |= {key: str(value) for key, value in item.items() if key.endswith("id") or key in ("width", "height")}


def background(listed: Listed) -> None:
    listed["categories"][0]["name"] = "_background_"
    listed["annotations"].append(
        {"image_id": 1, "category_id": 0, "segmentation": [[0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT]]}
    )


def fractions_of_a_pixel(annotation: dict[str, object]) -> None:
    annotation["segmentation"] = [*annotation["segmentation"], [3.2, 3.9], [1, 1, 2, 2]]


def clipped(annotation: dict[str, object]) -> None:
    annotation["segmentation"] = [*annotation["segmentation"], [-50, -50, -20, -50, -20, -20]]


def fractions(annotation: dict[str, object]) -> None:
    annotation["segmentation"] = [
        [x / (HEIGHT if k % 2 else WIDTH) for k, x in enumerate(annotation["segmentation"][0])]
    ]


UNUSED = "not used: pets"
SAME = (lambda listed: None, UNUSED)
SAME_MASKS: dict[str, tuple[Callable[[Listed], object], str]] = {
    "as COCO writes it; Roboflow names its project as category 0": SAME,
    "VIA: a polygon without its outer list": (
        each("annotations", lambda a: a.update(segmentation=a["segmentation"][0])),
        UNUSED,
    ),
    "pairs of x and y": (
        each("annotations", lambda a: a.update(segmentation=np.reshape(a["segmentation"], (1, -1, 2)).tolist())),
        UNUSED,
    ),
    "contours of OpenCV: parts of one and two points": (each("annotations", fractions_of_a_pixel), UNUSED),
    "parts out of the picture": (each("annotations", clipped), UNUSED),
    "CVAT's brush: iscrowd 1 on every mask": (
        each("annotations", lambda a: a.update(iscrowd=1, attributes={"occluded": False})),
        "annotations with iscrowd 1, taken as objects (CVAT writes this for masks of its brush): cat 2, dog 2",
    ),
    "iscrowd 1 everywhere": (
        each("annotations", lambda a: a.update(iscrowd="1")),
        "annotations with iscrowd 1, taken as objects (no other annotation of the same category): cat 2, dog 2",
    ),
    "pylabel, pandas: ids and sizes as text": (texts, UNUSED),
    "names instead of ids": (
        each("annotations", lambda a: a.update(category_id=["pets", "cat", "dog"][a["category_id"]])),
        UNUSED,
    ),
    "pandas: ids as decimals": (each("annotations", lambda a: a.update(image_id=float(a["image_id"]))), UNUSED),
    "pylabel: no width and height": (
        each("images", lambda i: [i.pop("width"), i.pop("height")]),
        "without width and height: 3 images; their true masks have the size of the photograph",
    ),
    "0 as width and height": (
        each("images", lambda i: i.update(width=0, height=0)),
        "without width and height: 3 images",
    ),
    "labelme2coco: paths of another machine": (
        renamed("C:\\data\\photos\\", slash="\\"),
        "found elsewhere below photos than their names say: 3 files, such as 'C:\\\\data\\\\photos\\\\a\\\\0.png'",
    ),
    "Label Studio: folders above": (
        renamed("../../media/upload/"),
        "found elsewhere below photos than their names say",
    ),
    "CVAT, Datumaro: photographs in a folder that no name states": (
        renamed("", bare=True),
        "found elsewhere below photos than their names say: 3 files, such as '0.png'",
    ),
    "corners as shares of the sides": (
        each("annotations", fractions),
        "corners of polygons lie between 0 and 1: taken as shares of width and height",
    ),
    "LVIS: coco_url alone": (each("images", by_url), "found elsewhere below photos than their names say"),
    "LVIS: categories that were looked for": (
        each("images", lambda i: i.update(neg_category_ids=[0], not_exhaustive_category_ids=[])),
        "for tags alone, type --no-true-masks",
    ),
    "merged: images and categories listed twice": (
        lambda listed: listed.update(images=listed["images"] * 2, categories=listed["categories"] * 2),
        "listed more than once, taken once: 3 images",
    ),
    "a part of a set: annotations of images that are not listed": (
        lambda listed: listed["annotations"].append({**listed["annotations"][0], "image_id": 99}),
        "ignored, as the file does not list their images: 1 annotations",
    ),
    "labelme2coco: a category that outlines the background": (
        background,
        "'_background_' is no class: the pixels of its 1 annotations are background",
    ),
}


@pytest.mark.parametrize("case", list(SAME_MASKS))
def test_the_same_objects_in_other_forms(case):
    """Each form gives the tags and masks of the plain one, and says what was decided."""
    change, words = SAME_MASKS[case]
    listed = listing()
    change(listed)
    found = batch(listed)
    assert any(words in decision for decision in found.decisions), found.decisions
    plan = plan_import(found, dataclasses.replace(LENIENT, max_bad_fraction=0))
    assert [(e.image_id, e.tags) for e in plan.manifest.entries] == [
        ("a/0", ("cat",)),
        ("a/1", ("dog",)),
        ("a/2", ("cat", "dog")),
    ]
    assert plan.manifest.classes.names == ("cat", "dog")
    plan.write_files()
    for entry, (left, right) in zip(plan.manifest.entries, [(1, 0), (0, 1), (1, 1)], strict=True):
        values = decode_mask(Path(entry.mask_path).read_bytes())
        assert values.shape == (HEIGHT, WIDTH)
        shown = {plan.manifest.mask_ids[v] for v in np.unique(values).tolist()}
        assert shown == {0} | ({1} if left else set()) | ({2} if right else set())
        assert bool(values[3, 1]) == bool(left)
        assert bool(values[3, 7]) == bool(right)


BOXES: dict[str, Callable[[Listed], object]] = {
    "Roboflow, Label Studio: an empty list": each("annotations", lambda a: a.update(segmentation=[])),
    "SuperGradients: no such key": each("annotations", lambda a: a.pop("segmentation")),
    "null": each("annotations", lambda a: a.update(segmentation=None)),
    "pylabel: an empty text": each("annotations", lambda a: a.update(segmentation="")),
    "COCO Annotator: the rectangle, and isbbox": each("annotations", lambda a: [rectangle(a), a.update(isbbox=True)]),
    "an empty polygon": each("annotations", lambda a: a.update(segmentation=[[]])),
}


@pytest.mark.parametrize("case", list(BOXES))
def test_boxes_are_tags_alone(case):
    """No photograph gets a mask of background; one line says so."""
    listed = listing()
    BOXES[case](listed)
    found = batch(listed)
    assert "tags alone, no true masks: none of 4 annotations has a segmentation, only boxes" in found.decisions
    assert [(c.tags, c.mask) for c in found.candidates] == [(("cat",), None), (("dog",), None), (("cat", "dog"), None)]
    assert found.mask_values == {}
    assert not found.left_out


def test_rectangles_of_boxes_are_said_and_can_be_left():
    """Converted detections look like outlines; the data cannot tell, so a person is told what to type."""
    listed = listing()
    each("annotations", rectangle)(listed)
    found = batch(listed)
    assert any("if they are only boxes, type --no-true-masks" in text for text in found.decisions)
    assert all(c.mask for c in found.candidates)
    found = batch(listed, true_masks=False)
    assert [c.mask for c in found.candidates] == [None] * 3
    assert [c.tags for c in found.candidates] == [("cat",), ("dog",), ("cat", "dog")]


WRONG: dict[str, tuple[Callable[[Listed], object], dict[str, str]]] = {
    "an object of image 2 is only a box": (
        lambda listed: listed["annotations"][3].update(segmentation=[]),
        {"a/2": "some of its objects are only boxes"},
    ),
    "sizes swapped, and EXIF turns one photograph": (
        each("images", lambda i: i.update(width=HEIGHT, height=WIDTH)),
        dict.fromkeys(
            ("a/0", "a/1"),
            "the mask is 10×12 pixels, its photograph 12×10; width and height are swapped, and no EXIF turns it",
        ),
    ),
    "the size of another photograph": (
        lambda listed: listed["images"][2].update(width=640, height=480),
        {"a/2": "the mask is 640×480 pixels, its photograph 12×10"},
    ),
    "runs of another size": (
        lambda listed: listed["annotations"][1].update(segmentation={"size": [5, 5], "counts": [25]}),
        {"a/1": "its size is [5, 5], the image's [10, 12]"},
    ),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_what_is_wrong_with_a_mask_costs_the_mask_alone(case):
    """Photographs and tags stay, whatever their masks are."""
    change, reasons = WRONG[case]
    listed = listing()
    change(listed)
    plan = plan_import(batch(listed), LENIENT)
    assert {item.image_id for item in plan.left_out} == set(reasons)
    assert all(item.what == "mask" and reasons[item.image_id] in item.reason for item in plan.left_out)
    assert [e.image_id for e in plan.manifest.entries if e.mask_path] == [
        k for k in ("a/0", "a/1", "a/2") if k not in reasons
    ]
    assert [e.tags for e in plan.manifest.entries][:2] == [("cat",), ("dog",)]


def test_a_category_that_is_not_listed_costs_its_photograph():
    """Its tags are not known; next to the listed ids it stops the import, as all others may be wrong by one too."""
    listed = listing()
    listed["annotations"][3]["category_id"] = 7
    found = batch(listed)
    assert [(item.image_id, item.what) for item in found.left_out] == [("a/2", "photograph")]
    assert "its tags are not known" in found.left_out[0].reason
    assert (len(found.candidates), found.problems) == (2, ())
    listed["categories"] = [{"id": 2, "name": "cat"}, {"id": 3, "name": "dog"}]
    (problem,) = batch(listed).problems
    assert (
        "annotations have the category 1, next to those that are listed, 2 to 3: all may be shifted by one" in problem
    )


def test_polygons_that_fit_only_upright_are_drawn_upright():
    """TACO states the size before EXIF turns the photograph, and outlines it as people see it."""
    listed = listing()
    listed["images"][2] |= {"width": HEIGHT, "height": WIDTH}
    listed["annotations"][3]["segmentation"] = [[8, 2, WIDTH, 6, 8, 6]]
    plan = plan_import(batch(listed), LENIENT)
    plan.write_files()
    assert not plan.left_out
    values = decode_mask(Path(plan.manifest.entries[2].mask_path).read_bytes())
    assert values.shape == (HEIGHT, WIDTH)
    assert plan.manifest.mask_ids[int(values[5, 9])] == 2


@pytest.mark.parametrize("how", ["two ids", "two folders of one name"])
def test_one_file_of_two_ids_stops_the_import(how):
    """Each annotation would be in one of two masks of the same photograph. Both names and ids are in the message."""
    listed = listing()
    second = {"two ids": "a/0.png", "two folders of one name": "b/a/0.png"}[how]
    listed["images"][1] |= {"id": 5, "file_name": second}
    listed["annotations"][1]["image_id"] = 5
    (problem,) = batch(listed).problems
    assert f"images[1]: {second!r} (id 5) and 'a/0.png' (id 0, images[0]) are one file, 'a/0.png'" in problem


def test_a_name_with_a_comma_and_crowds_that_a_person_names():
    """Such a name stays one class; the default for crowds beside objects is void, with the option to type."""
    listed = listing()
    listed["categories"][1]["name"] = "cup, mug"
    listed["annotations"][2]["iscrowd"] = 1
    found = batch(listed)
    assert found.names == ("cup, mug", "dog")
    assert [c.tags for c in found.candidates] == [("cup, mug",), ("dog",), ("dog",)]
    assert any(
        "void and no tags (if they are objects, type --crowds objects): cup, mug 1" in d for d in found.decisions
    )
    assert [c.tags for c in batch(listed, crowds="objects").candidates][2] == ("cup, mug", "dog")


def test_parts_of_a_set_number_their_masks_alike():
    """A file in which a category has no annotation still numbers the others as the whole set does."""
    listed = listing()
    listed["annotations"] = listed["annotations"][1:2]
    found = batch(listed)
    assert found.names == ("dog",)
    assert found.mask_values == {1: "pets", 2: "cat", 3: "dog"}
