"""VOC folders as psa, SEAM, IRN and DeepLab use them, labels in a pickle that must not run, and folders that are not VOC's."""

import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from labelfactory.dataset.images import encode_mask
from labelfactory.dataset.manifest import Entry
from labelfactory.errors import DataError
from sources._import_plan import ImportOptions, plan_import
from sources._npy_labels import read_label_vectors
from sources.voc import VOC_NAMES, find_voc

IDS = ("2007_000032", "2007_000039", "2008_000042")
TAGS = {IDS[0]: ("cat", "dog"), IDS[1]: ("dog",), IDS[2]: ()}
CLASSES = VOC_NAMES[1:]


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Three photographs with tags."""
    root = tmp_path / "home/VOCdevkit/VOC2012"
    for folder in ("JPEGImages", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for k, name in enumerate(IDS):
        Image.new("RGB", (8, 6), (70 * k, 0, 0)).save(root / f"JPEGImages/{name}.jpg")
    (root / "tags.csv").write_text("".join(f"{name}.jpg,{'|'.join(tags)}\n" for name, tags in TAGS.items()))
    return root


def masks(root: Path, folder: str, values: dict[str, int]) -> None:
    (root / folder).mkdir()
    for name, value in values.items():
        (root / folder / f"{name}.png").write_bytes(encode_mask(np.full((6, 8), value, np.uint8)))


def entries(root: Path, **options: Any) -> dict[str, Entry]:
    return {e.image_id: e for e in plan_import(find_voc(root, **options), ImportOptions()).manifest.entries}


ROWS = {
    "ids": "{0}",
    "names of files": "{0}.jpg",
    "one column": "JPEGImages/{0}.jpg",
    "psa": "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png",
    "another computer": "/home/ann/VOCdevkit/VOC2012/JPEGImages/{0}.jpg\t/home/ann/VOCdevkit/VOC2012/SegmentationClassAug/{0}.png",
    "Windows": "\\JPEGImages\\{0}.jpg \\SegmentationClassAug\\{0}.png",
    "names": "{0}.jpg {0}.png",
}


@pytest.mark.parametrize("case", list(ROWS))
def test_lists_name_images_in_several_ways(voc, case):
    """The id is the name without suffix, said unless the list has ids; the masks are those of the folder that rows name."""
    masks(voc, "SegmentationClass", {IDS[0]: 8})
    masks(voc, "SegmentationClassAug", {IDS[0]: 8, IDS[1]: 12})
    text = "".join(ROWS[case].format(name) + "\n" for name in IDS)
    (voc / "ImageSets/Segmentation/train_aug.txt").write_text(text)
    read = entries(voc)
    assert {name: e.tags for name, e in read.items()} == TAGS
    named = "Aug" in text
    assert [Path(e.mask_path).parent.name if e.mask_path else "" for e in read.values()] == [
        "SegmentationClassAug" if named else "SegmentationClass", "SegmentationClassAug", ""
    ]  # fmt: skip
    said = [] if case == "ids" else ["train_aug.txt: 3 rows name files; the image id is the name without suffix"]
    said += [
        "true masks from "
        + ("SegmentationClassAug (2)" if named else "SegmentationClass (1), SegmentationClassAug (1)")
    ]
    assert list(find_voc(voc).decisions) == said


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            "images/2007_000032.jpg",
            "'images/2007_000032.jpg' is a path, not an image id; a row is one image id, such as",
        ),
        ("/JPEGImages/2007_000032.png.gz", "is a path, not an image id"),
        ("2007_000032  -1", "'2007_000032  -1' is a row for one class; a row is one image id, such as 2007_000032, or"),
        ("2007_000099.jpg", "JPEGImages/2007_000099.jpg does not exist"),
    ],
)
def test_another_row_is_refused_with_the_form_that_is_wanted(voc, row, said):
    """Once, with its row."""
    (voc / "ImageSets/Segmentation/train.txt").write_text(f"{IDS[1]}\n{IDS[2]}\n{row}\n")
    (voc / "tags.csv").write_text("2007_000039,dog\n2008_000042,cat\n2007_000099,cat\n")
    with pytest.raises(DataError, match="1 problem\n") as caught:
        plan_import(find_voc(voc), ImportOptions())
    assert "train.txt, row 3: " in caught.value.problem
    assert said in caught.value.problem


def test_an_id_may_look_like_a_file_or_a_row(voc):
    """What is in JPEGImages decides."""
    for name in ("a.jpg", "b 1", "c.v2"):
        (voc / f"JPEGImages/{name}.png").write_bytes((voc / f"JPEGImages/{IDS[0]}.jpg").read_bytes())
    (voc / "ImageSets/Segmentation/train.txt").write_text("a.jpg\nb 1\nc.v2.png\n")
    (voc / "tags.csv").write_text("a.jpg,cat\nb 1,cat\nc.v2,cat\n")
    assert list(entries(voc)) == ["a.jpg", "b 1", "c.v2"]


# --- cls_labels.npy ---------------------------------------------------------------------------------------------------


def vector(tags: tuple[str, ...], kind: str = "<f4") -> np.ndarray:
    return np.array([name in tags for name in CLASSES]).astype(kind)


def saved(path: Path, labels: dict[Any, Any], protocol: int | None = None) -> Path:
    """As numpy.save writes it, or as older versions did: in another protocol, with the names of another version."""
    array = np.empty((), dtype=object)
    array[()] = labels
    np.save(path, array)
    if protocol is not None:
        data = pickle.dumps(array, protocol=protocol)
        for name in (b"multiarray", b"numeric"):
            data = data.replace(b"cnumpy._core." + name, b"cnumpy.core." + name)
        head = path.read_bytes()
        path.write_bytes(head[: 10 + struct.unpack("<H", head[8:10])[0]] + data)
    return path


@pytest.mark.parametrize("protocol", [None, 0, 2, 3, 5])
@pytest.mark.parametrize("kind", ["<f4", ">f8", "<i8", "|u1", "|b1"])
def test_vectors_are_read_in_every_protocol(tmp_path, protocol, kind):
    """By a reader that knows no name but those of arrays."""
    labels = {name: vector(tags, kind) for name, tags in TAGS.items()}
    path = saved(tmp_path / "cls_labels.npy", labels, protocol)
    assert {name: [*map(float, v)] for name, v in read_label_vectors(path).items()} == {
        name: [*map(float, v)] for name, v in labels.items()
    }


@pytest.mark.parametrize(
    "name", [str, lambda name: f"{name}.jpg", lambda name: int(name.replace("_", ""))], ids=["psa", "files", "IRN"]
)
def test_tags_come_from_label_vectors(voc, name):
    """Names as psa has them, with a suffix, or the digits alone; images that are on no list are passed over."""
    (voc / "ImageSets/Segmentation/train.txt").write_text("\n".join(IDS))
    labels = {name(image_id): vector(tags) for image_id, tags in TAGS.items()}
    path = saved(voc / "cls_labels.npy", labels | {name("2011_000999"): vector(("bus",))})
    assert {i: e.tags for i, e in entries(voc, tags_file=path).items()} == TAGS
    (voc / "tags.csv").unlink()
    with pytest.raises(DataError, match=r"name one with --tags, such as --tags .*cls_labels\.npy"):
        plan_import(find_voc(voc), ImportOptions())


def test_other_label_files_are_refused_in_one_line(voc):
    """With the form that is wanted."""
    (voc / "ImageSets/Segmentation/train.txt").write_text("\n".join(IDS))
    good = {image_id: vector(tags) for image_id, tags in TAGS.items()}
    cases = {
        "a vector has 80 numbers, the folder 20 classes; classes.txt": good | {IDS[0]: np.zeros(80)},
        "the vector of '2007_000032' holds other numbers than 0 and 1": good | {IDS[0]: np.full(20, 0.5)},
        "no row for '2007_000032'": {i: v for i, v in good.items() if i != IDS[0]},
        "no dictionary of vectors; a dictionary {name: vector of 0 and 1": {"a": "b"},
    }
    for said, labels in cases.items():
        with pytest.raises(DataError, match="1 problem\n") as caught:
            plan_import(find_voc(voc, tags_file=saved(voc / "l.npy", labels)), ImportOptions())
        assert said in caught.value.problem
    np.save(voc / "l.npy", np.eye(3))
    with pytest.raises(DataError, match="an array of numbers; a dictionary"):
        plan_import(find_voc(voc, tags_file=voc / "l.npy"), ImportOptions())


class Evil:
    """A pickle that would call a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def header() -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    return stream.getvalue()


