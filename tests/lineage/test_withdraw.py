"""A withdrawal: the event names everything before anything is deleted, each step may be repeated, and nothing is left."""

import gzip
import html
import json
import os
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_line import MadeLine
from markupsafe import escape

from labelfactory.dataset.corrections import read_corrections, store_mask, write_corrections
from labelfactory.dataset.left_out import LEFT_OUT, LeftOut, read_left_out, write_left_out
from labelfactory.dataset.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from labelfactory.dataset.map_files import MAPS
from labelfactory.dataset.withdrawn import withdrawn
from labelfactory.digests import digest_file
from labelfactory.errors import MissingError
from labelfactory.schema import Classes
from lineage.audit import audit_mask, audit_model
from lineage.diff import diff
from lineage.dvc_cache import cache_folder, is_ours
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.outbox import Outbox
from lineage.record import record
from lineage.removal import remove, remove_cached
from lineage.traces import Traces
from lineage.verify import verify
from lineage.withdraw import again_if_more_learnt, begin, touched_by
from lineage.withdrawal_report import Remote, left_over, make_report, search, sign_off, traces_of
from lineage.withdrawals import Withdrawal, open_withdrawals, read_withdrawals

CACHE = Path(".dvc/cache/files/md5")


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project with four images in which everything was made once and recorded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    made = MadeLine()
    record()
    return made


def began(*image_ids: str) -> Withdrawal:
    """The event of a withdrawal, and nothing more."""
    ledger = Ledger()
    return begin(ledger, touched_by(Lookup(ledger), image_ids), by="tester", reason="asked for")


def signed(withdrawal: Withdrawal) -> tuple[dict, Path]:
    """Its report, and where it lies."""
    ledger = Ledger()
    found = search(traces_of(Lookup(ledger), withdrawal))
    remove_cached(found.old)
    report = make_report(Lookup(ledger), withdrawal, found, Remote(), withdrawal.cache)
    return report, sign_off(ledger, withdrawal, report)


def left(withdrawal: Withdrawal) -> list[str]:
    """What is left of it once old objects have been deleted from the cache."""
    found = search(traces_of(Lookup(), withdrawal))
    remove_cached(found.old)
    return left_over(found)


def finish(line: MadeLine, withdrawal: Withdrawal) -> None:
    """Delete, run the line without it, sign: nothing may be left."""
    remove(withdrawal)
    line.run()
    record()
    report, _ = signed(withdrawal)
    assert report["left_over"] == []


def neutral_paths() -> Manifest:
    """The import, whose photographs lie under names that say nothing of their ids."""
    entries = [replace(e, path=f"data/raw/{e.sha256[:9]}.png") for e in read_manifest().entries]
    for old, new in zip(read_manifest().entries, entries, strict=True):
        shutil.move(old.path, new.path)
    write_manifest(replace(read_manifest(), entries=tuple(entries)))
    return read_manifest()


def renamed(line: MadeLine, old: str, new: str) -> None:
    """The import with another id for an image, and the line made of it."""
    entries = (replace(e, image_id=new) if e.image_id == old else e for e in read_manifest().entries)
    write_manifest(replace(read_manifest(), entries=tuple(entries)))
    line.run()
    record()


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
    shutil.copy("data/raw/image-1.png", "data/raw/.image-1.png.77.tmp")
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
    assert not Path("data/raw/.image-1.png.77.tmp").exists()
    assert not variant.exists()
    assert [path.exists() for path in states] == [False, True]


def test_what_an_import_left_out_does_not_name_it(line):
    write_left_out([LeftOut("image-1", "", "a.png", "bad", "mask"), LeftOut("other", "", "b.png", "bad")])
    remove(began("image-1"))
    assert [item.image_id for item in read_left_out()] == ["other"]
    write_left_out([LeftOut("image-2", "", "a.png", "bad")])
    remove(began("image-2"))
    assert not LEFT_OUT.exists()


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
    assert again_if_more_learnt(Ledger(), withdrawal) == withdrawal
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
    assert report["left_over"] == ["data/mine/all.zip: the photograph or its true mask"]


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
    again = again_if_more_learnt(Ledger(), withdrawal)
    labels = {Lookup().models[digest].label for digest in again.models}
    assert {"segmenter 1", "segmenter 2"} <= labels
    assert len(read_withdrawals(Ledger())) == 1
    assert again_if_more_learnt(Ledger(), again) == again


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


# --- the search -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ["{", '{"a', '{"a": [1', "a<b>&c", 'quo"ted 17', "été 1/x", "back\\slash"])
def test_an_odd_id_is_found_and_stops_nothing(line, odd):
    """Another image with such an id, and itself: in Parquet, JSON and HTML."""
    renamed(line, "image-3", odd)
    other = began("image-1")
    remove(other)
    line.run()
    record()
    assert left(other) == []
    own = began(odd)
    Path("data/evaluation/report.html").write_text(f"<p>{html.escape(odd)}</p>")
    held = {line.partition(": ")[0] for line in left(own)}
    assert {"data/masks/shard-00000.parquet", "data/segmenter/training_rows.parquet"} <= held
    assert len(odd) < 4 or "data/evaluation/report.html" in held


