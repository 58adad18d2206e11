"""Edited masks as editors and annotation tools write them: names, palettes, colours, sizes, and the way there and back."""

import dataclasses
import io
import json
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cat_and_dog import CLASSES, MINE, NAMES, SIZE, dataset, drawn, edited
from drawn_masks import other_palette, png
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from exports import cvat, label_studio
from labelfactory.dataset.images import encode_mask
from labelfactory.dataset.prepared import Dataset
from labelfactory.errors import DataError
from labelfactory.schema import VOID, palette

__all__ = ["dataset"]

BLACK, CAT, DOG = (0, 0, 0), (128, 0, 0), (0, 128, 0)
EDITED = drawn(3)


def write(name: str, data: bytes | str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(data.encode() if isinstance(data, str) else data)


# --- pixels -----------------------------------------------------------------------------------------------------------

OURS = [tuple(int(part) for part in palette()[k]) for k in range(3)]
READ: dict[str, Callable[[np.ndarray], bytes]] = {
    "ours": encode_mask,
    "a grey PNG": png,
    "a palette by count (GIMP)": lambda m: other_palette(m, [BLACK, DOG, CAT], [0, 2, 1]),
    "a palette with the object first (pngquant)": lambda m: other_palette(m, [DOG, CAT, BLACK], [2, 1, 0]),
    "a ramp of greys": lambda m: other_palette(m, [(k,) * 3 for k in range(256)], [0, 1, 2]),
    "RGB (Paint)": lambda m: png(palette()[m]),
    "RGBA with a transparent background (Photoshop)": lambda m: png(
        np.dstack([np.where(m[..., None] > 0, palette()[m], 255), np.where(m > 0, 255, 0)]).astype(np.uint8)
    ),
    "numbers in RGB": lambda m: png(np.dstack([m] * 3)),
    "numbers in 16 bits": lambda m: png(m.astype(np.uint16)),
    "Pillow's optimize": lambda m: _optimized(m),
}


def _optimized(mask: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.open(io.BytesIO(encode_mask(mask))).save(stream, "PNG", optimize=True)
    return stream.getvalue()


@pytest.mark.parametrize("how", READ)
def test_what_editors_save_is_the_mask_that_they_show(dataset, how):
    """By number where the palette is ours, else by colour; one that was not edited is nothing new."""
    write("in/a.png", READ[how](EDITED))
    write("in/c.png", READ[how](drawn()))
    found = edited("in", dataset)
    assert (list(found.masks), found.same) == (["a"], ["c"])
    assert np.array_equal(found.masks["a"], EDITED)
    assert not found.inexact


def erased_with_its_colour(mask: np.ndarray) -> bytes:
    pixels = np.dstack([palette()[mask], np.full(SIZE, 255, np.uint8)])
    pixels[2, 2, 3] = 0  # which is (0, 0, 0, 0) where the eraser of GIMP was
    pixels[5, 3] = (*CAT, 0)
    return png(pixels)


REFUSED: dict[str, tuple[Callable[[np.ndarray], bytes], str]] = {
    "a palette of nobody": (
        lambda m: other_palette(m, [(9, 9, 9), (1, 2, 3), (3, 2, 1)], [0, 1, 2]),
        "its palette is not ours: number 0 has the colour (9, 9, 9), which is not a class's",
    ),
    "an object that was erased but kept its colour": (
        erased_with_its_colour,
        "pixels are transparent but keep the colour",
    ),
    "black and white": (lambda m: png((m > 0) * np.uint8(255)), "0 and 255 alone, and 255 is void; write the number"),
    "half transparent": (
        lambda m: png(np.dstack([palette()[m], np.full(SIZE, 128, np.uint8)])),
        "half transparent",
    ),
}


@pytest.mark.parametrize("how", REFUSED)
@pytest.mark.parametrize("nearest", [False, True])
def test_what_can_be_read_in_two_ways_is_refused(dataset, how, nearest):
    """Also with --nearest, which is then not named: it cannot help."""
    write_mask, said = REFUSED[how]
    write("in/a.png", write_mask(EDITED))
    with pytest.raises(DataError) as caught:
        edited("in", dataset, nearest=nearest)
    assert said in caught.value.problem
    assert "--nearest" not in caught.value.problem


def test_a_smoothed_edge_is_taken_for_the_nearest_of_the_masks_own_classes(dataset):
    """Not for a class whose colour happens to lie between: half of cat's is another class's of VOC."""
    pixels = palette()[EDITED].copy()
    pixels[5, 6] = (70, 3, 0)
    pixels[5, 0] = (60, 0, 0)
    write("in/a.png", png(pixels))
    with pytest.raises(DataError, match=r"\(2 of 192 pixels\); --nearest takes them for the nearest class"):
        edited("in", dataset)
    found = edited("in", dataset, nearest=True)
    wanted = EDITED.copy()
    wanted[5, 6] = 1
    assert np.array_equal(found.masks["a"], wanted)
    assert found.inexact == {"a": 2}


def test_a_mask_at_another_scale_is_scaled_when_asked(dataset):
    """One of another shape is another picture's, and no option is named for it."""
    write("in/a.png", encode_mask(np.kron(EDITED, np.ones((2, 2), np.uint8))))
    with pytest.raises(DataError, match="32×24 pixels, its photograph 16×12; --nearest scales it"):
        edited("in", dataset)
    assert np.array_equal(edited("in", dataset, nearest=True).masks["a"], EDITED)
    write("in/a.png", encode_mask(EDITED[:, :9].copy()))
    with pytest.raises(DataError, match=r"9×12 pixels, its photograph 16×12\n"):
        edited("in", dataset, nearest=True)


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "image_id"),
    [
        ("a.png", "a"),
        ("cb0618f6-a.png", "a"),
        ("cb0618f6-sub%2Fb%201.png", "sub/b 1"),
        ("cb0618f6-sub2Fb201.png", "sub/b 1"),
        ("images/sub%2Fb%201.png", "sub/b 1"),
        ("sub/b 1.png", "sub/b 1"),
        ("a.jpg.png", "a"),
        ("a_jpg.rf.8f9c0e4b1d2a3f4e5d6c7b8a9f0e1d2c_mask.png", "a"),
    ],
)
def test_names_with_what_other_tools_put_before_them(dataset, name, image_id):
    """Label Studio's uploads have eight digits before the name and lose its special characters."""
    write(f"in/{name}", encode_mask(EDITED))
    write("in/._a.png", b"of macOS")
    write("in/__MACOSX/a.png", b"of macOS")
    assert list(edited("in", dataset).masks) == [image_id]


