"""What a withdrawal finds behind links, and in the project outside of data/: it is named, whoever put it there."""

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from made_line import SIZE, MadeLine, recorded_line
from withdrawing import CACHE, began, finish, left, renamed, signed

from exports._predicted import write_predicted
from labelfactory.dataset.sealed_masks import write_mask
from labelfactory.names import file_name
from lineage import diff_pictures
from lineage.lookup import Lookup
from lineage.record import record
from lineage.removal import remove
from lineage.traces import in_project
from lineage.walked_folders import files_below
from lineage.withdrawal_report import traces_of


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project with four images in which everything was made once and recorded."""
    return recorded_line(tmp_path, monkeypatch)


def kept_with_it(folder: Path) -> list[str]:
    """A backup of the photograph and a list that names it; gives their names."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "backup.zip", "w") as archive:
        archive.write("data/raw/image-1.png", "a.png")
    (folder / "names.txt").write_text("image-1\n")
    return ["backup.zip", "names.txt"]


@pytest.mark.parametrize("linked", ["data/raw", "data", "data/masks"])
def test_a_folder_behind_a_link_is_searched(line, linked, tmp_path_factory):
    """As if it lay there itself: what the line made again is clean, and the backup is left."""
    disk = tmp_path_factory.mktemp("disk") / "there"
    shutil.move(linked, disk)
    Path(linked).symlink_to(disk)
    kept_with_it(Path("data/raw"))
    withdrawal = began("image-1")
    assert any(held.startswith("data/masks/shard-00000.parquet: ") for held in left(withdrawal))
    remove(withdrawal)
    line.run()
    record()
    report, _ = signed(withdrawal)
    assert report["left_over"] == ["data/raw/backup.zip: the photograph or a mask of it"]
    assert report["elsewhere"] == ["data/raw/names.txt (names it)"]
    assert set(map(str, in_project(traces_of(Lookup(), withdrawal)))) == {"data/raw/backup.zip", "data/raw/names.txt"}


def test_what_a_link_leads_to_outside_of_data_is_named(line, tmp_path_factory):
    """It is not ours to delete, and no run waits for that."""
    album = tmp_path_factory.mktemp("album")
    kept_with_it(album)
    shutil.copy("data/raw/image-1.png", album / "other.png")
    Path("data/raw/mine").symlink_to(album)
    withdrawal = began("image-1")
    finish(line, withdrawal)
    report, _ = signed(withdrawal)
    behind = "the photograph or a mask of it; it lies outside of data, behind a link"
    assert report["elsewhere"] == [
        f"data/raw/mine/backup.zip ({behind})",
        "data/raw/mine/names.txt (names it)",
        f"data/raw/mine/other.png ({behind})",
    ]
    assert {path.name for path in album.iterdir()} == {"backup.zip", "names.txt", "other.png"}


def test_links_in_a_circle_end(tmp_path):
    """Each file once, by its path without links; what is left out is so by every path."""
    for folder in ("a/b", "history", "z"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").touch()
    for link, target in {
        "a/b/up": "a",
        "0": "a/b",
        "h": "history",
        "root": ".",
        "above": "..",
        "gone": "nowhere",
    }.items():
        (tmp_path / link).symlink_to(tmp_path / target)
    found = {path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path, without=[tmp_path / "history"])}
    assert found == {"a/b/file", "z/file"}
    assert list(files_below(tmp_path / "nowhere")) == []


@pytest.mark.parametrize("image_id", ["image-1", "0", "a b/1"])
def test_results_of_commands_are_named(line, image_id):
    """Predictions and pictures of differences, also such as were edited since, by the id or by the photograph's file."""
    renamed(line, "image-1", image_id)
    photograph = np.zeros((*SIZE, 3), np.uint8)
    for name in (image_id, "image-1", "image-2", f"{image_id}~2"):
        write_predicted(made("preds"), file_name(name), photograph, np.zeros(SIZE, np.uint8))
    for name in (image_id, "image-2"):
        write_mask(made("pictures") / f"{file_name(name)}.png", np.zeros(SIZE, np.uint8), diff_pictures.COMMAND, "")
    with (Path("preds") / f"{file_name(image_id)}.png").open("ab") as edited:
        edited.write(b"more")
    report, _ = signed(began(image_id))
    names = [file_name(image_id), "image-1"]
    expected = {
        f"preds/{name}{end} (a result of `labelfactory predict`)" for name in names for end in (".png", "_overlay.jpg")
    }
    expected |= {f"pictures/{names[0]}.png (a result of `labelfactory audit diff`)"}
    twice = {
        f"preds/{file_name(f'{image_id}~2')}{end} (a result of `labelfactory predict`)"
        for end in (".png", "_overlay.jpg")
    }
    assert set(report["elsewhere"]) == expected | twice


def test_results_of_another_image_are_not_named(line):
    """Its id is what `predict` would make of the other's."""
    for old, new in (("image-1", "IMG_1"), ("image-2", "IMG_1~2"), ("image-3", "IMG_1_overlay")):
        renamed(line, old, new)
    photograph = np.zeros((*SIZE, 3), np.uint8)
    for name in ("IMG_1", "IMG_1~2", "IMG_1~3", "IMG_1_overlay"):
        write_predicted(made("preds"), name, photograph, np.zeros(SIZE, np.uint8))
    Path("preds/IMG_1_overlay.png").unlink()
    report, _ = signed(began("IMG_1"))
    named = {line.removesuffix(" (a result of `labelfactory predict`)") for line in report["elsewhere"]}
    assert named == {"preds/IMG_1.png", "preds/IMG_1~3.png", "preds/IMG_1~3_overlay.jpg"}


