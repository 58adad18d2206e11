"""A withdrawal goes by the photograph: other ids of it, earlier ones, earlier photographs of an id, masks that images share."""

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from made_line import MadeLine, recorded_line
from withdrawing import CACHE, began, finish, left, neutral_paths, renamed, signed

from labelfactory.dataset.corrections import read_corrections, store_mask, write_corrections
from labelfactory.dataset.manifest import Entry, read_manifest, write_manifest
from labelfactory.dataset.map_files import MAPS
from labelfactory.dataset.withdrawn import REMEMBERED, withdrawn
from labelfactory.digests import digest_bytes, digest_file, digest_json
from labelfactory.dvc_cache import cached
from labelfactory.files import write_json
from labelfactory.schema import Classes
from lineage.ledger import SCHEMAS, Ledger, events_table
from lineage.lookup import Lookup
from lineage.raw_files import KEPT
from lineage.record import record
from lineage.removal import remove
from lineage.shown_images import record_import
from lineage.verify import verify
from lineage.withdraw import again_if_more_known, begin_elsewhere, touched_by
from lineage.withdrawal_report import left_over, search, traces_of
from lineage.withdrawals import open_withdrawals, read_withdrawals, same_files


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project with four images in which everything was made once and recorded."""
    return recorded_line(tmp_path, monkeypatch)


def test_other_ids_of_the_same_photograph_go_with_it(line):
    """What is withdrawn are the bytes."""
    entry = read_manifest().entries[1]
    twin = replace(entry, image_id="twin", position=9)
    write_manifest(replace(read_manifest(), entries=(*read_manifest().entries, twin)))
    line.run()
    record()
    withdrawal = began("image-1")
    assert withdrawal.images == ("image-1", "twin")
    remove(withdrawal)
    line.run()
    record()
    assert left(withdrawal) == []


def test_earlier_ids_of_the_photograph_go_with_it(line):
    """An import gave other ids to the same bytes: their models, their rows in the cache, and maps by that name."""
    old = set(Lookup().models)
    MAPS.mkdir(parents=True)
    (MAPS / "image-1.png").write_bytes(b"map")
    renamed(line, "image-1", "new-1")
    withdrawal = began("new-1")
    assert withdrawal.images == ("new-1", "image-1")
    assert {"classifier 1", "segmenter 1"} <= {Lookup().models[digest].label for digest in old & {*withdrawal.models}}
    finish(line, withdrawal)
    assert not (MAPS / "image-1.png").exists()
    assert not [path for path in CACHE.glob("*/*") if b"image-1" in path.read_bytes()]
    assert verify() == []


def test_a_correction_under_an_earlier_id_goes(line):
    """Of the same photograph: before it was recorded under that id too."""
    first = neutral_paths().entries[1]
    mask = np.ones((12, 16), np.uint8)
    old, other = (store_mask(name, first.sha256, mask, Classes(("cat", "dog"))) for name in ("older", "image-2"))
    write_corrections([old, replace(other, photograph=read_manifest().entries[2].sha256)])
    withdrawal = began("image-1")
    assert old.path().as_posix() in {file.path for file in withdrawal.files}
    remove(withdrawal)
    assert list(read_corrections()) == ["image-2"]
    assert not old.path().exists()
    assert other.path().exists()


def test_what_another_machine_withdrew_is_found_in_what_is_recorded_later(line):
    """The event names no image: nothing was known of the photograph. Outputs that came since have learnt from it."""
    begin_elsewhere(Ledger(), {read_manifest().entries[1].sha256}, by="another machine", reason="withdrawn there")
    (first,) = read_withdrawals(Ledger())
    assert (first.images, first.models) == ((), ())
    again = again_if_more_known(Ledger(), first)
    assert again.images == ("image-1",)
    assert len(again.models) == 3
    assert [each.id for each in read_withdrawals(Ledger())] == [again.id]
    finish(line, again)
    assert open_withdrawals(Ledger()) == []


def test_an_earlier_id_that_shows_another_photograph_now_stays(line):
    """Two images changed names: the other one is nobody's earlier id."""
    manifest = neutral_paths()
    swapped = {"image-1": "image-2", "image-2": "image-1"}
    entries = (replace(e, image_id=swapped.get(e.image_id, e.image_id)) for e in manifest.entries)
    write_manifest(replace(manifest, entries=tuple(entries)))
    line.run()
    record()
    first, second = manifest.entries[1], manifest.entries[2]
    withdrawal = began("image-2")  # the first photograph
    assert (withdrawal.images, withdrawal.digests) == (("image-2",), {first.sha256})
    finish(line, withdrawal)
    assert [e.image_id for e in read_manifest().entries if e.sha256 == second.sha256] == ["image-1"]
    assert Path(second.path).exists()
    assert verify() == []