# --- there and back ---------------------------------------------------------------------------------------------------


class Exported:
    """What an exporter needs of a selection."""

    classes = CLASSES.with_background
    min_area = 0

    def __init__(self, dataset: Dataset, masks: Mapping[str, np.ndarray]) -> None:
        self.dataset, self._masks = dataset, masks

    def __iter__(self):
        from exports._selection import Item

        for record in self.dataset.records:
            item = Item(record, self._masks[record.image_id], "", 1.0, "refine_crf")
            vars(item)["photograph"] = (Path(record.path).read_bytes(), ".png")
            yield item


def label_studio_json(out: Path, edit: Callable[[dict[str, Any]], None], *, prefix: str = "") -> list[dict[str, Any]]:
    """What Label Studio exports as JSON after a person accepted the predictions of our tasks and edited one."""
    exported = []
    for number, task in enumerate(json.loads((out / "tasks.json").read_text()), 7):
        results = [{**result, "origin": "prediction"} for result in task["predictions"][0]["result"]]
        data = dict(task["data"])
        if prefix:
            data = {"image": f"/data/upload/3/{prefix}{data['image'].rpartition('/')[2]}"}
        annotation = {"id": 50 + number, "completed_by": 1, "was_cancelled": False, "result": results}
        exported.append({"id": number, "data": data, "annotations": [annotation], "predictions": [number]})
    edit(exported[0])
    return exported


def move(task: dict[str, Any]) -> None:
    """Three pixels down, in per cent, as its canvas writes it."""
    for result in task["annotations"][0]["result"]:
        if result["value"]["polygonlabels"] == ["cat"]:
            result["value"]["points"] = [[x, y + 300 / SIZE[0]] for x, y in result["value"]["points"]]


