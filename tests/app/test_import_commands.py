"""`labelfactory import …` as it is typed: appending, dry runs, what is left out, options that are refused."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from voc_folders import two_parts, voc_folder
from workspace import ROOT

from labelfactory.dataset.manifest import MANIFEST, read_manifest
from labelfactory.dataset.prepared import IMAGES
from lineage.ledger import Ledger
from lineage.lookup import Lookup


def pictures_and_table(root: Path, *, count: int = 6, start: int = 0) -> Path:
    """Six photographs of noise and their table: cats and dogs in turn."""
    root.mkdir(exist_ok=True)
    rows = ["file,tags"]
    for k in range(count):
        Image.effect_noise((24, 20), 40 + 7 * k).convert("RGB").save(root / f"{k}.jpg")
        rows += [f"{k}.jpg,{('cat', 'dog')[k % 2]}"] if k >= start else []
    (root / "tags.csv").write_text("\n".join(rows) + "\n")
    return root / "tags.csv"


def test_append_moves_nothing(here, labelfactory):
    """Places, digests and paths of what is here stay; appending the same again adds nothing."""
    labelfactory("import", "demo", "--count", "10")
    before = read_manifest()
    assert "6 images added, 16 in all" in labelfactory("import", "demo", "--append", "--count", "16")
    after = read_manifest()
    assert after.entries[:10] == before.entries
    assert [entry.position for entry in after.entries] == list(range(16))
    content = MANIFEST.read_bytes()
    assert "nothing new" in labelfactory("import", "demo", "--append", "--count", "16")
    assert MANIFEST.read_bytes() == content


@pytest.mark.parametrize(
    "again",
    [("demo", "--count", "10", "--seed", "7"), ("demo", "--seed", "7", "--classes", "bee,fox,frog,owl,ladybird")],
)
def test_the_ledger_keeps_the_photographs_of_an_import_that_another_one_replaces(here, labelfactory, again):
    """Although nothing ran between them; a dry run writes nothing."""
    labelfactory("import", "demo", "--count", "10")
    first = read_manifest().entries
    labelfactory("import", *again, "--replace", "--dry-run")
    assert Ledger().files() == []
    labelfactory("import", *again, "--replace")
    lookup = Lookup(Ledger())
    assert {first[0].sha256} == lookup.photographs_of([first[0].image_id])
    assert {e.mask_sha256 for e in first} == lookup.true_masks_of({e.sha256 for e in first})


def test_append_needs_something_to_append_to(here, labelfactory):
    """It says what to type; and with --replace it has no meaning."""
    problem, remedy = two_parts(labelfactory("import", "demo", "--append", code=2))
    assert "nothing to append to" in problem
    assert remedy == "Import without --append."
    problem, remedy = two_parts(labelfactory("import", "demo", "--append", "--replace", code=2))
    assert "keeps the images that are here" in problem
    assert "one of the two" in remedy


def test_append_brings_new_classes(here, labelfactory):
    """At the end of the list; with their price, and their tags for images that are here already."""
    table = pictures_and_table(here / "photos")
    rows = table.read_text().replace("dog", "dog|owl").splitlines()
    table.write_text("\n".join(rows[:1] + [row.replace("|owl", "") for row in rows[1:5]]))
    labelfactory("import", "table", str(table))
    table.write_text("\n".join(rows))
    problem, _ = two_parts(labelfactory("import", "table", str(table), "--append", code=2))
    assert "'owl' is not a class" in problem
    assert "--classes with new names adds classes" in problem
    before = read_manifest()
    words = ("import", "table", str(table), "--append", "--classes", "owl")
    said = " ".join(labelfactory(*words, "--dry-run").split())
    assert "owl: added after the classes that are here; 2 of 4 images that are here get tags of it" in said
    assert "price of owl: train_classifier" in said
    assert read_manifest() == before
    labelfactory(*words)
    after = read_manifest()
    assert after.classes.names == ("cat", "dog", "owl")
    assert [entry.tags for entry in after.entries][:4] == [("cat",), ("dog", "owl")] * 2
    assert [replace(entry, tags=()) for entry in after.entries[:4]] == [replace(e, tags=()) for e in before.entries]
    assert len(after.entries) == 6


def test_an_import_over_another_is_refused(here, labelfactory):
    """With both counts and how many would go; a dry run says so, --replace does it, the same import needs no option."""
    labelfactory("import", "demo", "--count", "9")
    photos = str(voc_folder(here / "photos"))
    assert "replaces 9 images" in labelfactory(
        "import", "voc", photos, "--classes", "cat,dog"
    )  # nothing was made of them
    IMAGES.parent.mkdir(parents=True)
    IMAGES.touch()
    kept = MANIFEST.read_bytes()
    counts = "this project has 3 images (import voc"
    loss = "the import has 10: 3 of those here would go (a, b, c)"
    problem, remedy = two_parts(labelfactory("import", "demo", "--count", "10", code=2))
    assert counts in problem
    assert loss in problem
    assert "--replace" in remedy
    said = labelfactory("import", "demo", "--count", "10", "--dry-run")
    assert f"{loss}: add --append to keep all of them, or --replace to let these go" in said
    assert MANIFEST.read_bytes() == kept
    assert "replaces 3 images (import voc" in labelfactory("import", "demo", "--count", "10", "--replace")
    assert "replaces 10 images" in labelfactory("import", "demo", "--count", "12")
    assert "nothing new" in labelfactory("import", "demo", "--count", "12")


def test_make_demo_never_replaces_somebodys_data(here, labelfactory):
    """--only-over-demo takes an empty folder or an older demo, and refuses a folder with other photographs."""
    labelfactory("import", "demo", "--count", "10", "--only-over-demo")
    labelfactory("import", "demo", "--count", "9", "--only-over-demo")
    assert len(read_manifest().entries) == 9
    labelfactory("import", "voc", str(voc_folder(here / "photos")), "--classes", "cat,dog", "--replace")
    kept = MANIFEST.read_bytes()
    problem, remedy = two_parts(labelfactory("import", "demo", "--only-over-demo", code=2))
    assert "another data set: 3 images (import voc" in problem
    assert "fresh clone" in remedy
    assert MANIFEST.read_bytes() == kept
    assert "labelfactory import demo --only-over-demo" in (ROOT / "Makefile").read_text()


def test_a_dry_run_counts_and_writes_nothing(here, labelfactory):
    """Images, lists, classes and every problem."""
    table = pictures_and_table(here / "photos")
    (here / "photos/0.jpg").write_bytes(b"")
    labelfactory("profile", "--set", "prepare.max_bad_fraction=0.5")
    output = labelfactory("import", "table", str(table), "--val-fraction", "0.4", "--dry-run")
    assert "would have 5 images, 0 with a true mask" in output
    assert re.search(r"lists\W+train 3, val 2\W", output)
    assert re.search(r"cat\W+2\W", output)
    assert re.search(r"dog\W+3\W", output)
    assert output.index("the file is empty") < output.index("lists") < output.index("would have 5 images")
    assert "tags.csv, row 2: " in output
    assert "the file is empty" in output
    assert not (here / "data").exists()


def test_what_was_left_out_is_shown_by_status(here, labelfactory):
    """With row, file and reason, until an import takes it."""
    table = pictures_and_table(here / "photos")
    good = (here / "photos/0.jpg").read_bytes()
    (here / "photos/0.jpg").write_bytes(b"no")
    labelfactory("profile", "--set", "prepare.max_bad_fraction=0.5")
    labelfactory("import", "table", str(table))
    output = labelfactory("status")
    assert "1 left out:" in output
    assert "tags.csv, row 2: " in output
    assert "not an image" in output
    (here / "photos/0.jpg").write_bytes(good)
    labelfactory("import", "table", str(table), "--append")
    assert len(read_manifest().entries) == 6
    assert "left out" not in labelfactory("status")


def test_a_stopped_import_changes_nothing(here, labelfactory):
    """Over the limit the old manifest stays byte by byte; exit 2 and two parts."""
    table = pictures_and_table(here / "photos")
    labelfactory("import", "table", str(table))
    before = MANIFEST.read_bytes()
    (here / "photos/0.jpg").write_bytes(b"no")
    problem, remedy = two_parts(labelfactory("import", "table", str(table), code=2))
    assert "not an image" in problem
    assert "max_bad_fraction" in remedy
    assert MANIFEST.read_bytes() == before


def test_folders_and_coco_through_the_command(here, labelfactory):
    """Options reach the importers; appending needs the same classes and says so."""
    pictures_and_table(here / "photos")
    for k, name in enumerate(("cat", "dog")):
        (here / "by_class" / name).mkdir(parents=True)
        for number in (k, k + 2):
            (here / f"photos/{number}.jpg").rename(here / f"by_class/{name}/{number}.jpg")
    labelfactory("import", "folder", "by_class", "--rename", "cat=pet", "--list", "train")
    assert {(e.tags, e.lists) for e in read_manifest().entries} == {(("pet",), ("train",)), (("dog",), ("train",))}
    images = [{"id": k, "file_name": f"{k}.jpg", "height": 20, "width": 24} for k in (4, 5)]
    marks = [{"image_id": 4, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]}]
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "pet"}]
    (here / "c.json").write_text(json.dumps({"images": images, "annotations": marks, "categories": categories}))
    words = ["import", "coco", "c.json", "--images", "photos", "--append", "--list", "val"]
    assert "2 images added, 6 in all" in labelfactory(*words)
    assert [e.tags for e in read_manifest().entries if e.lists == ("val",)] == [("dog",), ()]


def test_a_mistyped_tag_is_said(here, labelfactory):
    """A class that reads like a far commoner one is named, with what to type; nothing is said where classes were chosen."""
    names = ["dog"] * 12 + ["dgo"] + ["cat"] * 11 + ["Cat", "cow"]
    table = pictures_and_table(here, count=len(names))
    table.write_text("\n".join(["file,tags", *(f"{k}.jpg,{name}" for k, name in enumerate(names))]))
    said = " ".join(labelfactory("import", "table", "tags.csv").split())
    assert "class 'dgo' (images: 1) may be 'dog' (12) mistyped; if so, import again with --rename dgo=dog" in said
    assert "'Cat' (images: 1) may be 'cat' (11)" in said
    assert "'cow'" not in said
    mended = labelfactory("import", "table", "tags.csv", "--rename", "dgo=dog", "--rename", "Cat=cat")
    assert "mistyped" not in mended
    assert "mistyped" not in labelfactory("import", "table", "tags.csv", "--classes", "cat,cow,dgo,dog,Cat")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rename", "cat"], "--rename 'cat' is not of the form old=new"),
        (["--val-fraction", "1.5"], "--val-fraction 1.5 must be between 0 and 1"),
        (["--classes", "cta"], "'cta' is not a class of this source; did you mean `cat`?"),
    ],
)
def test_options_of_an_import_are_checked(here, labelfactory, words, said):
    """Each with what to type, before anything is written."""
    problem, remedy = two_parts(
        labelfactory("import", "table", str(pictures_and_table(here / "photos")), *words, code=2)
    )
    assert said in problem
    assert remedy
    assert not (here / "data").exists()
