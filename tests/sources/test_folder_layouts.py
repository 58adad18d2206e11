"""Folders as data sets come: splits by many names, negatives, rubbish, and layouts that could be read in two ways."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelfactory.errors import DataError
from sources._import_plan import ImportOptions, ImportPlan, plan_import
from sources.folder import find_folder

EASY = ImportOptions(val_fraction=0.5)
OWN_LISTS = ImportOptions()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def draw(*names: str) -> None:
    """Photographs, each of pixels of its own; any other file is text."""
    for name in names:
        path = Path("d", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".jpg", ".png"):
            pixels = np.random.default_rng(list(name.encode())).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path, "PNG")
        else:
            path.write_text("x")


def result(plan: ImportPlan) -> set[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return {(e.image_id, e.lists, e.tags) for e in plan.manifest.entries}


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("Training", "valid", "Testing"), ("train_set", "Validation", "test-set"), ("TRAIN", "dev", "test")],
)
def test_splits_have_many_names(here, train, val, test):
    """They are lists, said with their counts; a folder of the line's own names says nothing."""
    draw(f"{train}/cat/a.jpg", f"{train}/dog/b.jpg", f"{val}/cat/c.jpg", f"{test}/dog/d.jpg")
    batch = find_folder(Path("d"))
    assert result(plan_import(batch, OWN_LISTS)) == {
        (f"{train}/cat/a", ("train",), ("cat",)),
        (f"{train}/dog/b", ("train",), ("dog",)),
        (f"{val}/cat/c", ("val",), ("cat",)),
        (f"{test}/dog/d", ("test",), ("dog",)),
    }
    said = sorted([f"{train} → train (2)", f"{val} → val (1)", f"{test} → test (1)"])
    assert batch.decisions == (f"lists by the names of folders: {', '.join(said)}",)


def test_splits_below_the_classes_are_lists_too(here):
    """As in sets that were filled class by class."""
    draw("cat/train/a.jpg", "cat/test/b.jpg", "dog/train/c.jpg", "dog/test/d.jpg")
    lists = {image_id: lists for image_id, lists, _ in result(plan_import(find_folder(Path("d")), OWN_LISTS))}
    assert lists == {
        "cat/train/a": ("train",),
        "cat/test/b": ("test",),
        "dog/train/c": ("train",),
        "dog/test/d": ("test",),
    }


def test_photographs_without_a_class_are_not_taken_and_said(here):
    """In unlabeled/, loose in a list, or beside the folders: none of them is a negative."""
    draw("train/cat/a.jpg", "train/dog/b.jpg", "train/loose.jpg", "valid/cat/c.jpg", "valid/dog/e.jpg")
    draw("unlabeled/1.jpg", "unlabeled/2.jpg", "test/3.jpg", "beside.jpg", "train/unsup/4.jpg")
    batch = find_folder(Path("d"))
    assert {tags for _, _, tags in result(plan_import(batch, OWN_LISTS))} == {("cat",), ("dog",)}
    assert batch.decisions == (
        "d: 1 photographs beside the folders of classes are not taken",
        "test/: 1 photographs without a class are not taken",
        "unlabeled/: 2 photographs without a class are not taken",
        "d/train: 1 photographs beside the folders of classes are not taken",
        "train/unsup/: 1 photographs without a class are not taken",
        "lists by the names of folders: train → train (2), valid → val (2)",
    )


@pytest.mark.parametrize("name", ["background", "Negatives", "none", "BACKGROUND_Google", "no_object", "empty"])
def test_a_folder_of_negatives_is_no_class(here, name):
    """Its photographs have no tag, in every list and whatever classes are chosen; named as a class, it is one."""
    draw("cat/a.jpg", "cat/b.jpg", "dog/c.jpg", "dog/d.jpg", f"{name}/e.jpg", f"{name}/f.jpg")
    batch = find_folder(Path("d"))
    assert batch.decisions == (f"{name}/: 2 photographs without a tag",)
    manifest = plan_import(batch, EASY).manifest
    assert manifest.classes.names == ("cat", "dog")
    assert {e.tags for e in manifest.entries if e.image_id.startswith(name)} == {()}
    assert len(find_folder(Path("d"), classes=["cat"]).candidates) == 4
    renamed = ImportOptions(val_fraction=0.5, rename={name: "scenery"})
    assert "scenery" in plan_import(find_folder(Path("d"), kept=[name]), renamed).manifest.classes.names


def test_names_that_may_be_classes_are_classes(here):
    """`other` and `normal` are said by nobody to show nothing; `train` beside `bus` is a train."""
    draw("other/a.jpg", "normal/b.jpg", "train/c.jpg", "bus/d.jpg")
    assert plan_import(find_folder(Path("d")), EASY).manifest.classes.names == ("bus", "normal", "other", "train")