@pytest.mark.parametrize("form", ["JSON", "JSON-MIN", "uploaded", "folder"])
def test_label_studio_there_and_back(dataset, form):
    """Our tasks, of which one was edited: that one is taken, in the person's pixels, and void that nobody painted stays."""
    mine = {**MINE, "a": np.where(drawn() == 0, np.where(np.arange(16) > 14, 255, 0), drawn()).astype(np.uint8)}
    label_studio.write(Exported(dataset, mine), Path("out"))
    tasks = label_studio_json(Path("out"), move, prefix="cb0618f6-" if form == "uploaded" else "")
    if form == "JSON-MIN":
        tasks = [{**t["data"], "id": t["id"], "annotator": 1, "annotation_id": t["annotations"][0]["id"],
                  "label": [{**r["value"], "original_width": 16, "original_height": 12} for r in t["annotations"][0]["result"]]}
                 for t in tasks]  # fmt: skip
    write("in/project-1-at-2024.json", json.dumps(tasks))
    found = edited("in" if form == "folder" else "in/project-1-at-2024.json", dataset, mine)
    assert (list(found.masks), sorted(found.same)) == (["a"], ["c", "sub/b 1"])
    wanted = np.where((EDITED == 0) & (mine["a"] == VOID), VOID, EDITED)
    assert np.array_equal(found.masks["a"], wanted)
    assert "stays void (1 masks)" in found.decisions[0]


def strokes(region: np.ndarray) -> list[int]:
    """Brush strokes as Label Studio packs them: words of 8 bits, here one run a pixel row of four channels."""
    bits = f"{region.size * 4:032b}" + f"{7:05b}" + "".join(f"{k - 1:04b}" for k in (3, 4, 8, 16))
    for value in np.repeat(region.ravel() * 255, 4).reshape(-1, 4):
        bits += "1" + "00" + f"{3:03b}" + f"{value[0]:08b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[k : k + 8], 2) for k in range(0, len(bits), 8)]


def test_brush_strokes_of_label_studio(dataset):
    """In the JSON as runs, also drawn over a copy of another scale; as PNG files with the JSON that says which task is which."""
    large = np.kron(EDITED, np.ones((2, 2), np.uint8))
    results = [
        {"type": "brushlabels", "original_width": 32, "original_height": 24, "from_name": "tag",
         "value": {"format": "rle", "rle": strokes(large == k), "brushlabels": [name]}}
        for k, name in enumerate(CLASSES.names, 1)
    ]  # fmt: skip
    task = {"id": 1, "data": {"image": "/data/upload/1/cb0618f6-a.png"}, "annotations": [{"id": 2, "result": results}]}
    write("tasks.json", json.dumps([task]))
    assert np.array_equal(edited("tasks.json", dataset).masks["a"], EDITED)
    for k, name in enumerate(CLASSES.names, 1):
        write(f"in/task-1-annotation-2-by-1-tag-{name}-0.png", png((k == EDITED) * np.uint8(255)))
    with pytest.raises(DataError, match="nothing says which image task 1 is"):
        edited("in", dataset)
    write("in/project.json", json.dumps([task]))
    assert np.array_equal(edited("in", dataset).masks["a"], EDITED)


def cvat_xml(out: Path) -> bytes:
    """CVAT's export of our annotations after a person moved the cat of the first image."""
    root = ElementTree.parse(out / "annotations.xml").getroot()
    first = root.find("image")
    assert first is not None
    next(mask for mask in first if mask.get("label") == "cat").set("top", "5")
    return ElementTree.tostring(root)


