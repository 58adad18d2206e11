"""Folders in VOC layout: lists, tags from files and annotations, mask numbers, and every problem in one error."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelfactory.dataset.images import encode_mask
from labelfactory.dataset.manifest import Manifest
from labelfactory.errors import DataError
from sources._import_plan import ImportOptions, plan_import
from sources.voc import VOC_NAMES, find_voc


def read_voc(root: Path, *, classes: list[str] | tuple[str, ...] = (), **options) -> Manifest:
    """The manifest that an import writes when no photograph may be bad."""
    return plan_import(find_voc(root, **options), ImportOptions(classes=tuple(classes))).manifest


TAGS = {"a": "cat|chair", "b": "dog", "c": "", "d": "cat|dog"}
LISTS = {"train": ["a", "b"], "train_aug": ["a", "b", "c"], "val": ["d"]}


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "voc"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets"):
        (root / folder).mkdir(parents=True)
    for k, name in enumerate(TAGS):
        Image.new("RGB", (8, 6), (40 * k, 0, 0)).save(root / "JPEGImages" / f"{name}.jpg")
    (root / "SegmentationClass" / "a.png").write_bytes(encode_mask(np.full((6, 8), 8, np.uint8)))
    for name, ids in LISTS.items():
        (root / "ImageSets" / f"{name}.txt").write_text("\n".join(ids) + "\n")
    write_tags(root, "image_id,split,tags\n" + "".join(f"{i},x,{t}\n" for i, t in TAGS.items()))
    return root


def write_tags(root: Path, text: str) -> None:
    (root / "tags.csv").write_text(text)


def test_an_image_stands_on_several_lists_and_other_classes_are_dropped(voc):
    """Tags and mask numbers hold only what was chosen, in the order named."""
    manifest = read_voc(voc, classes=["dog", "cat"])
    by_id = {e.image_id: e for e in manifest.entries}
    assert list(by_id) == ["a", "b", "c", "d"]
    assert by_id["a"].lists == ("train", "train_aug")
    assert by_id["a"].tags == ("cat",)
    assert by_id["c"].tags == ()
    assert by_id["d"].tags == ("cat", "dog")
    assert manifest.classes.names == ("dog", "cat")
    assert manifest.mask_ids == {0: 0, VOC_NAMES.index("dog"): 1, VOC_NAMES.index("cat"): 2}
    assert by_id["a"].sha256 == hashlib.sha256((voc / "JPEGImages/a.jpg").read_bytes()).hexdigest()
    assert by_id["a"].mask_sha256 == hashlib.sha256((voc / "SegmentationClass/a.png").read_bytes()).hexdigest()
    assert by_id["b"].mask_path is None


def test_only_the_named_lists_are_imported(voc):
    """`lists` leaves out images that stand on others only, and does not mention those others."""
    manifest = read_voc(voc, classes=["dog", "cat"], lists=["train"])
    assert [(e.image_id, e.lists) for e in manifest.entries] == [("a", ("train",)), ("b", ("train",))]


def test_paths_are_relative_inside_the_current_folder_and_absolute_elsewhere(voc, tmp_path, monkeypatch):
    """A project can move with its data; data elsewhere stays where it is."""
    monkeypatch.chdir(tmp_path)
    assert read_voc(Path("voc"), classes=["cat"]).entries[0].path == "voc/JPEGImages/a.jpg"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_voc(Path("../voc"), classes=["cat"]).entries[0].path == (voc / "JPEGImages/a.jpg").as_posix()


@pytest.mark.parametrize(
    "text",
    [
        "image_id,tags\na,cat chair\nb,dog\nc,\nd,cat dog\n",
        "a,cat;chair\nb,dog\nc,\nd,cat;dog\n",
        "a,cat,chair\nb,dog\nc\nd,cat,dog\n",
        "\ufeffimage,split,labels\r\na,x,cat|chair\r\nb,x,dog\r\nc,x,\r\nd,x,dog | cat\r\n",
        "a\tcat chair\nb\tdog\nc\t\nd\tcat dog\n",
    ],
)
def test_tag_files_of_several_makes_say_the_same(voc, text):
    """Header or none; commas or tabs; tags apart by bars, semicolons, blanks or in columns of their own."""
    write_tags(voc, text)
    tags = {e.image_id: e.tags for e in read_voc(voc, classes=["cat", "chair", "dog"]).entries}
    assert tags == {"a": ("cat", "chair"), "b": ("dog",), "c": (), "d": ("cat", "dog")}


def test_annotations_are_read_when_there_is_no_tag_file(voc):
    """Each object's own name is a tag; names of an object's parts are not."""
    (voc / "tags.csv").unlink()
    (voc / "Annotations").mkdir()
    for image_id, tags in TAGS.items():
        things = "".join(
            f"<object><name>{t}</name><part><name>head</name></part></object>" for t in tags.split("|") if t
        )
        (voc / "Annotations" / f"{image_id}.xml").write_text(f"<annotation>{things}{things}</annotation>")
    tags = {e.image_id: e.tags for e in read_voc(voc, classes=["cat", "dog"]).entries}
    assert tags == {"a": ("cat",), "b": ("dog",), "c": (), "d": ("cat", "dog")}


def test_classes_txt_numbers_the_masks_and_its_names_may_hold_blanks(voc):
    """Row number - 1 is the number in the masks; without --classes all of them are taken."""
    (voc / "classes.txt").write_text("background\nhouse cat\ndog\n")
    write_tags(voc, "a,house cat\nb,dog\nc,\nd,dog;house cat\n")
    manifest = read_voc(voc)
    assert manifest.classes.names == ("house cat", "dog")
    assert manifest.mask_ids == {0: 0, 1: 1, 2: 2}
    assert {e.image_id: e.tags for e in manifest.entries}["a"] == ("house cat",)


def test_whoever_names_other_classes_hears_of_classes_txt(voc):
    """And no longer once it is there."""
    with pytest.raises(
        DataError, match=r"'bee' is not a class of this source.*; .* write classes\.txt into the folder"
    ):
        read_voc(voc, classes=["bee"])
    (voc / "classes.txt").write_text("background\ncat\nchair\ndog\n")
    with pytest.raises(DataError, match="'bee' is not a class of this source") as caught:
        read_voc(voc, classes=["bee"])
    assert "classes.txt" not in str(caught.value)


def test_lists_are_found_where_voc_keeps_them(voc):
    """ImageSets/Segmentation, and ImageSets/Main without its per-class files."""
    (voc / "ImageSets/Segmentation").mkdir()
    for name in LISTS:
        (voc / f"ImageSets/{name}.txt").rename(voc / f"ImageSets/Segmentation/{name}.txt")
    assert len(read_voc(voc, classes=["cat"]).entries) == 4
    (voc / "ImageSets/Segmentation").rename(voc / "ImageSets/Main")
    for name in ("cat_train", "train_train", "train_val"):  # `train` is a list and a class
        (voc / f"ImageSets/Main/{name}.txt").write_text("a  1\nb -1\n")
    assert {name for e in read_voc(voc, classes=["cat"]).entries for name in e.lists} == set(LISTS)


def test_tags_come_from_masks_only_when_asked(voc, monkeypatch):
    """Then every image needs one; else no tag comes from a mask, whatever it holds."""
    for k, name in enumerate(TAGS):
        values = np.array([[0, 8, 255], [12, 0, 0]] if k == 0 else [[0, 12, 0], [0, 0, 0]], np.uint8)
        (voc / f"SegmentationClass/{name}.png").write_bytes(encode_mask(np.kron(values, np.ones((3, 2), np.uint8))))
        Image.new("RGB", (6, 6), (40 * k, 0, 0)).save(voc / f"JPEGImages/{name}.jpg")
    found = {e.image_id: e.tags for e in read_voc(voc, classes=["cat", "dog"], tags_from_masks=True).entries}
    assert found == {"a": ("cat", "dog"), "b": ("dog",), "c": ("dog",), "d": ("dog",)}
    (voc / "SegmentationClass/b.png").unlink()
    with pytest.raises(DataError, match=r"train.txt, row 2: SegmentationClass/b.png does not exist"):
        read_voc(voc, classes=["cat", "dog"], tags_from_masks=True)

    def opened(data: bytes) -> None:
        raise AssertionError("a true mask was opened")

    monkeypatch.setattr("sources._voc_tags.decode_mask", opened)
    assert len(read_voc(voc, classes=["cat", "dog"]).entries) == 4


@pytest.mark.parametrize("suffix", [".webp", ".tif", ".bmp", ".JPG"])
def test_photographs_of_other_formats_are_found(voc, suffix):
    """By the suffix, in any case."""
    (voc / "JPEGImages/a.jpg").unlink()
    Image.new("RGB", (8, 6), (9, 9, 9)).save(voc / f"JPEGImages/a{suffix}")
    assert read_voc(voc, classes=["cat"]).entries[0].path.endswith(f"a{suffix}")


def append(path: str, text: str):
    def damage(root: Path) -> None:
        with (root / path).open("a") as stream:
            stream.write(text)

    return damage


def remove(path: str):
    return lambda root: (root / path).unlink()


def write(path: str, data: bytes):
    return lambda root: (root / path).write_bytes(data)


BAD = {
    "missing photograph": (remove("JPEGImages/b.jpg"), r"ImageSets/train.txt, row 2: JPEGImages/b.jpg does not exist"),
    "two photographs": (write("JPEGImages/b.png", b"x"), r"row 2: 'b' could be b.jpg or b.png"),
    "unknown tag": (write("tags.csv", b"a,cat\nb,dgo\nc,\nd,dog\n"), r"tags.csv, row 2: tag 'dgo' .* mean `dog`"),
    "image twice in the tags": (append("tags.csv", "a,x,cat\n"), r"tags.csv, row 6: 'a' appears in row 2 too"),
    "no tags for an image": (write("tags.csv", b"a,cat\nb,dog\nd,dog\n"), r"tags.csv: no row for 'c'"),
    "tags of other images": (write("tags.csv", b"x,cat\ny,dog\n"), r"tags.csv: no row for \['a' | 'b'"),
    "too few columns": (write("tags.csv", b"id,split,tags\na,x\nb,x,dog\nc,x,\nd,x,\n"), r"row 2: 'a' has 2 columns"),
    "no rows": (write("tags.csv", b"image_id,tags\n\n"), r"tags.csv: contains no row"),
    "a cell without end": (write("tags.csv", b"a,cat\n" + b"b," + b"x" * 200_000), r"tags.csv, row 2: field larger"),
    "no tag file": (remove("tags.csv"), r"neither a tag file nor Annotations/"),
    "an image id that climbs out": (append("ImageSets/val.txt", "../x\n"), r"val.txt, row 2: '../x' is a path"),
    "an absolute image id": (append("ImageSets/val.txt", "/etc/passwd\n"), r"val.txt, row 2: '/etc/passwd' is a path"),
    "two dots": (append("ImageSets/val.txt", "..\n"), r"val.txt, row 2: '..' is a path"),
    "image twice on a list": (append("ImageSets/train.txt", "a\n"), r"train.txt, row 3: 'a' appears in row 1 too"),
    "empty list": (write("ImageSets/val.txt", b"\n\n"), r"ImageSets/val.txt: the list is empty"),
    "list is not text": (write("ImageSets/val.txt", b"\xff\xfe\x00"), r"ImageSets/val.txt: not readable: not UTF-8"),
    "class without an image": (write("tags.csv", b"a,cat\nb,cat\nc,\nd,\n"), r"no photograph is tagged 'dog'"),
    "no tag at all": (write("tags.csv", b"a,\nb,\nc,\nd,\n"), r"no photograph is tagged 'cat'"),
    "classes without background": (
        write("classes.txt", b"cat\ndog\nchair\n"),
        r"classes.txt, row 1: the first row must be `background`",
    ),
    "class twice": (
        write("classes.txt", b"background\ncat\ndog\nchair\ncat\n"),
        r"classes.txt, row 5: 'cat' appears in",
    ),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_folders_are_refused_with_file_and_row(voc, case):
    """Each problem names its place and its reason, and ends with a remedy."""
    damage, message = BAD[case]
    damage(voc)
    with pytest.raises(DataError, match=message) as caught:
        read_voc(voc, classes=["cat", "dog"])
    assert "import again" in caught.value.remedy


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["cat", "dgo"]}, r"--classes: 'dgo' is not a class.*mean `dog`"),
        ({"classes": ["cat", "background"]}, r"--classes: 'background' is not a class"),
        ({"classes": ["cat", "cat"]}, r"--classes: 'cat' is named 2 times"),
        ({"classes": ["cat"], "lists": ["trian"]}, r"--lists: there is no list 'trian'; did you mean `train`"),
        ({"classes": ["cat"], "lists": []}, r"--lists: the lists to import contain no image"),
        ({"classes": ["cat"], "tags_file": Path("no.csv")}, r"no.csv: not readable: No such file"),
    ],
)
def test_bad_options_are_refused(voc, options, message):
    """A misspelt class or list gets a suggestion."""
    with pytest.raises(DataError, match=message):
        read_voc(voc, **options)


def test_all_problems_come_in_one_error_and_equal_ones_are_one_line(voc):
    """Thirty missing photographs, thirty missing rows of tags and a misspelt class: 61 problems in three lines."""
    (voc / "ImageSets/val.txt").write_text("".join(f"gone{k}\n" for k in range(30)))
    with pytest.raises(DataError, match="61 problems") as caught:
        read_voc(voc, classes=["cat", "dgo"])
    _, misspelt, *lines = caught.value.problem.splitlines()
    assert "'dgo' is not a class of this source; did you mean `dog`?" in misspelt
    assert lines == [
        "  30 times: ImageSets/val.txt, row [1: JPEGImages/gone0.jpg | 2: JPEGImages/gone1.jpg | 3: JPEGImages/gone2.jpg | …] "
        "does not exist",
        "  30 times: tags.csv: no row for ['gone0' | 'gone1' | 'gone2' | …] "
        "(a photograph without objects needs a row without tags)",
    ]


def test_a_folder_that_is_not_there_is_said_at_once(tmp_path):
    """One line, one remedy."""
    with pytest.raises(DataError, match="no such folder"):
        read_voc(tmp_path / "nothing", classes=["cat"])


def test_the_real_photographs():
    """1,445 photographs of VOC 2012: lists, tags and masks as their README counts them."""
    folder = os.environ.get("LABELFACTORY_VOC_ANIMALS")
    if not folder:
        pytest.skip("LABELFACTORY_VOC_ANIMALS does not name the voc_animals folder: nothing real was read")
    manifest = read_voc(Path(folder), classes=["cat", "cow", "dog", "horse", "person", "sheep"])
    on = {name: sum(name in e.lists for e in manifest.entries) for name in ("train", "train_aug", "val")}
    assert on == {"train": 437, "train_aug": 1000, "val": 445}
    assert all(e.mask_path for e in manifest.entries)
    assert manifest.mask_ids == {0: 0, 8: 1, 10: 2, 12: 3, 13: 4, 15: 5, 17: 6}
