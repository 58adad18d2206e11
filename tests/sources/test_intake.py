"""Appending what is new in a source: the import's own, a folder, a larger demo."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner
from voc_folders import voc_folder

from app.main import COMMANDS, command_line
from labelfactory import files
from labelfactory.dataset import tables
from labelfactory.dataset.account import read_account
from labelfactory.dataset.manifest import MANIFEST, read_manifest, write_manifest
from labelfactory.errors import DataError, MissingError
from sources._demo_animals import HEADS
from sources._import_plan import ImportOptions
from sources.demo import render_demo
from sources.intake import DEMO_FOLDER, append_from, import_batch, import_drawn
from sources.voc import find_voc


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """An empty project."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def drop(folder: Path, image_id: str, tag: str) -> None:
    """What a person does with a new photograph: the file, the list, the tag."""
    Image.new("RGB", (40, 30), (9, 9, 9)).save(folder / f"JPEGImages/{image_id}.jpg")
    with (folder / "ImageSets/train.txt").open("a") as rows:
        rows.write(f"{image_id}\n")
    with (folder / "tags.csv").open("a") as rows:
        rows.write(f"{image_id},{tag}\n")


def test_what_was_dropped_into_the_imports_own_folder_is_appended(here):
    """A folder with a space in its name; the classes, the lists and what is here stay as they were."""
    folder = voc_folder(here / "my photos")
    import_batch(find_voc(folder, lists=["train"]), ImportOptions(classes=("cat", "dog")))
    before = read_manifest()
    content = MANIFEST.read_bytes()
    assert append_from().added == 0
    assert MANIFEST.read_bytes() == content
    drop(folder, "d", "dog")
    assert append_from().added == 1
    after = read_manifest()
    assert after.entries[:2] == before.entries
    assert (after.entries[2].image_id, after.entries[2].tags, after.entries[2].position) == ("d", ("dog",), 2)
    assert (after.classes, after.source) == (before.classes, before.source)


def test_names_that_were_changed_stay_changed(here):
    """What the import renamed, it renames again at night."""
    folder = voc_folder(here / "photos")
    import_batch(find_voc(folder), ImportOptions(classes=("big cat", "dog"), rename={"cat": "big cat", "sofa": ""}))
    drop(folder, "d", "cat")
    assert append_from().added == 1
    assert [entry.tags for entry in read_manifest().entries if entry.image_id == "d"] == [("big cat",)]


def test_another_folder_is_read_with_the_classes_that_are_here(here):
    """Whatever order its own names have."""
    import_batch(find_voc(voc_folder(here / "first")), ImportOptions(classes=("dog", "cat")))
    second = voc_folder(here / "second")
    for name in ("JPEGImages/a.jpg", "JPEGImages/b.jpg", "JPEGImages/c.jpg"):
        (second / name).rename(second / name.replace("/", "/second-"))
    (second / "ImageSets/train.txt").write_text("second-a\nsecond-b\n")
    (second / "ImageSets/val.txt").write_text("second-c\n")
    (second / "tags.csv").write_text("second-a,cat\nsecond-b,dog\nsecond-c,cat|dog\n")
    assert append_from("second").added == 3
    assert read_manifest().classes.names == ("dog", "cat")


def test_a_larger_demo_adds_images_of_the_same_seed(here):
    """And the demo's own source adds none."""
    import_drawn(render_demo(DEMO_FOLDER, count=3, seed=7), ImportOptions())
    assert append_from().added == 0
    assert append_from("demo:5").added == 2
    assert [entry.image_id for entry in read_manifest().entries] == [f"demo-7-{k:05d}" for k in range(5)]


def typed(*words: str) -> str:
    """What a person types, and reads."""
    done = CliRunner().invoke(command_line(*COMMANDS), words)
    assert done.exit_code == 0, done
    return done.stderr