def cvat_masks(pixels: np.ndarray) -> bytes:
    """A zip of "Segmentation mask 1.1": CVAT's own colours and order of labels."""
    table = {0: ("background", (0, 0, 0)), 2: ("big dog", (51, 221, 255)), 1: ("cat", (250, 50, 83))}
    rows = ["# label:color_rgb:parts:actions"] + [f"{n}:{','.join(map(str, c))}::" for n, c in table.values()]
    colours = np.array([table[k][1] for k in range(3)], dtype=np.uint8)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("labelmap.txt", "\n".join(rows))
        archive.writestr("ImageSets/Segmentation/default.txt", "images/a\nimages/c\n")
        for name, mask in (("a", pixels), ("c", drawn())):
            archive.writestr(f"SegmentationClass/images/{name}.png", png(colours[mask]))
            archive.writestr(f"SegmentationObject/images/{name}.png", png(colours[mask] // 2))
            archive.writestr(f"JPEGImages/images/{name}.png", png(colours[mask]))
    return stream.getvalue()


def cvat_coco(pixels: np.ndarray) -> bytes:
    """COCO 1.0 of CVAT: each mask of its brush is a crowd."""
    annotations = []
    for k, mask in enumerate((pixels, drawn())):
        for label in (1, 2):
            run = coco_mask.encode(np.asfortranarray((mask == label).astype(np.uint8)))
            counts = run["counts"].decode()
            annotations.append({"id": len(annotations) + 1, "image_id": k + 1, "category_id": label, "iscrowd": 1,
                                "segmentation": {"size": list(SIZE), "counts": counts}, "attributes": {"occluded": False},
                                "bbox": [0, 0, 1, 1], "area": 1})  # fmt: skip
    images = [{"id": k, "file_name": f"images/{n}.png", "width": 16, "height": 12} for k, n in ((1, "a"), (2, "c"))]
    categories = [{"id": k, "name": name} for k, name in enumerate(CLASSES.names, 1)]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories}).encode()


@pytest.mark.parametrize("form", ["annotations.xml", "images.zip", "masks.zip", "coco.zip", "polygons.xml"])
def test_cvat_there_and_back(dataset, form):
    """Our annotations, of which one was edited, in each form that CVAT exports: that one is taken, in the person's pixels.

    None of them has a void, so ours is no edit where it is background there.
    """
    mine = {name: np.where(np.arange(16) > 14, VOID, drawn()).astype(np.uint8) for name in NAMES}
    cvat.write(Exported(dataset, mine), Path("out"))
    if form == "masks.zip":
        write(form, cvat_masks(EDITED))
    elif form == "annotations.xml":
        write(form, cvat_xml(Path("out")))
    elif form == "polygons.xml":
        cat = '<polygon label="cat" z_order="0" points="1.5,5.5;5.5,5.5;5.5,9.5;1.5,9.5"/>'
        dog = '<polygon label="big dog" z_order="0" points="8.5,4.5;14.5,4.5;14.5,9.5;8.5,9.5"/>'
        write(form, f'<annotations><image name="a.png" width="16" height="12">{cat}{dog}</image></annotations>')
    else:
        with zipfile.ZipFile(form, "w") as archive:
            archive.write("0.png", "images/a.png")
            if form == "coco.zip":
                archive.writestr("annotations/instances_default.json", cvat_coco(EDITED))
            else:
                archive.writestr("annotations.xml", cvat_xml(Path("out")))
    found = edited(form, dataset, mine)
    assert list(found.masks) == ["a"]
    assert np.array_equal(found.masks["a"], np.where(np.arange(16) > 14, VOID, EDITED))
    if form == "coco.zip":
        assert "taken as objects (CVAT writes this for masks of its brush)" in found.decisions[0]


@pytest.mark.parametrize(
    ("form", "content", "said"),
    [
        ("x.zip", b"PK no zip", "not a zip that can be read"),
        ("x.xml", b"<annotations/>", "contains no <image>"),
        ("x.xml", b"<annotations", "not XML"),
        ("x.xml", b'<a><image name="a"><box label="cat"/></image></a>', "a <box> has no outline: draw a mask or a polygon"),
        ("x.xml", b'<a><image name="a"><mask label="cat" rle="0,5" width="9" height="9"/></image></a>', "do not fill its box"),
        ("x.xml", b'<a><image name="a"><polygon label="cow" points="1,1"/></image></a>', "'cow' is not a class"),
        ("x.json", b'[{"id": 1, "data": {"image": "a.png"}, "annotations": []}]', "no task has an annotation"),
        ("x.json", b'[{"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": [{"value": {"ellipselabels": ["cat"]}}]}]}]',
         "ellipselabels: has no outline"),
        ("x.json", b'[{"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": [{"image_rotation": 90, "value": '
         b'{"polygonlabels": ["cat"], "points": [[1, 1]]}}]}]}]', "was turned by 90"),
    ],
)  # fmt: skip
def test_what_a_tool_wrote_otherwise_is_named(dataset, form, content, said):
    """The place and what to do; nothing is taken."""
    write(form, content)
    with pytest.raises(DataError, match=said):
        edited(form, dataset)