@pytest.mark.parametrize("common", ["cat", "train", "12", "3"])
def test_an_id_that_is_a_usual_word_is_found_in_columns_alone(line, common):
    """The name of a class or a list, a small number: texts are full of them."""
    renamed(line, "image-1", common)
    withdrawal = began(common)
    remove(withdrawal)
    line.run()
    record()
    assert left(withdrawal) == []


@pytest.mark.parametrize("odd", ["12", "o'neil-1", 'the "first"'])
def test_old_reports_go_from_the_cache_whatever_the_id(line, odd):
    """They show the photograph. The current one stays: it was made without the image."""
    renamed(line, "image-1", odd)
    report = Path("data/evaluation/report.html")
    report.write_text(f"<!doctype html><p>{escape(odd)}</p> pixels of it")
    line.commit()
    withdrawal = began(odd)
    assert len(odd) < 4 or Traces.of([odd], [], []).in_file(report)
    report.write_text("<!doctype html><p>without it</p>")
    finish(line, withdrawal)
    pages = [path.read_text() for path in CACHE.glob("*/*") if path.read_bytes().startswith(b"<!doctype")]
    assert pages == [report.read_text()]


def moved_cache(folder: Path, text: str, name: str = "config.local") -> None:
    """DVC's cache in another folder, as `dvc cache dir` notes it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(".dvc/cache", folder)
    Path(".dvc", name).write_text(
        f"[core]\n    autostage = true\n['remote \"x\"']\n    url = /x\n[cache]\n    dir = {text}\n"
    )


def test_a_cache_elsewhere_in_the_project_is_cleaned(line):
    """Its address is relative to the file of settings; the local file counts before the shared one."""
    Path(".dvc/config").write_text("[cache]\n    dir = /nowhere\n")
    moved_cache(Path("big/cache"), "../big/cache")
    assert cache_folder() == Path("big/cache/files/md5")
    withdrawal = began("image-1")
    assert withdrawal.cache
    finish(line, withdrawal)
    assert not any(Path("big/cache/files/md5", md5[:2], md5[2:]).exists() for md5 in withdrawal.cache)


def test_a_cache_outside_of_the_project_is_named_and_stays(line, tmp_path_factory):
    """Other projects may share it."""
    outside = tmp_path_factory.mktemp("big") / "cache"
    moved_cache(outside, str(outside), "config")
    assert (cache_folder(), is_ours()) == (outside / "files/md5", False)
    withdrawal = began("image-1")
    objects = [str(outside / "files/md5" / md5[:2] / md5[2:]) for md5 in withdrawal.cache]
    assert objects
    finish(line, withdrawal)
    report, _ = signed(withdrawal)
    assert {f"{path} (in DVC's cache outside of this project)" for path in objects} <= set(report["elsewhere"])
    assert all(Path(path).exists() for path in objects)


def test_every_kind_of_file_is_searched(tmp_path):
    """Columns and lists of text, metadata, names of files, archives, pictures, anything else."""
    photograph = tmp_path / "p.bin"
    photograph.write_bytes(b"\x89PNG pixels")
    traces = Traces(frozenset({"image-7"}), frozenset({digest_file(photograph)}), frozenset({"k" * 64}))
    assert traces.in_file(photograph) == {"the photograph or its true mask"}

    def file(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    def table(name: str, column: pa.Array, **metadata: str) -> Path:
        pq.write_table(pa.table({"text": column}).replace_schema_metadata(metadata), tmp_path / name)
        return tmp_path / name

    holding = [
        table("a.parquet", pa.array(["x", "about image-7."])),
        table("b.parquet", pa.array([["x"], ["image-7", None], None])),
        table("c.parquet", pa.array(["x", "image-7"]).dictionary_encode()),
        table("d.parquet", pa.array(["x"]), note="of image-7"),
        table("e.parquet", pa.array(['{"made": {"masks": "' + "k" * 64 + '"}}'])),
        file("f.csv", b"1,image-7,2\n"),
        file("g.bin", b"\0" * 6_000_000 + b"image-7" + b"\0"),
    ]
    for name, member in (("h.zip", "image-7.png"), ("i.zip", "other.png")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, photograph.read_bytes() if member == "other.png" else b"x")
        holding.append(tmp_path / name)
    for path in holding:
        assert traces.in_file(path), path
    bytes_ = photograph.read_bytes()
    holding.append(table("n.parquet", pa.array([bytes_])))
    holding.append(table("o.parquet", pa.array([{"bytes": bytes_, "path": None}])))
    holding.append(table("p.parquet", pa.array([[{"path": "a/image-7"}]])))
    holding.append(file("q.png.gz", gzip.compress(bytes_)))
    for path in holding[-4:]:
        assert traces.in_file(path), path
    for path in (
        table("r.parquet", pa.array([{"bytes": b"other", "path": "image-70"}])),
        file("s.gz", gzip.compress(b"other")),
        file("t.gz", b"\x1f\x8b damaged"),
        table("j.parquet", pa.array(["image-77", "an-image-7", "image-7b"])),
        file("k.csv", b"image-70"),
        file("l", b""),
        file("m.parquet", b"PAR1 damaged"),
    ):
        assert not traces.in_file(path), path
    assert traces.in_name(Path("image-7.0123abc.png"))
    assert not traces.in_name(Path("image-70.png"))


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