@pytest.mark.parametrize("protocol", range(6))
def test_no_code_of_a_label_file_runs(tmp_path, protocol, monkeypatch):
    """Functions of the system, of Python, of NumPy and of this project are refused by their names before anything is called."""
    monkeypatch.chdir(tmp_path)
    calls = [
        Evil(exec, "open('ran', 'w')"), Evil(eval, "open('ran', 'w')"), Evil(open, "ran", "w"), Evil(getattr, "a", "upper"),
        Evil(np.save, "ran", 1), Evil(np.fromfile, "/etc/passwd"), Evil(read_label_vectors, "x"), Evil(Path.touch, Path("ran")),
        Evil(np.memmap, "ran"), Evil(type, "x", (), {}),
    ]  # fmt: skip
    for call in calls:
        for loaded in (call, {"a": call}, {"a": [vector(()), call]}):
            path = tmp_path / "l.npy"
            path.write_bytes(header() + pickle.dumps(loaded, protocol=protocol))
            with pytest.raises(DataError, match="without running code") as caught:
                read_label_vectors(path)
            assert "it names" in caught.value.problem
    assert [p.name for p in tmp_path.iterdir()] == ["l.npy"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.one_of(st.binary(max_size=80), st.lists(st.sampled_from([*range(256)]), max_size=40).map(bytes)),
    cut=st.integers(0, 400),
)
def test_any_label_file_is_read_or_refused(tmp_path, data, cut):
    """Cut, spoilt, or of any bytes after a good header."""
    path = tmp_path / "l.npy"
    good = saved(path, {"a": vector(())}).read_bytes()
    for content in (
        header() + data,
        good[:cut] + data,
        good[:cut] + data + good[cut + len(data) :],
        header() + b"r\xff\xff\xff\x7f" + data,
    ):
        path.write_bytes(content)
        assert said_of(path) in ("", "is wanted, as numpy.save")