def test_an_id_that_only_the_ledger_has_means_its_photograph(line):
    """The import calls it otherwise now; what goes are the bytes."""
    entry = neutral_paths().entries[1]
    renamed(line, "image-1", "new-1")
    withdrawal = began("image-1")
    assert withdrawal.images == ("image-1", "new-1")
    finish(line, withdrawal)
    assert not Path(entry.path).exists()
    assert entry.sha256 in withdrawn().photographs
    assert set(Lookup().models) > set(Lookup().withdrawn_models()) >= set(withdrawal.models)
    assert verify() == []


def test_every_photograph_that_the_id_ever_showed_goes(line):
    """A, then B: both are refused, and files of A below data/raw go; asked for again, nothing more does."""
    first, other = read_manifest().entries[1:3]
    shutil.move(first.path, "data/raw/earlier.png")
    second = replace(line._photograph("later", 9), image_id="image-1", position=1)
    entries = tuple(second if e == first else e for e in read_manifest().entries)
    write_manifest(replace(read_manifest(), entries=entries))
    line.run()
    record()
    withdrawal = began("image-1")
    finish(line, withdrawal)
    assert withdrawn().photographs == {first.sha256, second.sha256}
    assert not Path("data/raw/earlier.png").exists()
    assert not Path("data/raw/later.png").exists()
    assert touched_by(Lookup(), ["image-1"]).digests == {first.sha256, second.sha256}
    assert Path(other.path).exists()


def test_a_photograph_of_before_that_another_image_has_now_stays(line):
    """Neither the first withdrawal nor one that asks for the same id again takes it."""
    first = neutral_paths().entries[1]
    second = replace(line._photograph("later", 9), image_id="image-1", position=1)
    kept = replace(first, image_id="kept", position=8)
    rest = [e for e in read_manifest().entries if e != first]
    write_manifest(replace(read_manifest(), entries=(*rest, second, kept)))
    line.run()
    record()
    withdrawal = began("image-1")
    finish(line, withdrawal)
    assert touched_by(Lookup(), ["image-1"]).image_ids == ("image-1",)
    assert again_if_more_known(Ledger(), withdrawal) == withdrawal
    assert "kept" in [e.image_id for e in read_manifest().entries]
    assert withdrawn().photographs == {second.sha256}
    assert verify() == []


def test_a_true_mask_that_others_share_stays(line):
    """Equal masks, such as all background, are common: the file goes, the digest is nobody's own."""
    entries = []
    for entry in read_manifest().entries:
        path = Path(f"data/raw/{entry.image_id}-mask.png")
        path.write_bytes(b"the same mask")
        entries.append(replace(entry, mask_path=str(path), mask_sha256=digest_file(path)))
    write_manifest(replace(read_manifest(), entries=tuple(entries)))
    line.run()
    record()
    withdrawal = began("image-1")
    assert withdrawal.true_masks == frozenset()
    remove(withdrawal)
    line.run()
    record()
    assert not Path("data/raw/image-1-mask.png").exists()
    assert Path("data/raw/image-2-mask.png").exists()
    assert left(withdrawal) == []


def test_a_true_mask_that_another_image_has_by_now_stays(line):
    """Masks of the same bytes, such as one of nothing but background: the later image's is not deleted, nothing is open again."""
    manifest = read_manifest()
    first, second, *others = manifest.entries
    path = Path("data/raw/masks/one.png")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"background")
    digest = digest_file(path)
    write_manifest(
        replace(manifest, entries=(replace(first, mask_path=str(path), mask_sha256=digest), second, *others))
    )
    remove(began(first.image_id))
    assert not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"background")
    write_manifest(replace(manifest, entries=(replace(second, mask_path=str(path), mask_sha256=digest), *others)))
    (withdrawal,) = read_withdrawals(Ledger())
    assert digest not in withdrawal.pixels
    remove(withdrawal)
    assert path.exists()


