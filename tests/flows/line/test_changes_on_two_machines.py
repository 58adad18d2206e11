"""Two machines that share a bucket and both change the import: what `push` refuses, what `pull` merges, keeps and replaces."""

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shared_bucket import S3_WARNINGS, bucket, made, other, server

from flows.line import storage
from flows.line.shared_import import LAST_SHARED
from flows.line.storage import Moved, pull, push
from labelfactory.dataset.manifest import MANIFEST, Entry, read_manifest, write_manifest
from labelfactory.errors import DataError
from labelfactory.files import temporary_path
from labelfactory.schema import Classes
from lineage.lookup import Lookup

pytestmark = [pytest.mark.slow, *S3_WARNINGS]
__all__ = ["bucket", "made", "other", "server"]


def test_what_was_never_pushed_stays(made, other):
    """Images that were imported since, beside those that another machine pushed; unless they are given up."""
    manifest = read_manifest()
    write_manifest(replace(manifest, entries=manifest.entries[:-1]))
    push()
    write_manifest(manifest)
    pull()
    assert read_manifest().entries == manifest.entries
    pull(give_up=True)
    assert read_manifest().entries == manifest.entries[:-1]
    given_up = manifest.entries[-1]
    assert Lookup().photographs_of([given_up.image_id]) >= {given_up.sha256}  # which a withdrawal asks for


def test_a_damaged_import_of_this_machine_is_not_replaced_unasked(made, other, capsys):
    """Played: one byte of the manifest is damaged, and `pull` replaces an import with images that were never pushed."""
    manifest = read_manifest()
    write_manifest(replace(manifest, entries=manifest.entries[:-1]))
    push()
    write_manifest(manifest)
    damaged = MANIFEST.read_bytes()[:-30] + b"?" * 30
    for number in (1, 2):
        MANIFEST.write_bytes(damaged)
        with pytest.raises(DataError, match=MANIFEST.name) as caught:
            pull()
        assert "`labelfactory pull --give-up` puts it aside" in caught.value.remedy
        assert MANIFEST.read_bytes() == damaged
        pull(give_up=True)
        aside = Path(f".labelfactory/damaged-manifest-{number}.parquet")
        assert f"it is {aside} now" in capsys.readouterr().err
        assert aside.read_bytes() == damaged
        assert read_manifest().entries == manifest.entries[:-1]


@pytest.mark.parametrize("note", ["kept", "deleted", "damaged"])
def test_an_image_that_comes_back_since_a_note_is_lost_is_named(made, other, capsys, note):
    """Played: an image is taken out of the import, `.labelfactory/last_shared.json` goes, and `pull` brings the image back."""
    manifest = read_manifest()
    push()
    write_manifest(replace(manifest, entries=manifest.entries[1:]))
    if note == "deleted":
        LAST_SHARED.unlink()
    elif note == "damaged":
        LAST_SHARED.write_bytes(b"{")
    capsys.readouterr()
    pull()
    said = capsys.readouterr().err
    assert len(read_manifest().entries) == len(manifest.entries) - (note == "kept")
    assert ("1 images that it did not have: image-0" in said) == (note != "kept"), said


def test_what_a_kill_left_beside_a_whole_file_goes(made, other):
    """Played: a kill between the two names of the last photograph that `pull` writes; the next one has nothing to fetch."""
    push()
    other()
    pull()
    half = temporary_path(Path("data/raw/image-0.png"), "0a")
    half.write_bytes(b"photograph")
    pull()
    assert not half.exists()


def changed(entry: Entry, **changes: object) -> None:
    """Change one image of the import in the current folder."""
    manifest = read_manifest()
    entries = (replace(e, **changes) if e.image_id == entry.image_id else e for e in manifest.entries)
    write_manifest(replace(manifest, entries=tuple(entries)))