@pytest.mark.slow
def test_the_demo_takes_the_options_of_every_import(here):
    """Classes, other names, another split; a dry run writes nothing; what is appended has the same classes."""
    said = typed(
        "import", "demo", "--count", "20", "--classes", "fox,eagle owl", "--rename", "owl=eagle owl", "--dry-run"
    )
    assert "would have 20 images, 20 with a true mask" in said
    assert list(here.iterdir()) == []
    typed("import", "demo", "--count", "20", "--classes", "fox,eagle owl", "--rename", "owl=eagle owl")
    manifest = read_manifest()
    assert manifest.classes.names == ("fox", "eagle owl")
    assert manifest.mask_ids == {0: 0, list(HEADS).index("fox") + 1: 1, list(HEADS).index("owl") + 1: 2}
    assert {tag for entry in manifest.entries for tag in entry.tags} == {"fox", "eagle owl"}
    typed("import", "demo", "--count", "23", "--append", "--rename", "owl=eagle owl")
    assert append_from("demo:25").added == 2  # as at night: the names are those of the import
    after = read_manifest()
    assert (after.classes, after.entries[:20]) == (manifest.classes, manifest.entries)
    assert len(after.entries) == 25
    typed("import", "demo", "--count", "20", "--val-fraction", "0.5", "--replace")
    assert (
        6 < sum(entry.lists == ("val",) for entry in read_manifest().entries) <= 10
    )  # without the option every fourth


def test_what_cannot_be_read_again_is_said(here):
    """No import, a source that nobody can read, a folder that is gone: what is wrong, and nothing is written."""
    with pytest.raises(MissingError, match="nothing was imported yet"):
        append_from()
    folder = voc_folder(here / "photos")
    import_batch(find_voc(folder), ImportOptions(classes=("cat", "dog")))
    shutil.rmtree(folder)
    content = MANIFEST.read_bytes()
    with pytest.raises(DataError, match="no such folder"):
        append_from()
    assert MANIFEST.read_bytes() == content
    write_manifest(replace(read_manifest(), source="import by hand"))
    with pytest.raises(DataError, match="import by hand") as caught:
        append_from()
    assert "--source" in caught.value.remedy


@pytest.mark.parametrize("damage", [b"", b"PAR1 no"])
def test_a_damaged_manifest_is_replaced_by_a_new_import_alone(here, damage, capsys):
    """That is what its message says to type; --append and the appending flow leave it as it is."""
    folder = voc_folder(here / "photos")
    MANIFEST.parent.mkdir(parents=True)
    MANIFEST.write_bytes(damage)
    batch = find_voc(folder)
    with pytest.raises(DataError, match="is damaged") as caught:
        import_batch(batch, ImportOptions(classes=("cat", "dog"), append=True))
    assert "without --append" in caught.value.remedy
    assert MANIFEST.read_bytes() == damage
    assert import_batch(batch, ImportOptions(classes=("cat", "dog"))).added == 3
    assert "replaces a manifest that cannot be read" in "".join(capsys.readouterr())
    assert len(read_manifest().entries) == 3


@pytest.mark.parametrize("append", [False, True])
def test_account_and_manifest_change_together(here, append, monkeypatch):
    """Killed before any of its writes and typed again, an import leaves the account that an undisturbed one leaves."""
    (first, second), options = (voc_folder(here / name) for name in ("first", "second")), ImportOptions(append=append)
    import_batch(find_voc(first), ImportOptions(classes=("cat",)))
    drop(second, "d", "dog")
    shutil.copytree("data", "before")
    more = replace(options, classes=("cat", "dog"))
    before, after = read_account(), import_batch(find_voc(second), more) and read_account()
    assert (before.photographs, after.photographs) == (3, 4)
    shutil.copytree("data", "after")
    whole, said = files.write_whole, []
    for stop in range(9):
        shutil.rmtree("data")
        shutil.copytree("before", "data")
        left = iter(range(stop))

        @contextmanager
        def ends(path: Path, left: Iterator[int] = left) -> Iterator[Path]:
            with whole(path) as temporary:
                yield temporary
                if path.is_relative_to("data") and next(left, None) is None:
                    raise KeyboardInterrupt

        for module in (files, tables):
            monkeypatch.setattr(module, "write_whole", ends)
        try:
            import_batch(find_voc(second), more)
        except KeyboardInterrupt:
            new = MANIFEST.read_bytes() == Path("after/import/manifest.parquet").read_bytes()
            said.append(new)
            assert read_account() == (after if new else before)
        for module in (files, tables):
            monkeypatch.setattr(module, "write_whole", whole)
        import_batch(find_voc(second), more)
        assert read_account() == after
    assert set(said) == {False, True}