def test_a_copy_of_a_photograph_from_outside_is_found(line, tmp_path_factory):
    """The original is not ours to delete; a copy that somebody restores below data/raw is."""
    manifest = read_manifest()
    first, *others = manifest.entries
    outside = tmp_path_factory.mktemp("outside") / "photo.png"
    shutil.move(first.path, outside)
    write_manifest(replace(manifest, entries=(replace(first, path=str(outside)), *others)))
    line.run()
    record()
    withdrawal = began(first.image_id)
    finish(line, withdrawal)
    assert outside.exists()
    assert open_withdrawals(Ledger()) == []
    copy = Path("data/raw/kept/copy.png")
    copy.parent.mkdir(parents=True)
    shutil.copyfile(outside, copy)
    (again,) = open_withdrawals(Ledger())
    remove(again)
    assert not copy.exists()
    assert outside.exists()


def test_a_report_has_no_password_of_mlflows_database(line, monkeypatch):
    """Neither before the host nor in the query, where libpq takes it too."""
    for address in ("postgresql://me@host/db?password=hunter2", "postgresql://me:hunter2@host/db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        report, path = signed(began("image-1"))
        assert any(line.startswith("MLflow (host/db") for line in report["not_ours"])
        assert "hunter2" not in path.read_text()


def test_what_is_no_digest_is_no_photograph(line):
    """An earlier program took what a list at a remote had: an empty text is a part of every file."""
    photograph, now = read_manifest().entries[1].sha256, datetime.now(UTC)
    for digests in ([""], ["a", photograph]):
        detail = {"images": [], "photographs": {}, "digests": digests, "models": [], "by": "t", "reason": ""}
        with Ledger().locked():
            Ledger().append("events", events_table([("withdrawn", digest_json([digests]), detail, now)]))
    write_json(REMEMBERED, {"photographs": ["", "A" * 64]})
    assert withdrawn().photographs == {photograph}
    assert withdrawn().photographs == {photograph}  # as it was kept
    assert {digest for each in read_withdrawals(Ledger()) for digest in each.pixels} == {photograph}


@pytest.mark.parametrize("now", ["the same size", "longer", "gone"])
def test_copies_go_although_the_file_itself_has_changed(line, now):
    """What it has now says nothing of how long the photograph was. Copies elsewhere are named, those in DVC's cache go."""
    entry = read_manifest().entries[1]
    path, copies = Path(entry.path), (Path("data/raw/kept/holiday.png"), Path("mine/holiday.png"))
    for copy in copies:
        copy.parent.mkdir(parents=True)
        shutil.copyfile(path, copy)
    stored = [cached(line._cache(path)), cached(line._cache(Path("data/raw")))]
    bytes_ = path.read_bytes()
    path.write_bytes({"the same size": bytes_[::-1], "longer": bytes_ + b"x"}.get(now, b""))
    if now == "gone":
        path.unlink()
    withdrawal = began("image-1")
    finish(line, withdrawal)
    report, _ = signed(withdrawal)
    assert [each for each in (path, copies[0], *stored) if each.exists()] == []
    assert [each for each in report["elsewhere"] if "holiday" in each] == [
        f"{copies[1]} (the photograph or a mask of it)"
    ]


@pytest.mark.parametrize("how", ["changed in place", "deleted by hand", "earlier version", "true mask", "elsewhere"])
def test_what_comes_back_goes_although_its_size_was_never_known(line, how):
    """The file was away or had other bytes when the image was withdrawn, or only its digest was learnt from another machine."""
    first = scored("first", 8)
    imported(first)
    line.run()
    record()
    path = Path(str(first.mask_path)) if how == "true mask" else Path(first.path)
    bytes_, back = path.read_bytes(), Path("data/raw/restored/any.png")
    if how == "elsewhere":
        imported()
        path.unlink()
        line.run()
        begin_elsewhere(Ledger(), {digest_bytes(b"theirs")}, by="another machine", reason="withdrawn there")
        bytes_, withdrawal = b"theirs", read_withdrawals(Ledger())[0]
    else:
        path.write_bytes(b"something else") if how == "changed in place" else path.unlink()
        if how == "earlier version":
            imported(scored("second", 9))
            line.run()
            record()
        withdrawal = began("image-1")
    assert digest_bytes(bytes_) not in withdrawal.sizes
    finish(line, withdrawal)
    assert open_withdrawals(Ledger()) == []
    back.parent.mkdir()
    back.write_bytes(bytes_)
    (again,) = open_withdrawals(Ledger())
    remove(again)
    assert not back.exists()
    assert open_withdrawals(Ledger()) == []
    assert Path("data/raw/image-2.png").exists()


def test_files_whose_size_tells_nothing_are_read_once(line, monkeypatch):
    """What was read is kept, without names; another file in the same place, of the same size and time, is read."""
    monkeypatch.setattr("lineage.raw_files.SETTLED", -1.0)
    begin_elsewhere(Ledger(), {digest_bytes(b"x" * 9)}, by="another machine", reason="withdrawn there")
    read = []
    monkeypatch.setattr("lineage.raw_files.digest_file", lambda path: read.append(path.name) or digest_file(path))
    (withdrawal,) = read_withdrawals(Ledger())
    place = Path("data/raw/image-2.png")
    for expected in (4, 0, 0):
        read.clear()
        assert not same_files(withdrawal.pixels, withdrawal.sizes)
        assert len(read) == expected
    assert b"image" not in KEPT.read_bytes()
    KEPT.write_bytes(KEPT.read_bytes()[:99])
    assert not same_files(withdrawal.pixels, withdrawal.sizes)
    assert len(read) == 4
    state = place.stat()
    place.write_bytes(b"x" * 9 + b"y" * (state.st_size - 9))
    os.utime(place, ns=(state.st_atime_ns, state.st_mtime_ns))
    read.clear()
    assert not same_files(withdrawal.pixels, withdrawal.sizes)
    assert read == ["image-2.png"]
    place.write_bytes(b"x" * 9)
    assert [file.path for file in same_files(withdrawal.pixels, withdrawal.sizes)] == [str(place)]


def version_in_cache(line: MadeLine, version: bytes) -> Path:
    """What DVC's cache has of a version of image-1's file that the import never took."""
    path = Path(neutral_paths().entries[1].path)
    before = path.read_bytes()
    path.write_bytes(version)
    stored = cached(line._cache(path))
    line._cache(Path("data/raw"))
    path.write_bytes(before)
    return stored


def test_what_dvcs_cache_had_by_the_images_path_alone_goes(line):
    """Only the path tells, and the import names no path by the end."""
    stored = version_in_cache(line, b"another version")
    withdrawal = began("image-1")
    remove(withdrawal)
    line.run()
    record()
    assert stored.exists()
    found = search(traces_of(Lookup(), withdrawal), withdrawal.cache)
    assert f"{stored}: in DVC's cache" in left_over(found)
    assert left(withdrawal) == []
    assert not stored.exists()


def test_an_object_whose_bytes_another_file_has_by_now_stays(line):
    """It is no copy of the image alone any more."""
    stored = version_in_cache(line, b"another version")
    withdrawal = began("image-1")
    Path("data/raw/other.txt").write_bytes(b"another version")
    finish(line, withdrawal)
    assert stored.exists()


def scored(name: str, seed: int) -> Entry:
    """Another photograph of image-1 with a true mask, under names that do not tell; it is only scored."""
    mask = Path(f"data/raw/{name}-mask.png")
    entry = replace(MadeLine._photograph(name, seed), image_id="image-1", position=1, lists=("val",))
    mask.write_bytes(b"the true mask of " + name.encode())
    return replace(entry, mask_path=str(mask), mask_sha256=digest_file(mask))


def imported(*entries: Entry) -> None:
    """The import with these instead of image-1."""
    rest = [entry for entry in read_manifest().entries if entry.image_id != "image-1"]
    write_manifest(replace(read_manifest(), entries=(*rest, *entries)))


@pytest.mark.parametrize("recorded", ["by runs", "by imports", "by an earlier version"])
def test_earlier_photographs_of_an_image_that_is_only_scored_go_with_their_true_masks(line, monkeypatch, recorded):
    """No mask of the line and no training row tells of them; of a ledger of before, the data sets in DVC's cache do."""
    first, second = scored("first", 8), scored("second", 9)
    for entry in (first, second):
        imported(entry)
        if recorded == "by imports":
            record_import()
            continue
        line.run()
        with monkeypatch.context() as patch:
            if recorded == "by an earlier version":
                patch.setattr("lineage.record.new_images", lambda *_: SCHEMAS["images"].empty_table())
                for path in Ledger().folder.glob("*-images.parquet"):
                    path.unlink()
            record()
    record()
    other = Path("data/raw/image-2.png")
    assert Lookup().true_masks_of({first.sha256, second.sha256}) == {first.mask_sha256, second.mask_sha256}
    withdrawal = began("image-1")
    assert {first.sha256, second.sha256} <= withdrawal.digests
    finish(line, withdrawal)
    assert {path.name for path in Path("data/raw").iterdir()} == {"image-0.png", "image-2.png", "image-3.png"}
    assert {first.sha256, second.sha256} <= withdrawn().photographs
    assert other.exists()
    assert recorded == "by an earlier version" or verify() == []  # of that, a file of the chain is taken away above


def test_a_true_mask_that_another_image_had_too_stays(line):
    """Empty ones are alike, and the other image may be in no import any more."""
    first, other = scored("first", 8), replace(scored("second", 9), image_id="image-9", position=2)
    Path(str(other.mask_path)).write_bytes(Path(str(first.mask_path)).read_bytes())
    imported(first, replace(other, mask_sha256=first.mask_sha256))
    record_import()
    imported()
    withdrawal = began("image-1")
    assert first.sha256 in withdrawal.digests
    assert first.mask_sha256 not in withdrawal.pixels
    remove(withdrawal)
    assert not Path(first.path).exists()
    assert Path(other.path).exists()
    assert Path(str(other.mask_path)).exists()


def test_a_damaged_ledger_stops_no_import(line, capsys):
    """`audit verify` names the file."""
    imported(scored("first", 8))
    record_import()
    for path in Ledger().folder.glob("*-images.parquet"):
        path.write_bytes(b"damaged")
    imported(scored("second", 9))
    record_import()
    assert "are not recorded" in capsys.readouterr().err


def test_images_of_other_projects_in_a_shared_cache_are_not_this_ones(line, tmp_path_factory):
    """They may have the same ids."""
    theirs = scored("theirs", 8)
    imported(theirs)
    line._cache(Path("data/import"))
    imported()
    shared = tmp_path_factory.mktemp("shared")
    shutil.copytree(".dvc/cache", shared, dirs_exist_ok=True)
    Path(".dvc/config").write_text(f"[cache]\n    dir = {shared}\n")
    record()
    assert theirs.sha256 not in Lookup().photographs_of({"image-1"})


def test_an_image_that_was_only_scored_and_is_no_more_in_the_import_is_known(line):
    """By its id, and by the id that its photograph has now."""
    first = scored("first", 8)
    imported(first)
    line.run()
    record()
    imported(replace(first, image_id="new-1"))
    line.run()
    record()
    assert touched_by(Lookup(), ["image-1"]).image_ids == ("image-1", "new-1")
    assert touched_by(Lookup(), ["new-1"]).image_ids == ("new-1", "image-1")


def test_an_earlier_true_mask_that_another_image_has_now_stays(line):
    """Masks of the same bytes are common."""
    first, second = scored("first", 8), scored("second", 9)
    imported(first)
    line.run()
    record()
    shared = replace(read_manifest().entries[0], mask_path=first.mask_path, mask_sha256=first.mask_sha256)
    imported(second)
    write_manifest(replace(read_manifest(), entries=(shared, *read_manifest().entries[1:])))
    line.run()
    record()
    finish(line, began("image-1"))
    assert Path(first.mask_path).exists()
    assert not Path(first.path).exists()


def test_the_same_images_are_recorded_once(line):
    """Whether the import or the data set names them, and in whatever order."""
    files = Ledger().files("images")
    assert len(files) == 1
    assert len(Ledger().read("images")) == 4
    imported(*[entry for entry in read_manifest().entries if entry.image_id == "image-1"])
    line.run()
    record()
    record_import()
    assert Ledger().files("images") == files