def test_two_machines_that_change_the_import_lose_nothing(made, other, capsys):
    """Who pushes second is refused, pulls, and sends both: an image more, one that was taken out, other tags."""
    manifest = read_manifest()
    one, two, three, four = manifest.entries
    write_manifest(replace(manifest, entries=(one, two, three)))
    push()
    folder = other()
    pull()
    changed(one, tags=("other",))  # on this machine; nothing of it is pushed yet
    os.chdir(made.root)
    write_manifest(replace(manifest, entries=(one, two, four)))
    capsys.readouterr()
    push()  # which says what goes: this import may be one of an older commit
    assert f"push: the shared import loses 1 images: {three.image_id}." in capsys.readouterr().err
    os.chdir(folder)
    with pytest.raises(DataError, match=f"pushed what this folder's import lacks: {three.image_id}, {four.image_id}"):
        push()
    pull()
    assert f"pull: this folder's import loses 1 images: {three.image_id}." in capsys.readouterr().err
    assert [(e.image_id, e.tags) for e in read_manifest().entries] == [
        (one.image_id, ("other",)),
        (two.image_id, two.tags),
        (four.image_id, four.tags),
    ]
    push()
    os.chdir(made.root)
    pull()
    assert read_manifest().entries[0].tags == ("other",)
    assert "loses" not in capsys.readouterr().err


def test_an_image_that_two_machines_changed_is_asked_for(made, other):
    """Both commands say what may be typed, and nothing is lost before."""
    one = read_manifest().entries[0]
    push()
    folder = other()
    pull()
    changed(one, tags=("mine",))
    os.chdir(made.root)
    changed(one, tags=("other",))
    push()
    os.chdir(folder)
    for command in (push, pull):
        with pytest.raises(DataError, match=f"in another way, on another machine: {one.image_id}") as caught:
            command()
        assert "`labelfactory push --give-up` sends what is here" in caught.value.remedy
    assert read_manifest().entries[0].tags == ("mine",)
    push(give_up=True)
    os.chdir(made.root)
    pull()
    assert read_manifest().entries[0].tags == ("mine",)


def test_a_push_that_ends_after_another_looks_again(made, other, monkeypatch):
    """Sending takes its time: what was pushed meanwhile is not taken out of the shared import."""
    manifest = read_manifest()
    write_manifest(replace(manifest, entries=manifest.entries[:-1]))
    push()
    folder = other()
    pull()
    os.chdir(made.root)
    write_manifest(manifest)
    send = storage.send_outputs

    def meanwhile(*arguments: Any) -> Any:
        os.chdir(made.root)
        monkeypatch.setattr(storage, "send_outputs", send)
        push()
        os.chdir(folder)
        return send(*arguments)

    os.chdir(folder)
    monkeypatch.setattr(storage, "send_outputs", meanwhile)
    with pytest.raises(DataError, match=f"another machine has pushed .* {manifest.entries[-1].image_id}"):
        push()
    pull()
    assert len(read_manifest().entries) == len(manifest.entries)


def test_masks_that_number_their_classes_differently_are_not_merged(made, other):
    """One machine adds a true mask, the other changes the order of the classes: neither replaces the other unasked."""
    push()
    folder = other()
    pull()
    masked = added("b-1", "data/raw/b.png", b"ours")
    mask = added("b-2", "data/raw/masks/b.png", b"mask")
    changed(masked, mask_path=mask.path, mask_sha256=mask.sha256)
    data = MANIFEST.read_bytes()
    os.chdir(made.root)
    manifest = read_manifest()
    write_manifest(replace(manifest, classes=Classes(manifest.classes.names[::-1])))
    push()
    os.chdir(folder)
    for command in (push, pull):
        with pytest.raises(DataError, match="number their classes differently: b-1"):
            command()
    assert MANIFEST.read_bytes() == data
    push(give_up=True)
    os.chdir(made.root)
    pull()
    assert read_manifest().classes == manifest.classes


def test_classes_that_another_machine_changed_are_pulled_before_a_push(made, other):
    """Though no image has changed."""
    push()
    folder = other()
    pull()
    os.chdir(made.root)
    manifest = read_manifest()
    write_manifest(replace(manifest, classes=Classes((*manifest.classes.names, "bird"))))
    push()
    os.chdir(folder)
    with pytest.raises(DataError, match="pushed what this folder's import lacks: the classes cat, dog, bird"):
        push()
    pull()
    push()
    assert read_manifest().classes.names[-1] == "bird"


