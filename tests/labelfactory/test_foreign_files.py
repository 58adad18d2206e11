"""Which paths from files are read, written and deleted, and what is read at all."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest
from hostile_files import SECRET, SPECIAL

from labelfactory.errors import DataError
from labelfactory.foreign_files import (
    FileRefusedError,
    check_path,
    check_regular,
    is_allowed,
    photographs_below,
    read_file,
    read_imported,
    read_text,
    remedy,
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two photographs, beside a folder with a secret."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key.jpg").write_bytes(SECRET)
    folder = tmp_path / "project"
    for name in ("data/raw/demo", "photos"):
        (folder / name).mkdir(parents=True)
        (folder / name / "a.jpg").write_bytes(b"a photograph")
    monkeypatch.chdir(folder)
    return folder


NEVER_WRITTEN = [
    "stages/prepare.py",
    "dvc.yaml",
    "dvc.lock",
    "params.yaml",
    ".git/hooks/post-checkout",
    ".dvc/config",
    "data/ledger/00000001-masks.parquet",
    "data/ledger/HEAD",
    "data/mlflow/mlflow.db",
    "data/import/manifest.parquet",
    "data/corrections/a.png",
    "data/masks/shard-00000.parquet",
    "data/x.dvc",
    "data/.gitignore",
    "data/raw",
    "data/raw/dvc.yaml",
    "data/raw/x.dvc",
    "data/raw/.hidden.jpg",
    "data/raw/.git/a.jpg",
    "data/raw/demo/conftest.py",
    "data/raw/demo",
    "data/raw/../ledger/a.jpg",
    "data/raw/../../stages/a.jpg",
    "../up.png",
    "/etc/cron.d/a.jpg",
    "data/RAW/a.jpg",
    "data/raw/a\0.jpg",
    "",
]


@pytest.mark.parametrize("path", NEVER_WRITTEN)
def test_code_and_records_are_never_written_or_deleted(project, path):
    """Whatever a manifest says; the error has two parts."""
    with pytest.raises(FileRefusedError) as caught:
        check_path(path, "write")
    assert caught.value.remedy
    assert caught.value.reason in caught.value.problem
    assert not is_allowed(path, "delete")


@pytest.mark.parametrize(
    "path", ["data/raw/a.JPG", "data/raw/demo/a.jpg", "data/raw/coco/x/m.png", "data/raw/table/0f"]
)
def test_photographs_are_written_and_deleted_below_data_raw(project, path):
    """Named from the project or from the root of the disk."""
    assert check_path(path, "write") == Path(path)
    assert is_allowed(project / path, "delete")


def test_a_link_below_data_raw_does_not_lead_a_writer_out(project, tmp_path):
    """data/raw itself may be a link to a larger disk: the user made it."""
    (project / "data/raw/out").symlink_to(project / "photos")
    assert not is_allowed("data/raw/out/b.jpg", "write")
    assert not is_allowed("data/raw/out/a.jpg", "delete")
    (project / "data/raw").rename(tmp_path / "disk")
    (project / "data/raw").symlink_to(tmp_path / "disk")
    assert is_allowed("data/raw/demo/b.jpg", "write")
    assert is_allowed("data/raw/demo/a.jpg", "read")


def test_a_link_out_of_the_project_is_not_read(project, tmp_path):
    """As a file, as a folder on the way, from the project and from the root of the disk."""
    (project / "photos/link.jpg").symlink_to(tmp_path / "secret/key.jpg")
    (project / "photos/folder").symlink_to(tmp_path / "secret")
    (tmp_path / "elsewhere.jpg").symlink_to(tmp_path / "secret/key.jpg")
    for path in ("photos/link.jpg", "photos/folder/key.jpg", str(project / "photos/folder/key.jpg")):
        with pytest.raises(FileRefusedError, match="leads out of the project"):
            check_path(path, "read")
    for path in (str(tmp_path / "elsewhere.jpg"), "../elsewhere.jpg"):
        with pytest.raises(FileRefusedError, match="is a link; import the images again"):
            check_path(path, "read")


def test_files_of_the_project_and_those_that_the_user_named_are_read(project, tmp_path):
    """A link that stays inside, an absolute path, and what lies in the folder of a table."""
    (project / "photos/link.jpg").symlink_to("../data/raw/demo/a.jpg")
    for path in ("photos/link.jpg", "photos/a.jpg", str(tmp_path / "secret/key.jpg")):
        assert check_path(path, "read") == Path(path)
    table = tmp_path / "secret"
    (table / "in.jpg").symlink_to("key.jpg")
    (table / "out.jpg").symlink_to(tmp_path)
    assert check_path(table / "in.jpg", "read", within=table)
    for path in (table / "out.jpg", table / "../project/../other.jpg", Path("/etc/passwd")):
        with pytest.raises(FileRefusedError, match="leads out of "):
            check_path(path, "read", within=table)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", list(SPECIAL))
def test_what_has_no_end_is_refused_before_a_byte_is_read(tmp_path, case):
    """A pipe, a device, a socket, a file of more than half a GiB."""
    make, reason = SPECIAL[case]
    make(tmp_path / "a.jpg")
    with pytest.raises(FileRefusedError) as caught:
        read_file(tmp_path / "a.jpg")
    assert caught.value.problem == f"{tmp_path / 'a.jpg'}: {reason}"
    assert caught.value.remedy
    if case != "a large file":
        for read in (check_regular, read_text):
            with pytest.raises(FileRefusedError, match=reason):
                read(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("path", "reason"),
    [("none.jpg", "No such file"), (".", "Is a directory"), ("a\0b", "embedded null"), ("x" * 999, "too long")],
)
def test_what_is_not_there_is_named(project, path, reason):
    """No error of the operating system's own; control characters do not reach the terminal."""
    with pytest.raises(DataError, match=reason) as caught:
        read_file(Path(path))
    assert caught.value.problem.isprintable()


