"""Samples in quarantine: listed once, where it began; let out, and tried again with nothing else."""

import json

import pytest
from brightness import Brightness, Outline, files, states, update
from conftest import Workspace
from small_line import SMALL
from workspace import call, make_workspace

from labelfactory.errors import DataError
from labelfactory.rows.shards import ShardFolder
from labelfactory.stage import quarantine as set_aside
from labelfactory.stage.quarantine import SetAside, let_out


@pytest.fixture
def project(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """b fails in the first stage, d in the second, e was set aside by `prepare`; both stages have run."""
    row_stages = {
        noun: {"meta": {"kind": "rows"}, "outs": [f"data/{noun}"], "deps": [f"data/{above}"]}
        for above, noun in (("dataset", "brightness"), ("brightness", "outline"))
    }
    workspace.wire("prepare", **row_stages)
    workspace.change("e", status="quarantined", reason="not an image")
    for kind, failing in ((Brightness, "b"), (Outline, "d")):
        monkeypatch.setattr(kind, "processed", [])
        monkeypatch.setattr(kind, "failing", {failing: ValueError("dark")})
        update(kind)
    return workspace


ALL = [
    SetAside("e", "prepare", "not an image"),
    SetAside("b", "brightness", "ValueError: dark"),
    SetAside("d", "outline", "ValueError: dark"),
]


def test_each_is_listed_once_at_the_stage_where_it_began(project):
    """b is missing in the second stage too, but that is no news."""
    assert states("outline")["b"] == "brightness: ValueError: dark"
    assert set_aside.set_aside() == ALL


def test_what_is_let_out_is_tried_again_and_nothing_else(project):
    """Its row goes; the others keep their bytes; a success takes it out of the quarantine, another failure does not."""
    kept = {s.image_id: s for s in ShardFolder(set_aside.DATA / "brightness").all_states() if s.image_id != "b"}
    untouched = files()["shard-00001.parquet"]
    assert let_out({"b"}) == [ALL[1]]
    assert "b" not in states()
    assert {s.image_id: s for s in ShardFolder(set_aside.DATA / "brightness").all_states()} == kept
    assert files()["shard-00001.parquet"] == untouched
    Brightness.failing.clear()
    assert update()[0] == ["b"]
    assert update(Outline)[0] == ["b"]
    let_out({"d"})
    assert update(Outline)[0] == []
    assert set_aside.set_aside() == [ALL[0], ALL[2]]


def test_a_photograph_is_let_out_for_prepare_to_look_at(project):
    """Its record goes; the next run of `prepare` makes it from the manifest."""
    let_out({"e"})
    assert [r.image_id for r in set_aside.read_dataset().records] == list("abcd")


def test_what_is_not_in_quarantine_is_said(project):
    """With the nearest that is; nothing was changed."""
    before = files()
    with pytest.raises(DataError, match="'a' is not in quarantine") as caught:
        let_out({"a", "b"})
    assert "quarantine list" in caught.value.remedy
    assert files() == before


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_person_lists_releases_and_retries(tmp_path):
    """A photograph that was damaged at the first run is mended, listed, and retried: one more image, the rest is kept."""
    folder = make_workspace(tmp_path / "project", git=True)
    call(folder, "labelfactory", "import", "demo", "--count", "16")
    values = [f"--set={name}.{key}={value}" for name, keys in SMALL.items() for key, value in keys.items()]
    call(folder, "labelfactory", "profile", "demo", *values, "--set=prepare.max_bad_fraction=0.5")
    path = sorted((folder / "data/raw/demo").glob("*/*.jpg"))[0]
    good = path.read_bytes()
    path.write_bytes(b"no photograph")
    call(folder, "dvc", "repro", "prepare")
    (item,) = json.loads(call(folder, "labelfactory", "quarantine", "list", "--json"))
    assert (item["stage"], item["reason"]) == ("prepare", "changed since it was imported")
    path.write_bytes(good)
    assert "prepare" not in call(folder, "dvc", "status", "-q", "prepare")
    assert "not both" in call(folder, "labelfactory", "quarantine", "release", code=2)
    assert "1 released" in call(folder, "labelfactory", "quarantine", "release", item["image_id"])
    assert "Running stage 'prepare'" in call(folder, "dvc", "repro", "prepare")
    assert call(folder, "labelfactory", "quarantine", "list").strip() == "0 in quarantine"
    assert "nothing of all is in quarantine" in call(folder, "labelfactory", "quarantine", "retry", "--stage", "all")