def said_of(path: Path) -> str:
    """What is wrong with a file of label vectors, as far as it matters; nothing where it is read."""
    try:
        read_label_vectors(path)
    except DataError as error:
        wanted = "is wanted, as numpy.save"
        return wanted if wanted in error.problem else error.problem
    return ""


# --- other folders ----------------------------------------------------------------------------------------------------


def test_the_folder_around_a_voc_folder_names_it(voc):
    """VOCdevkit, and the folder that holds it."""
    for outer in (voc.parent, voc.parent.parent):
        with pytest.raises(DataError, match=r"contains no JPEGImages/, but .*VOC2012 does") as caught:
            find_voc(outer)
        assert f"`labelfactory import voc {voc}`" in caught.value.remedy


@pytest.mark.parametrize("folder", [".", "train"])
def test_photographs_with_xml_beside_them_are_said(tmp_path, folder):
    """LabelImg's folder and Roboflow's export of Pascal VOC: one line that says where the files belong."""
    (tmp_path / folder).mkdir(exist_ok=True)
    Image.new("RGB", (8, 6)).save(tmp_path / folder / "a.jpg")
    (tmp_path / folder / "a.xml").write_text("<annotation><object><name>cat</name></object></annotation>")
    with pytest.raises(
        DataError, match=r"has photographs and .xml in one folder, as LabelImg and Roboflow write them"
    ) as caught:
        find_voc(tmp_path)
    assert "Annotations/" in caught.value.remedy
