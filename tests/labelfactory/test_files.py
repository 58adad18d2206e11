"""An output appears whole or not at all."""

import csv
import errno
import json
import os
import re
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest

from labelfactory import files
from labelfactory.files import (
    REMEDIES,
    DiskError,
    TakenError,
    disk_errors,
    filled_folder,
    make_folder,
    remove_leftover_folders,
    remove_leftovers,
    temporary_path,
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


OF_OTHERS = (
    ".album.lr-tmp",
    ".b.jpg.tmp",
    ".session.1999.tmp",
    ".x.77.labelfactory.tmp",
    ".x.0123456-77.labelfactory.tmp",
    ".x.01234567-77.labelfactory.tmp~",
    "x.01234567-77.labelfactory.tmp",
    ".gitignore",
    "notes.tmp",
    "shard-00001.parquet",
)


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("name", ["shard-00001.parquet", "a\nb [x]*.jpg", "é" * 120])
def test_leftovers_are_known_by_our_own_form_of_names(tmp_path, name, alone):
    """Files of other programs stay, hidden ones too; and so does what has our name, but is a folder or a link."""
    for other in OF_OTHERS:
        (tmp_path / other).write_text("mine")
    for folder in (".drafts.tmp", ".notes.20241129.tmp", temporary_path(tmp_path / "f").name):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "novel.txt").write_text("mine")
    temporary_path(tmp_path / "l").symlink_to(tmp_path / "notes.tmp")
    before = sorted(tmp_path.rglob("*"))
    half = temporary_path(tmp_path / name)
    half.write_text("half")
    remove_leftovers(tmp_path, ["other"], alone=alone)
    assert half.exists()
    remove_leftovers(tmp_path, [name] if len(name) > 100 else (), alone=alone)
    assert sorted(tmp_path.rglob("*")) == before
    assert {path.read_text() for path in before if path.is_file()} == {"mine"}


def test_leftovers_are_named_as_write_whole_names_them(tmp_path):
    """A kill that Python never hears of leaves what `remove_leftovers` finds."""
    writer = write_whole(tmp_path / "x")
    writer.__enter__().write_bytes(b"half")
    assert len(list(tmp_path.iterdir())) == 1
    remove_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_link_under_a_foretold_name_is_followed(tmp_path):
    """Played: another user of a shared folder puts a link to this user's file where the temporary file is expected."""
    own = tmp_path / "thesis.txt"
    own.write_text("mine")
    for kind in ("", "old"):
        temporary_path(tmp_path / "x", kind).symlink_to(own)
    with write_whole(tmp_path / "x") as temporary:
        temporary.write_text("result")
    assert (own.read_text(), (tmp_path / "x").read_text()) == ("mine", "result")
    assert not (tmp_path / "x").is_symlink()


@pytest.mark.parametrize("moved", ["file", "folder", "folder above"])
def test_what_others_put_in_the_place_of_a_file_that_is_being_written_is_not_followed(tmp_path, moved):
    """Played: in a folder that all may write, another user sees the file, moves it or its folder, and puts a link there."""
    shared, own = tmp_path / "shared", tmp_path / "thesis.txt"
    folder = shared / "a/b"
    folder.mkdir(parents=True)
    shared.chmod(0o777)
    if moved == "file":
        folder.chmod(0o777)
    own.write_text("mine")

    def write() -> None:
        with write_whole(folder / "x") as temporary:
            (there,) = folder.iterdir()
            {"file": there, "folder": folder, "folder above": folder.parent}[moved].rename(tmp_path / "away")
            folder.mkdir(parents=True, exist_ok=True)
            there.symlink_to(own)
            temporary.write_text("result")
            temporary.write_text("result with a seal")

    with pytest.raises(DiskError, match="somebody has moved it") as caught:
        write()
    assert (own.read_text(), caught.value.remedy) == ("mine", f"Name another place, or `chmod go-w {folder}`.")
    assert not (folder / "x").exists()


def test_a_file_that_goes_at_the_last_moment_is_no_traceback(tmp_path, monkeypatch):
    """Played: another user moves it between the look at it and its renaming."""
    look = files._check_same

    def and_then_it_goes(path: Path, descriptor: int) -> None:
        look(path, descriptor)
        path.rename(tmp_path / "away")

    monkeypatch.setattr(files, "_check_same", and_then_it_goes)
    with pytest.raises(DiskError, match="somebody has moved it"):
        write_json(tmp_path / "x", 1)


def test_nobody_can_enter_a_folder_or_replace_it_while_it_is_filled(tmp_path):
    """Played: another user moves the folder of an export, and puts one there in which links have the names of its files."""
    tmp_path.chmod(0o777)
    (tmp_path / "thesis.txt").write_text("mine")
    with filled_folder(tmp_path / "new") as folder:
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
        (tmp_path / "new").rename(tmp_path / "away")
        (tmp_path / "new").mkdir()
        (tmp_path / "new/a.json").symlink_to(tmp_path / "thesis.txt")
        (folder / "a.json").write_text("result")
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert (tmp_path / "away/a.json").read_text() == "result"
    assert (tmp_path / "away").stat().st_mode == (tmp_path / "new").stat().st_mode


