"""A withdrawal: the event names everything before anything is deleted, each step may be repeated, and nothing is left."""

import json
import os
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from made_line import MadeLine, recorded_line
from withdrawing import CACHE, began, finish, left, signed

from labelfactory.dataset.account import ACCOUNT
from labelfactory.dataset.corrections import write_corrections
from labelfactory.dataset.left_out import LEFT_OUT, LeftOut, read_left_out, write_left_out
from labelfactory.dataset.manifest import MANIFEST, read_manifest, write_manifest
from labelfactory.dataset.map_files import MAPS
from labelfactory.dataset.withdrawn import withdrawn
from labelfactory.digests import digest_file
from labelfactory.errors import MissingError
from labelfactory.files import DiskError, temporary_path
from lineage.audit import audit_model
from lineage.diff import diff
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.mask_audit import audit_mask
from lineage.outbox import Outbox
from lineage.record import record
from lineage.removal import remove
from lineage.verify import verify
from lineage.withdraw import again_if_more_known, touched_by
from lineage.withdrawals import open_withdrawals, read_withdrawals


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project with four images in which everything was made once and recorded."""
    return recorded_line(tmp_path, monkeypatch)


def test_a_withdrawn_image_leaves_no_trace(line):
    """Its models are marked, through parents too; afterwards no file under data/ and in DVC's cache holds it."""
    line.run(refine_crf="second")
    record()
    lookup = Lookup()
    touched = touched_by(lookup, ["image-1"])
    names = {lookup.models[d].label for d in touched.all_models}
    assert names == {"classifier 1", "affinity 1", "segmenter 1", "segmenter 2"}
    assert len(touched.masks) == 2
    withdrawal = began("image-1")
    before = left(withdrawal)
    for place in ("import/manifest", "dataset/images", "cams/shard", "masks/shard", "segmenter/training_rows", CACHE):
        assert any(str(place) in line for line in before), place
    remove(withdrawal)
    assert not Path("data/raw/image-1.png").exists()
    assert left(withdrawal), "stale outputs still name it"
    line.run(refine_crf="second")
    record()
    assert left(withdrawal) == []
    report, path = signed(withdrawal)
    assert report["complete"]
    assert report["deleted"] == ["data/raw/image-1.png"]
    assert verify() == []
    detail = Ledger().events("signed off")[-1]["detail"]
    assert (detail["report"], detail["by"], detail["withdrawal"]) == (path.name, "tester", withdrawal.id)
    marked = Lookup()
    assert set(marked.withdrawn_models()) == set(touched.all_models)
    assert audit_mask(marked, "image-1")["withdrawn"]
    assert audit_model(marked, "segmenter@1")["withdrawn_images"] == ["image-1"]
    assert audit_model(marked, "segmenter@3")["withdrawn_images"] == []
    assert "withdrawn" in [letter.kind for letter in Outbox().letters()]


def test_a_model_whose_list_of_rows_is_lost_is_named(line):
    """It was damaged before the ledger had read it: whether the model learnt from the image, nobody can tell."""
    line.run(seed=1)
    rows = Path("data/classifier/training_rows.parquet")
    lost = rows.read_bytes()
    for path in (rows, *(path for path in CACHE.glob("*/*") if path.read_bytes() == lost)):
        path.unlink()
        path.write_bytes(lost[:40])
    shutil.rmtree("data/ledger")
    record()
    withdrawal = began("image-1")
    report, _ = signed(withdrawal)
    lost_lists = [line.split(":")[0] for line in report["not_ours"] if "list of training rows is lost" in line]
    assert {Lookup().models[digest].label for digest in withdrawal.models}.isdisjoint(lost_lists)
    assert lost_lists
    assert all(name.startswith("classifier ") for name in lost_lists)


def test_the_event_names_what_goes_before_anything_does(line):
    """Photograph, copies of it, correction and map; a killed command leaves them all, and the ledger knows."""
    shutil.copy("data/raw/image-1.png", "data/raw/copy.png")
    MAPS.mkdir(parents=True)
    for name in ("image-1", "image-11"):
        (MAPS / f"{name}.png").write_bytes(b"map")
    withdrawal = began("image-1")
    paths = {file.path for file in withdrawal.files}
    assert paths == {"data/raw/image-1.png", "data/raw/copy.png", "data/import/maps/image-1.png"}
    assert all(Path(path).exists() for path in paths)
    assert [each.id for each in open_withdrawals(Ledger())] == [withdrawal.id]
    assert "is not complete; `labelfactory run` finishes it" in [finding.what for finding in verify()]
    for each in open_withdrawals(Ledger()):
        remove(each)
        remove(each)  # as often as one likes
    assert not any(Path(path).exists() for path in paths)
    assert (MAPS / "image-11.png").exists()
    assert "image-1" not in [entry.image_id for entry in read_manifest().entries]


