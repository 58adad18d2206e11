"""What a remote names before DVC acts on it: locks and lists of files, good ones and those of an intruder."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.line.pulled_files import check_listing, check_lock
from labelfactory.errors import DataError

ROOT = Path(__file__).resolve().parents[3]
OUT = {"path": "data/masks", "hash": "md5", "md5": "0" * 32 + ".dir", "size": 7, "nfiles": 1}


@pytest.fixture
def wired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has the project's wiring."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(ROOT / "dvc.yaml", "dvc.yaml")


def lock(out: Any, stage: str = "refine_crf") -> bytes:
    stages = {stage: {"cmd": f"python -m stages.{stage}", "deps": [], "outs": [out]}}
    return yaml.safe_dump({"schema": "2.0", "stages": stages}).encode()


def test_a_lock_of_this_line_is_taken(wired):
    """Folders, files, metrics; with and without the fields that DVC adds."""
    for out in (
        OUT,
        {"path": "data/masks", "md5": "a" * 32},
        OUT | {"path": "data/reports/refine_crf.json", "isexec": True},
    ):
        check_lock(lock(out), "here")


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (OUT | {"path": "stages/prepare.py"}, "the output 'stages/prepare.py' is not in dvc.yaml"),
        (OUT | {"path": "data/ledger"}, "the output 'data/ledger' is not in dvc.yaml"),
        (OUT | {"path": "data/walks"}, "the output 'data/walks' is not in dvc.yaml"),  # of another stage
        (OUT | {"path": "../elsewhere"}, "the output '../elsewhere' is not in dvc.yaml"),
        (OUT | {"path": ["data/masks"]}, "is not in dvc.yaml"),
        (OUT | {"md5": "ab/../../../../../etc/passwd"}, "is not an MD5"),
        (OUT | {"md5": None}, "is not an MD5"),
        (OUT | {"hash": "etag"}, "an output is not described by its MD5"),
        (OUT | {"files": [{"relpath": "../x", "md5": "0" * 32}]}, "an output is not described by its MD5"),
        ("data/masks", "an output is not described by its MD5"),
    ],
)
def test_an_output_that_dvc_yaml_does_not_have_is_refused(wired, out, message):
    """The message names the address, not the copy; the remedy says what to type."""
    with pytest.raises(DataError) as caught:
        check_lock(lock(out), "s3://store/dvc.lock")
    assert caught.value.problem.startswith("s3://store/dvc.lock: the stage refine_crf: ")
    assert message in caught.value.problem
    assert "labelfactory push" in caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        b"- a",
        b"stages: [1]",
        b"{",
        b"\xff",
        b"7",
        b"stages: {}\nvars: {}",
        b"stages: {evil: {}}",
        b"stages: {refine_crf: 1}",
        b"a: &a [*a]",
        b"stages: {1: {}}",
    ],
)
def test_a_lock_that_is_none_is_refused(wired, text):
    """Not YAML, no stages, stages of another line."""
    with pytest.raises(DataError, match=r"s3://store/dvc\.lock") as caught:
        check_lock(text, "s3://store/dvc.lock")
    assert caught.value.remedy


def listing(*files: Any) -> tuple[bytes, str]:
    data = json.dumps(files).encode()
    return data, hashlib.md5(data, usedforsecurity=False).hexdigest() + ".dir"


def test_a_list_of_the_files_of_an_output_is_taken():
    """Names as the stages write them."""
    names = ("shard-00000.parquet", "checkpoint.safetensors", "plots/iou.csv", "%C3%A9~1.png")
    check_listing(*listing(*({"relpath": name, "md5": "0" * 32} for name in names)), "data/masks")


@pytest.mark.parametrize(
    "relpath",
    [
        "../../stages/prepare.py",
        "../ledger/HEAD",
        "/tmp/x",
        "sub/dvc.yaml",
        "DVC.lock",
        "x.dvc",
        ".hidden",
        "a//b",
        "",
        "a\\b",
        7,
    ],
)
def test_a_file_outside_of_its_output_is_refused(relpath):
    """And one that DVC would take for a stage of its own."""
    with pytest.raises(DataError, match=r"data/masks: the list of its files, .* is not a name of a file in it"):
        check_listing(*listing({"relpath": relpath, "md5": "0" * 32}), "data/masks")


@pytest.mark.parametrize(
    "file", [{"relpath": "a"}, 1, None, [], {"relpath": "a", "md5": "ab/../../x"}, {"relpath": "a", "md5": 1}]
)
def test_what_is_no_list_of_files_is_refused(file):
    """Nor is one whose objects are paths."""
    with pytest.raises(DataError, match=r"is not (a list of files|an MD5)"):
        check_listing(*listing(file), "data/masks")


@pytest.mark.parametrize("data", [b"", b"{", b"7", b"[" * 10**5, b"null"])
def test_a_damaged_list_is_refused(data):
    """Under its own MD5 and under another."""
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    for name, reason in ((md5, "is not a list of files"), ("0" * 32, "is damaged")):
        with pytest.raises(DataError, match=reason):
            check_listing(data, f"{name}.dir", "data/masks")
