"""The photographs of a tournament: a part of the list that follows from ids alone, shows every class, and holds smaller parts."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from contest import make_project
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.tournaments.selection import MOST_TO_SCORE, _part, select
from flows.tournaments.setup import Wish, set_up
from labelfactory.dataset.manifest import Entry, read_manifest, write_manifest
from labelfactory.errors import UserError
from labelfactory.lock import project_lock


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with an import of 40 photographs to label and eight to score on."""
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@settings(deadline=None)
@given(
    tags=st.lists(st.sets(st.sampled_from("abc"), max_size=2), min_size=12, max_size=40),
    count=st.integers(3, 12),
    order=st.randoms(),
)
def test_a_part_shows_each_class_and_does_not_depend_on_the_order(tags, count, order):
    """Whatever came in first."""
    entries = [Entry(f"i{k}", "", "", (), tuple(sorted(own))) for k, own in enumerate(tags)]
    shuffled = list(entries)
    order.shuffle(shuffled)
    try:
        chosen = _part(entries, count, "abc")
    except UserError:
        return
    assert len(chosen) == count
    assert {e.image_id for e in chosen} == {e.image_id for e in _part(shuffled, count, "abc")}
    present = {name for own in tags for name in own}
    assert {name for entry in chosen for name in entry.tags} == present


def test_a_larger_part_holds_the_smaller_one(project):
    """So that what a first round has made is of use to the second."""
    small, large = (ids(select("train", "val", count)) for count in (10, 20))
    assert small < large
    assert ids(select("train", "val")) > large


def test_photographs_stay_where_they_are(project):
    """The import of a round names them by absolute paths; positions, tags and masks are those of the project."""
    selection = select("train", "val", 10)
    own, whole = read_manifest(selection.folder / "manifest.parquet"), read_manifest()
    known = {entry.image_id: entry for entry in whole.entries}
    for entry in own.entries:
        assert entry.path == str(project / known[entry.image_id].path)
        assert entry.mask_path == str(project / known[entry.image_id].mask_path)
        assert replace(entry, path="", mask_path="") == replace(known[entry.image_id], path="", mask_path="")
    assert (selection.images, selection.with_truth) == (10, 10)


def test_all_of_the_validation_list_is_there_only_where_a_model_is_scored(project):
    """Else a classifier needs some of it to tell its mAP."""
    manifest = read_manifest()
    more = tuple(
        replace(manifest.entries[-1], image_id=f"val-{k}", position=-1, sha256=f"{k:064x}") for k in range(100)
    )
    write_manifest(replace(manifest, entries=(*manifest.entries, *more)))
    scored = [len(ids(select("train", "val", 10, scores_val=scores_val))) for scores_val in (False, True)]
    assert scored == [10 + MOST_TO_SCORE, 10 + 108]


def test_its_digest_follows_from_what_stages_read(project):
    """Another tag, photograph, true mask or class is another import; a path is not."""
    manifest, before = read_manifest(), select("train", "val", 10).digest
    first = next(e for e in manifest.entries if e.image_id in ids(select("train", "val", 10)))
    for change in ({"sha256": "1" * 64}, {"tags": ("cat", "dog")}, {"mask_sha256": "1" * 64}):
        entries = tuple(replace(e, **change) if e == first else e for e in manifest.entries)
        write_manifest(replace(manifest, entries=entries))
        assert select("train", "val", 10).digest != before
    entries = tuple(replace(e, path=f"elsewhere/{e.image_id}.jpg") for e in manifest.entries)
    write_manifest(replace(manifest, entries=entries))
    assert select("train", "val", 10).digest == before


def test_true_masks_are_counted_on_the_list_that_is_scored(project):
    """A model is scored on the validation list, whatever the training list has."""
    manifest = read_manifest()
    bare = tuple(replace(e, mask_path=None, mask_sha256=None) if "train" in e.lists else e for e in manifest.entries)
    write_manifest(replace(manifest, entries=bare))
    for scores_val, known in ((False, (10, 0)), (True, (8, 8))):
        selection = select("train", "val", 10, scores_val=scores_val)
        assert (selection.scored, selection.with_truth) == known


def ids(selection) -> set[str]:
    """Of its photographs."""
    return {entry.image_id for entry in read_manifest(selection.folder / "manifest.parquet").entries}


def test_it_waits_for_a_withdrawal(project, capsys):
    """Nobody changes the import between what is read and written of it: the image would be in a tournament that begins now."""
    (project / "one.yaml").write_text("half: {extract_cams.scales: [0.5]}\n")
    with ThreadPoolExecutor(1) as other:
        with project_lock("labelfactory withdraw"):
            planned = other.submit(set_up, Wish(("one.yaml",)))
            said = ""
            while "waiting for labelfactory withdraw" not in said:
                assert not planned.done()
                said += capsys.readouterr().err
                time.sleep(0.05)
            manifest = read_manifest()
            write_manifest(replace(manifest, entries=manifest.entries[1:]))
        selection = planned.result(60).plans[0].selection
    assert ids(selection) == {entry.image_id for entry in manifest.entries[1:]}
