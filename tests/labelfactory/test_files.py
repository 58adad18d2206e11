"""An output appears whole or not at all."""

import csv
import errno
import json
import os
import subprocess
from pathlib import Path

import pytest

from labelfactory.files import (
    REMEDIES,
    DiskError,
    disk_errors,
    make_folder,
    remove_leftovers,
    write_csv,
    write_json,
    write_whole,
)


def write_half(path: Path, error: type[BaseException] | BaseException) -> None:
    with write_whole(path) as temporary:
        temporary.write_bytes(b"half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, b"old"])
def test_an_error_leaves_the_old_file_and_no_other(tmp_path, error, old):
    """Also where there was none."""
    path = tmp_path / "x"
    if old is not None:
        path.write_bytes(old)
    with pytest.raises(error):
        write_half(path, error)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if old is None else [old])


def test_a_table_is_written_whole_or_not_at_all(tmp_path):
    """A row that fails leaves the old table; names with commas and quotes come back."""
    path = tmp_path / "table.csv"
    write_csv(path, ("class", "iou"), [("a, b", 0.5), ('c "d"', 1)])
    with path.open(newline="", encoding="utf-8") as stream:
        assert list(csv.reader(stream)) == [["class", "iou"], ["a, b", "0.5"], ['c "d"', "1"]]
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        write_csv(path, ("class", "iou"), ((str(k), 1 / k) for k in (1, 0)))
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [before]


def test_the_new_file_takes_the_old_ones_place(tmp_path):
    """In one step: whoever holds the old one open still reads all of it."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        with write_whole(path) as temporary:
            temporary.write_bytes(b"new")
            assert path.read_bytes() == b"old"
            assert temporary.parent == path.parent
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_the_bytes_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
    """fsync of the file, rename, fsync of the folder: a power cut finds the old file or the new one."""
    events = []
    replace, sync = Path.replace, os.fsync

    def note_sync(fd: int) -> None:
        events.append("folder" if Path(f"/proc/self/fd/{fd}").resolve() == tmp_path.resolve() else "file")
        sync(fd)

    def note_rename(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_rename)
    with write_whole(tmp_path / "x") as temporary:
        temporary.write_bytes(b"new")
    assert events == ["file", "rename", "folder"]


def test_leftovers_of_a_killed_run_are_removed(tmp_path):
    """And nothing else."""
    for name in (".shard-00001.parquet.77.tmp", ".gitignore", "shard-00001.parquet", "notes.tmp"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".gitignore", "notes.tmp", "shard-00001.parquet"]


def test_leftovers_are_named_as_write_whole_names_them(tmp_path):
    """A kill that Python never hears of leaves what `remove_leftovers` finds."""
    writer = write_whole(tmp_path / "x")
    writer.__enter__().write_bytes(b"half")
    assert len(list(tmp_path.iterdir())) == 1
    remove_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())


def test_json_keeps_order_and_letters(tmp_path):
    """Folders are made; a person can read it."""
    write_json(tmp_path / "a" / "b.json", {"z": 1, "a": "é"})
    text = (tmp_path / "a" / "b.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"z": 1, "a": "é"}
    assert text.index("z") < text.index("a")
    assert "é" in text


def test_leftovers_of_running_processes_stay_where_others_may_write(tmp_path):
    """In a folder that no lock guards: what a killed process left goes, folders too; what is not ours stays."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    running = subprocess.Popen(["sleep", "60"])
    try:
        for name in (f".a.onnx.{gone.pid}.tmp", f".a.onnx.{running.pid}.tmp", f".b.onnx.{gone.pid}.tmp", ".a.onnx.tmp"):
            (tmp_path / name).touch()
        (tmp_path / f".a.onnx.{gone.pid}.old.tmp").mkdir()
        remove_leftovers(tmp_path, "a.onnx", alone=False)
        left = {f".a.onnx.{running.pid}.tmp", f".b.onnx.{gone.pid}.tmp", ".a.onnx.tmp"}
        assert {path.name for path in tmp_path.iterdir()} == left
    finally:
        running.kill()
        running.wait()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), RuntimeError("No space left on device")])
def test_errors_of_the_disk_name_the_path(tmp_path, error):
    """However a library reports them; other errors are left alone."""
    with pytest.raises(DiskError, match="x: no space is left"), disk_errors(tmp_path / "x"):
        raise error
    with pytest.raises(RuntimeError, match="bug"), disk_errors(tmp_path / "x"):
        raise RuntimeError("bug")


@pytest.mark.parametrize("number", sorted(REMEDIES))
def test_a_place_where_nothing_can_be_written_is_named_with_what_to_do(tmp_path, number):
    """Whatever the system says is in the way; a bug of the program with the same number elsewhere is none of a file."""
    with pytest.raises(DiskError, match=f"x: cannot be written: {os.strerror(number).lower()}") as caught:
        write_half(tmp_path / "x", OSError(number, os.strerror(number)))
    assert caught.value.remedy
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["file", "file/x", "file/x/y", "loop/x", "n" * 300, "n" * 250, "a folder"])
def test_no_file_is_written_where_none_can_be(tmp_path, place):
    """A file in the way, a link to itself, a name that is too long by itself or as that of a temporary file."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "a folder").mkdir()
    path = tmp_path / place
    if place != "file":
        with pytest.raises(DiskError, match="cannot be written") as caught, write_whole(path) as temporary:
            temporary.write_bytes(b"new")
        assert caught.value.remedy
    if place not in ("a folder", "n" * 250):
        with pytest.raises(DiskError, match="cannot be written"):
            make_folder(path)
    assert (tmp_path / "file").read_text() == "mine"