def test_a_folder_that_others_can_rename_is_no_leftover_of_ours(tmp_path, capsys):
    """Another user gives a folder of a person the name that a killed command would have left."""
    name = temporary_path(Path("out")).name.replace(f"-{os.getpid()}.", "-4194303.")
    for folder, mode in (("shared", 0o777), ("mine", 0o755), ("sticky", 0o1777)):
        (tmp_path / folder / name).mkdir(parents=True)
        (tmp_path / folder / name / "thesis.tex").write_text("mine")
        (tmp_path / folder).chmod(mode)
        remove_leftover_folders(tmp_path / folder, ["out"])
    assert (tmp_path / "shared" / name / "thesis.tex").read_text() == "mine"
    assert f"{name}: a killed command may have left it" in capsys.readouterr().err
    assert not (tmp_path / "mine" / name).exists()
    assert not (tmp_path / "sticky" / name).exists()


def test_a_folder_that_is_refused_keeps_its_permissions(tmp_path, monkeypatch):
    """Another user may have put one of this user's own there in the moment after it was made."""
    look = os.listdir
    monkeypatch.setattr(os, "listdir", lambda opened: [*look(opened), "thesis.tex"])
    with pytest.raises(FileExistsError, match="another user has put something there"), filled_folder(tmp_path / "new"):
        pass
    (tmp_path / "beside").mkdir()
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "beside").stat().st_mode


def test_nobody_can_lay_anything_into_a_new_folder_after_the_look_at_it(tmp_path, monkeypatch):
    """Where the folder's group may write, there is a moment between the two."""
    look, modes = os.listdir, []
    monkeypatch.setattr(os, "listdir", lambda opened: modes.append(os.fstat(opened).st_mode & 0o777) or look(opened))
    before = os.umask(0o002)
    try:
        with filled_folder(tmp_path / "new"):
            pass
    finally:
        os.umask(before)
    assert modes == [0o700]
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o775


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_a_file_has_its_permissions_from_the_start(tmp_path, mode):
    """A login is never readable for others, not even empty."""
    before = os.umask(0o022)
    try:
        with write_whole(tmp_path / "x", mode=mode) as temporary:
            assert temporary.stat().st_mode & 0o777 == mode & 0o755
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == mode & 0o755


def test_json_keeps_order_and_letters(tmp_path):
    """Folders are made; a person can read it."""
    write_json(tmp_path / "a" / "b.json", {"z": 1, "a": "é"})
    text = (tmp_path / "a" / "b.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"z": 1, "a": "é"}
    assert text.index("z") < text.index("a")
    assert "é" in text


def test_leftovers_of_running_processes_stay_where_others_may_write(tmp_path, monkeypatch):
    """In a folder that no lock guards goes what a process of this user on this machine left that has ended, and nothing else."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    running = subprocess.Popen(["sleep", "60"])
    try:
        path, own = temporary_path(tmp_path / "a.onnx"), f"-{os.getpid()}."
        ended, runs = (path.with_name(path.name.replace(own, f"-{process.pid}.")) for process in (gone, running))
        elsewhere = ended.with_name(re.sub("[0-9a-f]{8}-", "01234567-", ended.name))
        for leftover in (ended, runs, elsewhere):
            leftover.touch()
        with monkeypatch.context() as patched:
            patched.setattr("os.geteuid", lambda: os.getuid() + 1)
            remove_leftovers(tmp_path, alone=False)
        assert set(tmp_path.iterdir()) == {ended, runs, elsewhere}
        remove_leftovers(tmp_path, alone=False)
        assert set(tmp_path.iterdir()) == {runs, elsewhere}
    finally:
        running.kill()
        running.wait()
    remove_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())


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


@pytest.mark.parametrize("place", ["file", "file/x", "file/x/y", "loop/x", "n" * 300, "a folder"])
def test_no_file_is_written_where_none_can_be(tmp_path, place):
    """A file in the way, a link to itself, too long a name."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "a folder").mkdir()
    path = tmp_path / place
    if place != "file":
        with pytest.raises(DiskError, match="cannot be written") as caught, write_whole(path) as temporary:
            temporary.write_bytes(b"new")
        assert caught.value.remedy
    if place != "a folder":
        with pytest.raises(DiskError, match="cannot be written"):
            make_folder(path)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("there", ["file", "folder", "dangling link", None])
def test_what_came_meanwhile_is_not_replaced(tmp_path, monkeypatch, links, there):
    """With `over=False`, until the file has its name; also where the file system has no hard links."""
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    path, elsewhere = tmp_path / "x", tmp_path / "nothing"
    make = {"file": lambda: path.write_bytes(b"theirs"), "folder": path.mkdir}
    with pytest.raises(TakenError) if there else nullcontext(), write_whole(path, over=False) as temporary:
        temporary.write_bytes(b"ours")
        make.get(there or "", lambda: path.symlink_to(elsewhere) if there else None)()
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    if there in (None, "file"):
        assert path.read_bytes() == (b"theirs" if there else b"ours")
    assert not elsewhere.exists()