@pytest.mark.parametrize("last", ["manifest", "corrections", "left_out", "files"])
def test_a_removal_that_was_killed_anywhere_is_finished(line, monkeypatch, last):
    """It ends after one of its steps; the next one finds the withdrawal open and does the rest."""
    steps = {
        "manifest": "_without_corrections",
        "corrections": "_without_left_out",
        "left_out": "same_files",
        "files": "_folders",
    }
    withdrawal = began("image-1")
    with monkeypatch.context() as broken:
        broken.setattr(f"lineage.removal.{steps[last]}", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            remove(withdrawal)
    (open_,) = open_withdrawals(Ledger())
    remove(open_)
    line.run()
    record()
    report, _ = signed(open_)
    assert report["complete"]
    assert report["deleted"] == ["data/raw/image-1.png"]
    assert open_withdrawals(Ledger()) == []


def test_what_killed_runs_left_is_deleted(line):
    """Half a file, the folder of a sweep's variant, and the state of a training that began before; a later one resumes."""
    half = temporary_path(Path("data/raw/image-1.png"))
    shutil.copy("data/raw/image-1.png", half)
    album, of_others = Path("album"), []  # where somebody keeps own files, and other commands may be writing
    album.mkdir()
    Path("data/raw/more").symlink_to(album.resolve())
    for folder in (album, Path("data/raw")):
        (folder / ".work.1999.tmp").mkdir()
        of_others += [folder / ".b.jpg.tmp", folder / ".b.jpg.77.tmp", folder / ".work.1999.tmp/novel.txt"]
    of_others.append(temporary_path(album / "b.jpg"))
    for path in of_others:
        path.write_text("mine")
    variant = Path(".dvc/tmp/exps/standalone/tmp1234/data/raw")
    variant.mkdir(parents=True)
    shutil.copy("data/raw/image-1.png", variant)
    states = [Path("data/classifier/resume.pt"), Path("data/segmenter/resume.pt")]
    withdrawal = began("image-1")
    for path, after in zip(states, (-60, 60), strict=True):  # a clock may be wrong, and a run may begin after the event
        path.write_bytes(b"state")
        os.utime(path, (withdrawal.time.timestamp() + after,) * 2)
    remove(withdrawal)
    assert not any(path.exists() for path in states)
    line.prepare()
    for path, after in zip(states, (-60, 60), strict=True):
        path.write_bytes(b"state")
        os.utime(path, (withdrawal.time.timestamp() + after,) * 2)
    remove(withdrawal)
    assert not half.exists()
    assert [path.read_text() for path in of_others] == ["mine"] * len(of_others)
    assert not variant.exists()
    assert [path.exists() for path in states] == [False, True]


def test_what_an_import_left_out_and_counted_does_not_name_it(line):
    """The account names images as examples, and counts them: the next import writes it again."""
    ACCOUNT.write_text('{"flat": {"count": 1, "examples": ["image-1"]}}')
    write_left_out([LeftOut("image-1", "", "a.png", "bad", "mask"), LeftOut("other", "", "b.png", "bad")])
    remove(began("image-1"))
    assert [item.image_id for item in read_left_out()] == ["other"]
    assert not ACCOUNT.exists()
    write_left_out([LeftOut("image-2", "", "a.png", "bad")])
    remove(began("image-2"))
    assert not LEFT_OUT.exists()


def test_an_account_that_was_restored_goes_again(line):
    """No entry of the import goes with it; one that does not name the image stays."""
    finish(line, began("image-1"))
    assert open_withdrawals(Ledger()) == []
    ACCOUNT.write_text('{"flat": {"count": 1, "examples": ["image-2"]}}')
    assert open_withdrawals(Ledger()) == []
    ACCOUNT.write_text('{"flat": {"count": 1, "examples": ["image-1"]}}')
    (back,) = open_withdrawals(Ledger())
    remove(back)
    assert not ACCOUNT.exists()
    assert open_withdrawals(Ledger()) == []


def test_a_complete_withdrawal_is_open_again_when_something_comes_back(line):
    """An import from a backup, a photograph from one, by its own name or another, a map."""
    backup, photograph = MANIFEST.read_bytes(), Path("data/raw/image-1.png").read_bytes()
    withdrawal = began("image-1")
    remove(withdrawal)
    line.run()
    record()
    signed(withdrawal)
    assert open_withdrawals(Ledger()) == []
    MANIFEST.write_bytes(backup)
    assert [each.id for each in open_withdrawals(Ledger())] == [withdrawal.id]
    remove(withdrawal)
    assert open_withdrawals(Ledger()) == []
    Path("data/raw/image-1.png").write_bytes(photograph)
    assert [each.id for each in open_withdrawals(Ledger())] == [withdrawal.id]
    remove(withdrawal)
    assert open_withdrawals(Ledger()) == []
    copy, map_ = Path("data/raw/backup/anything.png"), MAPS / "saliency/image-1.png"
    for path, content in ((copy, photograph), (map_, b"map")):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        assert [each.id for each in open_withdrawals(Ledger())] == [withdrawal.id], path
        remove(withdrawal)
        assert not path.exists()
        assert open_withdrawals(Ledger()) == []


def test_a_file_that_is_another_one_now_stays(line):
    """Since the event, somebody put other bytes there."""
    withdrawal = began("image-1")
    Path("data/raw/image-1.png").write_bytes(b"another photograph")
    remove(withdrawal)
    assert Path("data/raw/image-1.png").exists()


def test_a_photograph_outside_of_data_is_named_and_stays(line, tmp_path_factory):
    outside = tmp_path_factory.mktemp("elsewhere") / "image.png"
    shutil.move("data/raw/image-1.png", outside)
    entries = (replace(e, path=str(outside)) if e.image_id == "image-1" else e for e in read_manifest().entries)
    write_manifest(replace(read_manifest(), entries=tuple(entries)))
    line.run()
    record()
    withdrawal = began("image-1")
    remove(withdrawal)
    report, _ = signed(withdrawal)
    assert report["elsewhere"] == [str(outside)]
    assert outside.exists()


def test_a_link_goes_and_what_it_leads_to_is_named(line, tmp_path_factory):
    outside = tmp_path_factory.mktemp("elsewhere") / "image.png"
    shutil.move("data/raw/image-1.png", outside)
    Path("data/raw/image-1.png").symlink_to(outside)
    withdrawal = began("image-1")
    remove(withdrawal)
    assert withdrawal.elsewhere == (str(outside),)
    assert not Path("data/raw/image-1.png").is_symlink()
    assert outside.exists()


def test_a_ledger_that_lacks_a_withdrawal_is_named(line):
    """It was restored from before: the photograph is refused all the same."""
    shutil.copytree("data/ledger", "backup")
    withdrawal = began("image-1")
    shutil.rmtree("data/ledger")
    shutil.move("backup", "data/ledger")
    assert withdrawn().photographs == withdrawal.digests
    assert any("lacks the withdrawal of 1 photographs" in finding.what for finding in verify())


def test_what_was_read_of_another_ledger_is_not_believed(line):
    """The ledger of a backup may have other events in a file of the same name."""
    shutil.copytree("data/ledger", "backup")
    began("image-2")
    withdrawn()
    kept = Path("data/ledger/withdrawn.json").read_bytes()
    shutil.rmtree("data/ledger")
    shutil.move("backup", "data/ledger")
    began("image-1")
    Path("data/ledger/withdrawn.json").write_bytes(kept)
    assert withdrawn().image_ids == {"image-1"}


@pytest.mark.parametrize(
    "target",
    [
        "data/corrections/corrections.parquet",
        "data/ledger/HEAD",
        "data/import/manifest.parquet",
        "data/masks/shard-00000.parquet",
        "data/raw/../ledger/HEAD",
        "params.yaml",
    ],
)
def test_a_path_of_the_manifest_deletes_photographs_alone(line, target):
    """A manifest of others may name a record or code as an image's true mask: it is named, and stays."""
    write_corrections(())
    entries = (
        replace(e, mask_path=target, mask_sha256="0" * 64) if e.image_id == "image-1" else e
        for e in read_manifest().entries
    )
    write_manifest(replace(read_manifest(), entries=tuple(entries)))
    withdrawal = began("image-1")
    assert target in withdrawal.elsewhere
    remove(withdrawal)
    assert Path(target).is_file()
    assert not Path("data/raw/image-1.png").exists()


def test_a_source_that_people_keep_below_data_is_named(line):
    """Its lists are theirs to edit, and nothing waits for that; an archive with the photograph has to go."""
    Path("data/mine/ImageSets").mkdir(parents=True)
    Path("data/mine/ImageSets/train.txt").write_text("image-1\nimage-2\n")
    withdrawal = began("image-1")
    with zipfile.ZipFile("data/mine/all.zip", "w") as archive:
        archive.write("data/raw/image-1.png", "a.png")
    remove(withdrawal)
    line.run()
    record()
    report, _ = signed(withdrawal)
    assert report["elsewhere"] == ["data/mine/ImageSets/train.txt (names it)"]
    assert report["left_over"] == ["data/mine/all.zip: the photograph or a mask of it"]


def test_an_export_in_the_folder_is_named(line):
    Path("out").mkdir()
    Path("out/provenance.json").write_text(json.dumps({"images": {"image-1": {"photograph": "0" * 64}}}))
    report, _ = signed(began("image-1"))
    assert report["elsewhere"] == ["out (an export)"]


def test_what_cannot_be_deleted_here_is_named(line):
    """Ledger, MLflow, Prefect, git, backups."""
    report, _ = signed(began("image-1"))
    for word in ("data/ledger", "MLflow", "Prefect", "git's history", "backups"):
        assert any(word in line for line in report["not_ours"]), word


def test_a_model_that_learnt_after_the_event_is_marked_too(line):
    """The command was killed, and somebody ran the line by `dvc repro`."""
    withdrawal = began("image-1")
    line.run(seed=5)
    record()
    again = again_if_more_known(Ledger(), withdrawal)
    labels = {Lookup().models[digest].label for digest in again.models}
    assert {"segmenter 1", "segmenter 2"} <= labels
    assert len(read_withdrawals(Ledger())) == 1
    assert again_if_more_known(Ledger(), again) == again


def test_a_commit_whose_shards_went_is_refused_with_what_to_name(line):
    """The list of its shards is still in DVC's cache, the shard with the image is not."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "dvc.lock"], [*identity, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *words], check=True)
    withdrawal = began("image-1")
    remove(withdrawal)
    line.run()
    record()
    assert left(withdrawal) == []
    with pytest.raises(MissingError, match="commit HEAD: its masks are no longer in DVC's cache"):
        diff(Lookup(), "HEAD", "now")


def test_an_image_without_masks_is_known_after_it_was_withdrawn(line):
    """The ledger has no mask of it; its withdrawal remains."""
    entry = replace(read_manifest().entries[0], image_id="scored", lists=("val",), sha256="9" * 64, position=9)
    write_manifest(replace(read_manifest(), entries=(*read_manifest().entries, entry)))
    remove(began("scored"))
    assert touched_by(Lookup(), ["scored"]).image_ids == ("scored",)


def test_an_unknown_image_withdraws_nothing(line):
    """The manifest stays, the ledger stays, the remedy names what is near."""
    before = digest_file(Path("data/import/manifest.parquet"))
    with pytest.raises(MissingError, match="did you mean `image-2`"):
        touched_by(Lookup(), ["image-1", "imag-2"])
    assert digest_file(Path("data/import/manifest.parquet")) == before


def test_a_withdrawn_image_that_comes_back_is_named(line):
    """Under its own name or another."""
    manifest = read_manifest()
    remove(began("image-2"))
    entry = next(e for e in manifest.entries if e.image_id == "image-2")
    line._photograph("image-2", 2)
    write_manifest(replace(manifest, entries=(*read_manifest().entries, replace(entry, image_id="innocent"))))
    line.run()
    assert any("is in the data set again" in f.what and "innocent" in f.where for f in verify())


def test_a_report_cannot_be_changed_unseen(line):
    """Its digest stands in the ledger."""
    _, path = signed(began("image-0"))
    text = json.loads(path.read_text())
    assert verify_reports() == []
    path.write_text(json.dumps({**text, "by": "somebody else"}))
    assert [f.where for f in verify_reports()] == [str(path)]


def test_a_report_without_signature_goes(line, monkeypatch):
    """Killed between report and signature, or the disk was full then; reports of other withdrawals stay."""
    withdrawal = began("image-0")
    folder = Ledger().folder / "withdrawals"
    folder.mkdir()
    killed = folder / f"2026-11-29T101500+0000-{withdrawal.id[:8]}.json"
    other = folder / "2026-11-29T101500+0000-00000000.json"
    half = temporary_path(killed)
    for path in (killed, other, half):
        path.write_text("{}")
    with monkeypatch.context() as full:
        full.setattr(Ledger, "append", lambda *_: (_ for _ in ()).throw(DiskError("no space is left on its disk")))
        with pytest.raises(DiskError):
            signed(withdrawal)
    assert list(folder.iterdir()) == [other]
    _, path = signed(withdrawal)
    assert {*folder.iterdir()} == {other, path}


def verify_reports() -> list:
    return [finding for finding in verify() if "is not the report that was signed" in finding.what]


def test_a_withdrawal_of_an_older_program_is_read(line):
    """Its event had no files, and its sign-off did not name it."""
    ledger = Ledger()
    detail = {"images": ["image-1"], "photographs": {"image-1": "1" * 64}, "models": [], "by": "t", "reason": ""}
    from withdrawing import tell_ledger

    tell_ledger(**detail["photographs"])
    (old,) = read_withdrawals(ledger)
    assert (old.images, old.digests, old.files) == (("image-1",), frozenset({"1" * 64}), ())