def made(folder: str) -> Path:
    Path(folder).mkdir(exist_ok=True)
    return Path(folder)


def test_copies_names_and_models_in_the_project_are_named(line, tmp_path_factory):
    """By bytes, by names, by text; hidden folders and DVC's own too. Code that git tracks is full of words."""
    withdrawal = began("image-1")
    weights = next(m.weights for m in Lookup().models.values() if m.label == "segmenter 1")
    for place in ("mine", ".hidden", ".dvc/tmp/exps/kept", ".labelfactory", "venv"):
        Path(place).mkdir(parents=True, exist_ok=True)
        shutil.copy("data/raw/image-1.png", f"{place}/copy.png")
        Path(place, "notes.txt").write_text("image-1")
    Path("venv/pyvenv.cfg").touch()
    Path("mine/image-1.jpg").write_bytes(b"a thumbnail")
    Path("mine/old.onnx").write_bytes(b"weights_digest " + weights.encode() + b" more")
    Path("mine/image-2.txt").write_text("image-2")
    Path("code.py").write_text("image-1")
    Path("album").symlink_to(tmp_path_factory.mktemp("album"))
    Path("alias").symlink_to("mine")
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "add", "code.py"], check=True)
    report, _ = signed(withdrawal)
    pixels = "(the photograph or a mask of it)"
    assert set(report["elsewhere"]) == {
        f"mine/copy.png {pixels}",
        f".hidden/copy.png {pixels}",
        f".dvc/tmp/exps/kept/copy.png {pixels}",
        f".labelfactory/copy.png {pixels}",
        "mine/notes.txt (names it)",
        ".hidden/notes.txt (names it)",
        "mine/image-1.jpg (named after it)",
        "mine/old.onnx (a model that learnt from it)",
    }
    assert any(each.startswith("album (a link to ") for each in report["not_ours"])
    assert not any(each.startswith("alias") for each in report["not_ours"])
    assert any("DVC's notes" in each for each in report["not_ours"])


def test_a_report_that_may_show_it_is_left(line):
    """`evaluate` failed, and the report is that of before: its text says nothing of an image whose id is a small number."""
    renamed(line, "image-1", "0")
    report = Path("data/evaluation/report.html")
    report.write_text("<!doctype html>pixels")
    line.commit()
    withdrawal = began("0")
    remove(withdrawal)
    line.run(commit=False)
    record()
    assert left(withdrawal)[0] == f"{report}: pictures, perhaps of before the withdrawal"
    report.write_text("<!doctype html>other pixels")
    line.commit()
    assert left(withdrawal) == []
    pages = [path.read_text() for path in CACHE.glob("*/*") if path.read_bytes().startswith(b"<!doctype")]
    assert pages == [report.read_text()]


def test_names_of_any_bytes_are_signed(line, tmp_path_factory):
    """Of links, folders and files, below data/ too: Linux allows bytes that are no UTF-8."""
    album = tmp_path_factory.mktemp("album")
    shutil.copy("data/raw/image-1.png", album / "a.png")
    for link in (b"lnk\xe9", b"data/raw/lnk\xe9"):
        Path(os.fsdecode(link)).symlink_to(album)
    Path(os.fsdecode(b"mine\xe9")).mkdir()
    for name in (b"mine\xe9/copy\xff.png", b"data/raw/copy\xff.png"):
        shutil.copy("data/raw/image-1.png", os.fsdecode(name))
    Path(os.fsdecode(b"data/raw/names\xe9.txt")).write_text("image-1")
    withdrawal = began("image-1")
    finish(line, withdrawal)
    assert not os.path.lexists(b"data/raw/copy\xff.png")
    report, path = signed(withdrawal)
    assert json.loads(path.read_text(encoding="utf-8")) == report
    pixels = "the photograph or a mask of it"
    assert {
        rf"data/raw/lnk\xe9/a.png ({pixels}; it lies outside of data, behind a link)",
        r"data/raw/names\xe9.txt (names it)",
        rf"mine\xe9/copy\xff.png ({pixels})",
    } <= set(report["elsewhere"])
    assert rf"lnk\xe9 (a link to {album}, which was not searched)" in report["not_ours"]
    assert r"data/raw/copy\xff.png" in report["deleted"]


def test_a_provenance_in_the_projects_own_folder_makes_no_export_of_it(line):
    """It is named; so is every other file, by itself."""
    Path("mine").mkdir()
    shutil.copy("data/raw/image-1.png", "mine/copy.png")
    for folder in (".", "made"):
        Path(folder).mkdir(exist_ok=True)
        Path(folder, "provenance.json").write_text(json.dumps({"images": {"image-1": {}}}))
    report, _ = signed(began("image-1"))
    assert set(report["elsewhere"]) == {
        "made (an export)",
        "mine/copy.png (the photograph or a mask of it)",
        "provenance.json (names it)",
    }
