"""The store: what is kept costs no room while others hold it, goes by its last use, and never costs a run."""

import hashlib
import os
from pathlib import Path

import pytest

from labelfactory.digests import digest_file
from labelfactory.errors import UserError
from labelfactory.files import temporary_path
from labelfactory.store import entries as store
from labelfactory.store.entries import OLD, STORE, entries, folder_of, held_in_words, remove, trim
from labelfactory.store.limit import GB, VARIABLE, limit
from labelfactory.store.outputs import keep_output, kept_output, put_back
from labelfactory.store.sharing import share_with_cache

SIZE = 1000


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "1")
    Path("data/net").mkdir(parents=True)


def made(key: str, *, used: float, alone: bool = True) -> None:
    """An output of SIZE bytes that was kept; `alone`: another one has replaced it since."""
    file = Path(f"data/net/{key}")
    file.write_bytes(os.urandom(SIZE))
    keep_output("net", key, [file])
    if (place := folder_of("net", key)).exists():
        os.utime(place, (used, used))
    if alone:
        file.unlink()


def kept() -> list[str]:
    return [entry.path.name for entry in entries()]


def test_what_was_used_longest_ago_goes_first():
    """Only what sets bytes free; a dry run says the same and removes nothing; what is left of killed processes goes too."""
    made("old", used=1)
    made("shared", used=2, alone=False)
    made("new", used=4)
    made("middle", used=3)
    for kind in ("", OLD):
        (left := temporary_path(STORE / "net/half", kind)).with_name(
            left.name.replace(f"-{os.getpid()}.", "-4194304.")
        ).mkdir()
    assert [entry.path.name for entry in trim(SIZE, dry_run=True)] == ["old", "middle"]
    assert "4 outputs by their keys, 1 MB by itself (limit 1.0 GB)" in held_in_words()
    assert [entry.path.name for entry in trim(SIZE)] == ["old", "middle"]
    assert kept() == ["new", "shared"]
    assert not list(STORE.glob("*/.*"))
    put_back("net", "shared", Path("data/net"))
    assert (STORE / "net/shared").stat().st_mtime > 4, "it was of use now"
    assert len(trim(0)) == 2
    assert kept() == []


@pytest.mark.parametrize(
    ("value", "held", "most"), [("0.5", 0, GB // 2), ("", 0, 2 * GB), ("", 30 * GB, 5 * GB), ("0", 9, 0)]
)
def test_the_limit(monkeypatch, value, held, most):
    """Without the variable a tenth of what would be free without the store, and 20 GB at most."""
    monkeypatch.setenv(VARIABLE, value)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 20 * GB}))
    assert limit(Path(), held) == most
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 900 * GB}))
    assert limit(Path(), held) == (most if value else 20 * GB)


@pytest.mark.parametrize("value", ["-1", "much", "nan", "inf"])
def test_a_limit_that_is_no_number_is_refused(monkeypatch, value):
    """With what to type."""
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(
        UserError, match=f"^{VARIABLE}='{value}' must be 0 or a positive number\nType `unset {VARIABLE}`"
    ):
        kept_output("net", "any")


@pytest.mark.parametrize("links", [True, False])
def test_an_output_comes_back_byte_for_byte(monkeypatch, capsys, links):
    """Also where the file system has no links; one that was damaged does not come back, and goes."""
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    output = Path("data/net")
    for name in ("rows", "weights"):
        (output / name).write_bytes(os.urandom(SIZE))
    files = [output / "rows", output / "weights"]
    digests = [digest_file(file) for file in files]
    keep_output("net", "key", files)
    assert entries()[0].own_bytes == (0 if links else 2 * SIZE)
    for file in files:
        file.unlink()
    assert put_back("net", "key", output)
    assert [digest_file(file) for file in files] == digests
    assert not put_back("net", "other key", output)
    (STORE / "net/key/rows").write_bytes(b"other bytes")
    assert not put_back("net", "key", output)
    assert "data/store/net/key: damaged: not used, removed" in capsys.readouterr().err
    assert [digest_file(file) for file in files] == digests
    assert kept() == []


def test_an_output_comes_back_whole_though_its_entry_goes_meanwhile(monkeypatch):
    """`labelfactory gc` while a stage copies it: all files or none, and no error."""
    files = [Path("data/net/rows"), Path("data/net/weights")]
    for file in files:
        file.write_bytes(os.urandom(SIZE))
    digests = [digest_file(file) for file in files]
    keep_output("net", "key", files)
    for file in files:
        file.unlink()
    copy = store.shutil.copyfile

    def removing(source: Path, to: Path) -> None:
        remove(STORE / "net/key")
        copy(source, to)

    with monkeypatch.context() as patched:
        patched.setattr(store.shutil, "copyfile", removing)
        assert put_back("net", "key", Path("data/net"))
    assert [digest_file(file) for file in files] == digests
    assert not list(STORE.glob("*/*"))
    assert not list(STORE.glob("*/.*"))
    keep_output("net", "key", files)
    monkeypatch.setattr(Path, "iterdir", lambda path: iter([path / "gone"]))
    assert not put_back("net", "key", Path("data/net"))


def test_what_cannot_be_kept_is_said_and_costs_nothing(monkeypatch, capsys):
    """A full disk: the run goes on, and nothing is left of the attempt."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.shutil, "copyfile", full)
    monkeypatch.setattr(os, "link", full)
    made("key", used=1)
    made("other", used=1)
    assert capsys.readouterr().err == "data/store: not everything is kept: No space left on device\n", "once"
    assert not list(STORE.glob("*/*"))
    assert not list(STORE.glob("*/.*"))


def test_a_variant_of_a_sweep_has_the_store_of_its_project(monkeypatch, tmp_path):
    """What it makes is found when its settings are taken over."""
    variant = tmp_path / ".dvc/tmp/exps/standalone/tmp1"
    (variant / "data/net").mkdir(parents=True)
    made("here", used=1)
    monkeypatch.chdir(variant)
    made("there", used=2, alone=False)
    assert kept() == ["here", "there"]
    monkeypatch.chdir(tmp_path)
    assert kept() == ["here", "there"]
    assert not (variant / "data/store").exists()


def test_the_cache_and_the_store_share_one_set_of_bytes():
    """DVC writes an output anew when its stage has ended; the store then links to the cache's file, and loses no time of use."""
    made("file", used=5, alone=False)
    data = Path("data/net/file").read_bytes()
    Path("data/net/file").unlink()
    Path("data/net/file").write_bytes(data)
    assert entries()[0].own_bytes == SIZE
    share_with_cache()
    assert entries()[0].own_bytes == SIZE, "there is no cache"
    md5 = hashlib.md5(data).hexdigest()
    cached = Path(".dvc/cache/files/md5") / md5[:2] / md5[2:]
    cached.parent.mkdir(parents=True)
    cached.write_bytes(data)
    share_with_cache()
    (entry,) = entries()
    assert (entry.own_bytes, entry.used) == (0, 5)
    assert (entry.path / "file").samefile(cached)
    assert put_back("net", "file", Path("data/net"))
    assert not Path("data/net/file").samefile(cached), "an output is nobody's second name"


def test_a_store_that_is_off_keeps_and_finds_nothing(monkeypatch):
    """What it had is still there for another day."""
    made("key", used=1)
    monkeypatch.setenv(VARIABLE, "0")
    made("other", used=2)
    assert kept() == ["key"]
    assert kept_output("net", "key") is None
    assert not put_back("net", "key", Path("data/net"))
    assert "(limit 0: it is off)" in held_in_words()