def test_a_zip_leads_nowhere(dataset):
    """Names outside of its folder are refused."""
    with zipfile.ZipFile("x.zip", "w") as archive:
        archive.writestr("../a.png", encode_mask(EDITED))
    with pytest.raises(DataError, match="leads out of its folder"):
        edited("x.zip", dataset)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.floats(0, 1, exclude_max=True),
    value=st.integers(0, 255),
    form=st.sampled_from(["x.zip", "x.xml", "x.json"]),
)
def test_one_wrong_byte_is_a_mask_or_a_readable_error(dataset, place, value, form):
    """In a zip, an XML or a JSON that was good: no other error comes out."""
    cvat.write(Exported(dataset, MINE), Path("out"))
    value_of = {"rle": strokes(EDITED == 1), "brushlabels": ["cat"]}
    results = [{"original_width": 16, "original_height": 12, "value": value_of}]
    task = {"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": results}]}
    good = {"x.zip": cvat_masks(EDITED), "x.xml": cvat_xml(Path("out")), "x.json": json.dumps([task]).encode()}
    data = bytearray(good[form])
    data[int(place * len(data))] = value
    write(form, bytes(data))
    taken: list[str] = []
    problem = "none"
    try:
        taken = [*edited(form, dataset).masks]
    except DataError as error:
        problem = error.problem
    assert problem
    assert set(taken) <= set(NAMES)


def test_a_name_that_two_images_answer_to_is_refused(dataset):
    """The id of one is the file name that exports give to the other: no mask goes to the wrong photograph."""
    first, second, other = dataset.records
    records = (dataclasses.replace(first, image_id="a b"), dataclasses.replace(second, image_id="a%20b"), other)
    twins = dataclasses.replace(dataset, records=records)
    mine = {record.image_id: drawn() for record in records}
    write("in/a%20b.png", encode_mask(EDITED))
    with pytest.raises(DataError, match="it may be of 'a%20b' or of 'a b'"):
        edited("in", twins, mine)
    write("other/a%2520b.png", encode_mask(EDITED))
    write("other/c.png", encode_mask(EDITED))
    assert set(edited("other", twins, mine).masks) == {"a%20b", "c"}


def test_a_name_that_may_be_a_photographs_file_is_refused_too(dataset):
    """`a.jpg` may be the id of one image, or the photograph of the image `a`."""
    first, second, other = dataset.records
    records = (dataclasses.replace(first, image_id="a"), dataclasses.replace(second, image_id="a.jpg"), other)
    twins = dataclasses.replace(dataset, records=records)
    mine = {record.image_id: drawn() for record in records}
    write("in/a.jpg.png", encode_mask(EDITED))
    with pytest.raises(DataError, match=r"it may be of 'a\.jpg' or of 'a'"):
        edited("in", twins, mine)
    write("other/a.png", encode_mask(EDITED))
    assert set(edited("other", twins, mine).masks) == {"a"}


@pytest.mark.parametrize("named", ["export", "export/SegmentationClass", "export.zip"])
def test_a_mask_that_was_exported_over_another_photograph_is_not_taken(dataset, named):
    """The photograph of that id was replaced since; what was not edited is no problem, as before."""
    photographs = {record.image_id: record.sha256 for record in dataset.records}
    assert "9" * 64 not in photographs.values()
    for sha256, is_taken in ((photographs["a"], True), ("9" * 64, False)):
        images = {"a": {"photograph": sha256}, "c": {"photograph": "9" * 64}}
        write("export/provenance.json", json.dumps({"images": images}))
        write("export/SegmentationClass/a.png", encode_mask(EDITED))
        write("export/SegmentationClass/c.png", encode_mask(drawn()))
        with zipfile.ZipFile("export.zip", "w") as archive:
            for path in Path("export").rglob("*.*"):
                archive.write(path)
        if is_taken:
            found = edited(named, dataset)
            assert (list(found.masks), found.same) == (["a"], ["c"])
        else:
            with pytest.raises(DataError, match=r"1 of 2 masks .*\n.*another photograph of a, by its provenance.json"):
                edited(named, dataset)
    write("export/provenance.json", "[{}]")
    assert list(edited("export", dataset).masks) == ["a"]