def added(image_id: str, path: str, content: bytes) -> Entry:
    """Append an image of these bytes to the import in the current folder; they are at the path."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)
    entry = Entry(image_id, path, hashlib.sha256(content).hexdigest(), ("train",), ("cat",))
    manifest = read_manifest()
    write_manifest(replace(manifest, entries=(*manifest.entries, entry)).numbered())
    return entry


def files_below(folder: Path) -> dict[str, bytes]:
    """Photographs and masks of a machine."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in (folder / "data/raw").rglob("*") if p.is_file()}


@pytest.mark.parametrize("case", ["imported", "in no import", "edited", "edited below pulled"])
@pytest.mark.parametrize("give_up", [False, True])
def test_pull_replaces_no_file_of_this_machine(made, other, case, give_up):
    """Its own photograph of that name, a file that no import names, an edited one: each stays, the import is as its files are.

    The next pull changes nothing, and what is pushed afterwards makes no copy on the first machine.
    """
    push()
    folder = other()
    pull()
    path, last = "data/raw/camera/IMG_0001.png", read_manifest().entries[-1]
    os.chdir(made.root)
    theirs = added("a-1", path, b"theirs")
    push()
    os.chdir(folder)
    changed = path
    if case == "imported":
        added("b-1", path, b"ours")
    elif case == "in no import":
        Path(path).parent.mkdir()
        Path(path).write_bytes(b"ours")
    else:
        changed = read_manifest().entries[0].path if case == "edited" else last.path
        if case == "edited below pulled":
            changed = f"data/raw/pulled/{last.sha256}.png"
            Path(changed).parent.mkdir()
            Path(changed).write_bytes(Path(last.path).read_bytes())
            ours = read_manifest()
            write_manifest(replace(ours, entries=(*ours.entries[:-1], replace(last, path=changed))))
            shutil.move(last.path, f"{last.path}.away")
        Path(changed).write_bytes(b"edited")
    before = files_below(folder)
    moved = pull(give_up=give_up)
    assert moved.kept == (changed,)
    after, manifest = files_below(folder), read_manifest()
    assert before.items() <= after.items()
    for entry in manifest.entries:
        assert hashlib.sha256(Path(entry.path).read_bytes()).hexdigest() == entry.sha256
    assert [entry.sha256 for entry in manifest.entries].count(theirs.sha256) == 1
    assert ("b-1" in {entry.image_id for entry in manifest.entries}) == (case == "imported" and not give_up)
    data = MANIFEST.read_bytes()
    assert pull(give_up=give_up) == Moved(0, 0)
    assert (files_below(folder), MANIFEST.read_bytes()) == (after, data)
    push()
    if case == "edited below pulled":
        shutil.move(f"{last.path}.away", last.path)
    os.chdir(made.root)
    before, paths = files_below(made.root), {entry.path for entry in read_manifest().entries}
    pull()
    new = int(case == "imported" and not give_up)  # the photograph of the second machine
    assert paths <= {entry.path for entry in read_manifest().entries}
    assert before.items() <= files_below(made.root).items()
    assert len(files_below(made.root)) == len(before) + new


def test_a_file_that_comes_while_pull_fetches_stays(made, other, monkeypatch):
    """The pull ends and says so; typed again, it takes another path."""
    push()
    entry = read_manifest().entries[0]
    other()
    get = storage.Store.get

    def meanwhile(*arguments: Any, **options: Any) -> bytes | None:
        if "pictures" in arguments[1]:
            Path(entry.path).parent.mkdir(parents=True, exist_ok=True)
            Path(entry.path).write_bytes(b"ours")
        return get(*arguments, **options)

    monkeypatch.setattr(storage.Store, "get", meanwhile)
    with pytest.raises(DataError, match="another file came there meanwhile") as caught:
        pull()
    monkeypatch.setattr(storage.Store, "get", get)
    assert "`labelfactory pull` again" in caught.value.remedy
    pull()
    assert Path(entry.path).read_bytes() == b"ours"
    assert read_manifest().entries[0].path == f"data/raw/pulled/{entry.sha256}.png"