def test_a_photograph_is_the_one_that_was_imported(project):
    """Other bytes have another digest; text is read as UTF-8 or refused."""
    digest = hashlib.sha256(b"a photograph").hexdigest()
    assert read_imported("photos/a.jpg", digest) == b"a photograph"
    Path("photos/a.jpg").write_bytes(b"another one\xff")
    with pytest.raises(FileRefusedError, match="changed since it was imported"):
        read_imported("photos/a.jpg", digest)
    with pytest.raises(FileRefusedError, match="not UTF-8 text"):
        read_text(Path("photos/a.jpg"))
    Path("photos/a.jpg").write_bytes(b"\xef\xbb\xbftext")
    assert read_text(Path("photos/a.jpg")) == "text"


TAKEN = ("b.JPG", "a b/c.jpeg", "a b/deep/d.png", "cat.v2/e.jpg", "iconography/f.jpg", "lost/g.tif")
PASSED_OVER = {
    "@eaDir": ("@eaDir/b.JPG/SYNOPHOTO_THUMB_XL.jpg", "cat/@eaDir/a.jpg"),
    "__MACOSX": ("__MACOSX/._b.jpg",),
    "hidden files": ("._b.jpg", "cat/.DS_Store", ".ipynb_checkpoints/b-checkpoint.jpg", "~$b.jpg"),
    "Thumbs.db": ("cat/Thumbs.db",),
    "THUMBS.DB": ("THUMBS.DB",),
    "desktop.ini": ("desktop.ini",),
    "$RECYCLE.BIN": ("$RECYCLE.BIN/x.jpg",),
    "Icon": ("Icon\r",),
    ".cr2": ("IMG_1.CR2", "cat/IMG_2.cr2"),
    "no suffix": ("README",),
}


def test_what_systems_leave_among_photographs_is_no_photograph(tmp_path):
    """Photographs come in order; a folder of rubbish counts once, a file by its suffix; folders above say nothing."""
    root = tmp_path / ".cache/__MACOSX/photos"
    for name in (*TAKEN, *(name for names in PASSED_OVER.values() for name in names)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    (root / "a b/up").symlink_to(root)
    (root / "gone.jpg").symlink_to(root / "nowhere.jpg")
    counts: Counter[str] = Counter()
    assert {path.relative_to(root).as_posix() for path in photographs_below(root, counts)} == set(TAKEN)
    assert counts == {kind: len(names) for kind, names in PASSED_OVER.items()} | {"no regular files": 1}
    assert [path.name for path in photographs_below(root / "a b", Counter(), within=root)] == ["c.jpeg", "d.png"]
    counts = Counter()
    assert [path.name for path in photographs_below(root, counts, deep=False)] == ["b.JPG"]
    assert "to take .cr2: save them as JPEG" in remedy(counts)
    assert remedy({".txt", "@eaDir"}) == ""