REFUSED = {
    "lists without classes": (
        ("train/a.jpg", "val/b.jpg"),
        r"these look like lists and hold no folder of a class: train, val\n.*--class-depth 1",
        {1: {"train", "val"}},
    ),
    "lists beside others": (
        ("train/old/a.jpg", "bus/b.jpg", "c a,r/c.jpg"),
        r"look like lists: train; bus is none, and holds 1 photographs\n.*--class-depth 1",
        {1: {"bus", "c a,r", "train"}},
    ),
    "a folder around the classes": (
        ("PetImages/Cat/a.jpg", "PetImages/Dog/b.jpg"),
        r"one folder, PetImages, which holds folders: Cat, Dog\n.*import folder d/PetImages`.*--class-depth 1",
        {1: {"PetImages"}, 2: {"Cat", "Dog"}},
    ),
    "a folder around lists": (
        ("chest/train/ill/a.jpg", "chest/train/well/b.jpg", "chest/val/ill/c.jpg", "chest/val/well/d.jpg"),
        r"one folder, chest, which holds folders: train, val\n.*import folder d/chest`.*--class-depth 1",
        {1: {"chest"}, 3: {"ill", "well"}},
    ),
    "folds, hospitals, years": (
        ("a/cat/1.jpg", "a/dog/2.jpg", "b/cat/3.jpg", "b/dog/4.jpg"),
        r"a, b hold folders of the same names: cat, dog\n.*--class-depth 2 if those are the classes, --class-depth 1 if a, b are",
        {1: {"a", "b"}, 2: {"cat", "dog"}},
    ),
    "lists of loose photographs": (
        ("train/cat.0.jpg", "test1/1.jpg"),
        r"these look like lists and hold no folder of a class: test1, train\n.*--class-depth 1",
        {1: {"train", "test1"}},
    ),
    "YOLO's folders": (
        ("train/images/a.jpg", "train/labels/a.txt", "valid/images/b.jpg"),
        r"d/train: these are kinds of files, no classes: images, labels\n",
        {},
    ),
    "kinds of files": (
        ("images/train/a.jpg", "labels/train/a.txt"),
        r"these are kinds of files, no classes: images, labels\n.*import voc`, `coco` or `table`",
        {},
    ),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_can_be_read_in_two_ways_is_asked(here, case):
    """And the answer that the message names is taken."""
    files, message, answers = REFUSED[case]
    draw(*files)
    with pytest.raises(DataError, match=message):
        find_folder(Path("d"))
    for depth, classes in answers.items():
        batch = find_folder(Path("d"), class_depth=depth)
        assert set(plan_import(batch, EASY).manifest.classes.names) == classes
        assert batch.command == f"import folder d --class-depth {depth}"
    lists = {c.lists for c in find_folder(Path("d"), class_depth=3).candidates} if 3 in answers else set()
    assert lists == ({("train",), ("val",)} if 3 in answers else set())
    with pytest.raises(DataError, match="--class-depth 9: no folder is that deep"):
        find_folder(Path("d"), class_depth=9)


def test_folders_that_a_person_names_are_classes(here):
    """With --classes, whatever they are called."""
    draw("train/old/a.jpg", "bus/b.jpg")
    options = ImportOptions(("train", "bus"), val_fraction=0.5)
    assert plan_import(find_folder(Path("d"), classes=["train", "bus"]), options).manifest.classes.names == (
        "train",
        "bus",
    )


def test_lists_may_be_wrapped_in_their_own_name(here):
    """As Kaggle's archives are; what was to be predicted has no class."""
    draw(
        "seg_train/seg_train/sea/a.jpg",
        "seg_train/seg_train/ice/b.jpg",
        "seg_test/seg_test/sea/c.jpg",
        "seg_pred/seg_pred/d.jpg",
    )
    batch = find_folder(Path("d"))
    assert {(c.lists, c.tags) for c in batch.candidates} == {
        (("train",), ("sea",)), (("train",), ("ice",)), (("test",), ("sea",))
    }  # fmt: skip
    assert "seg_pred/: 1 photographs without a class are not taken" in batch.decisions


def test_rubbish_is_no_class_and_stops_nothing(here):
    """Of network disks, archives and editors, at every depth; files of other kinds are counted by suffix."""
    draw("cat/a.jpg", "dog/b.jpg", "@eaDir/a.jpg/SYNOPHOTO.jpg", "cat/@eaDir/a.jpg", "__MACOSX/cat/._a.jpg")
    draw(
        "cat/._a.jpg", "cat/.ipynb_checkpoints/a.jpg", "Thumbs.db", "dog/Thumbs.db", "dog/b.txt", "README", "dog/c.cr2"
    )
    batch = find_folder(Path("d"))
    assert result(plan_import(batch, EASY)) == {("cat/a", ("train",), ("cat",)), ("dog/b", ("train",), ("dog",))}
    assert batch.passed_over == {
        "@eaDir": 2, "__MACOSX": 1, "hidden files": 2, "Thumbs.db": 2, ".txt": 1, ".cr2": 1, "no suffix": 1
    }  # fmt: skip


def test_one_name_with_two_suffixes_is_two_photographs_if_asked(here):
    """Else the second is left out, since the pair may be a photograph and something made of it; both are named."""
    draw("cat/0.jpg", "cat/0.png", "dog/1.jpg")
    plan = plan_import(find_folder(Path("d")), ImportOptions(val_fraction=0.5, max_bad_fraction=0.5))
    assert [item.line for item in plan.left_out] == [
        "cat/0.png: 0.jpg and 0.png would both be 'cat/0'; remove one, or --keep-suffix keeps both"
    ]
    batch = find_folder(Path("d"), keep_suffix=True)
    assert {c.image_id for c in batch.candidates} == {"cat/0.jpg", "cat/0.png", "dog/1.jpg"}
    assert batch.command == "import folder d --keep-suffix"


def test_a_class_folder_without_photographs_says_what_it_holds(here):
    """Every such folder is named."""
    draw("cat/a.jpg", "dog/b.heics", "dog/c.heics")
    with pytest.raises(DataError, match=r"d/dog: contains no photograph \(.*\); it contains \.heics 2"):
        plan_import(find_folder(Path("d")), EASY)
