"""A photograph that was withdrawn is gone, for good: every byte of a project and of its remote is searched after each way back."""

import fcntl
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from byte_search import Sought
from workspace import call

from labelfactory.dataset.images import encode_mask
from labelfactory.dataset.manifest import Entry, read_manifest
from labelfactory.files import temporary_path
from labelfactory.rows.reader import RowReader
from lineage.ledger import Ledger

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLED = (
    "import os, lineage.removal; lineage.removal.{step} = lambda *_: os._exit(9); from app.main import main; main()"
)
"""A command that ends at a step of a removal as SIGKILL would end it."""
REMEMBER = ("data/ledger/", "data/mlflow/", ".labelfactory/withdrawn.json")
"""Places that remember ids and digests by design, and no pixels: docs/lineage.md."""
EXPORT = "exported/"
"""An export, which is its owner's to delete."""


def shown(project: Path) -> Entry:
    """A photograph that the report's gallery shows, so that the line has its pixels in most places."""
    report = (project / "data/evaluation/report.html").read_text(encoding="utf-8")
    entries = {e.image_id: e for e in read_manifest(project / "data/import/manifest.parquet").entries}
    return next(entries[name] for name in re.findall(r"demo-\d-\d{5}", report) if "train" in entries[name].lists)


def held(sought: Sought, project: Path) -> dict[str, set[str]]:
    """Where a project still has something that it must not have."""
    found = sought.in_folder(project)
    allowed = {"id", "sha256", "sha256, as bytes", "md5", "id, in a name"}  # by MD5 objects go from remotes
    return {
        name: what
        for name, what in found.items()
        if not name.startswith(EXPORT) and not (name.startswith(REMEMBER) and what <= allowed)
    }


def events(project: Path, *kinds: str) -> list[dict]:
    return Ledger(project / "data/ledger").events(*kinds)


def test_nothing_of_it_is_left_by_any_way(finished, tmp_path):
    """Killed half-way, finished by `run`, imported again, restored from a backup: no byte here, none at the remote."""
    remote = tmp_path / "remote"
    call(finished, "dvc", "remote", "add", "-d", "store", str(remote))
    entry = shown(finished)
    sought = Sought(entry.image_id, finished / entry.path, finished / entry.mask_path)
    call(finished, "labelfactory", "export", "voc", "--out", "exported")
    call(finished, "labelfactory", "push")

    # whatever else may name it: a correction, a map, half a download, what an import left out
    mask = RowReader(finished / "data/masks")[entry.image_id]["mask"]
    (tmp_path / "edited").mkdir()
    edited = np.where(mask == 0, 255, mask).astype(np.uint8)
    (tmp_path / f"edited/{entry.image_id}.png").write_bytes(encode_mask(edited))
    call(finished, "labelfactory", "corrections", "add", str(tmp_path / "edited"))
    maps = finished / f"data/import/maps/saliency/{entry.image_id}.png"
    maps.parent.mkdir(parents=True)
    maps.write_bytes(encode_mask(edited))
    shutil.copy(finished / entry.path, temporary_path(finished / "data/raw/half.jpg"))
    left_out = [{"image_id": entry.image_id, "where": "", "path": "", "reason": "twice", "what": "mask"}]
    (finished / "data/import/left_out.json").write_text(json.dumps(left_out))
    backup = (finished / "data/import/manifest.parquet").read_bytes()

    before, there = sought.in_folder(finished), sought.in_folder(remote)
    for place, what in (
        ("data/evaluation/report.html", "pixels"),
        ("data/evaluation/images.parquet", "pixels of the true mask"),
        ("data/masks/", "id"),
        ("data/predictions/", "id"),
        (".dvc/cache/", "pixels"),
        ("data/corrections/", "id, in a name"),
        ("data/import/maps/", "id, in a name"),
    ):
        assert any(name.startswith(place) and what in held_ for name, held_ in before.items()), place
    assert any(name.startswith("labelfactory/pictures") and "pixels" in held_ for name, held_ in there.items())
    assert any(name.startswith("files/md5") and "pixels" in held_ for name, held_ in there.items())

    call(finished, "python", "-c", KILLED.format(step="_without_corrections"), "withdraw", entry.image_id, code=9)
    assert (finished / entry.path).exists()
    assert len(events(finished, "withdrawn")) == 1
    printed = call(finished, "labelfactory", "run")
    assert f"finishing the withdrawal of {entry.image_id}" in printed
    assert "the current outputs contain nothing of these images" in printed
    assert f"{EXPORT.strip('/')} (an export)" in printed
    assert held(sought, finished) == {}
    assert sought.in_folder(remote).keys() <= {
        "labelfactory/withdrawn.json"
    }  # the digest, so that no machine sends it again
    (done,) = events(finished, "signed off")
    report = json.loads((finished / "data/ledger/withdrawals" / done["detail"]["report"]).read_text(encoding="utf-8"))
    assert report["complete"]
    assert {entry.path, entry.mask_path, str(maps.relative_to(finished))} <= set(report["deleted"])
    assert "everything fits" in call(finished, "labelfactory", "audit", "verify", "--deep")

    assert "1 withdrawn photographs are left out" in call(finished, "labelfactory", "import", "demo", "--count", "24")
    assert held(sought, finished) == {}

    (finished / "data/import/manifest.parquet").write_bytes(backup)
    assert "prepare: 1 withdrawn photographs are left out" in call(finished, "dvc", "repro", "prepare")
    assert held(sought, finished).keys() == {"data/import/manifest.parquet"}
    assert "everything fits" in call(finished, "labelfactory", "audit", "verify")
    assert held(sought, finished) == {}
    call(finished, "labelfactory", "run")
    call(finished, "labelfactory", "push")
    assert held(sought, finished) == {}
    assert sought.in_folder(remote).keys() <= {"labelfactory/withdrawn.json"}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process works: it holds this lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize(
    "lock", [".dvc/tmp/lock", ".labelfactory/locks/refine_crf.lock", ".labelfactory/locks/sweep.lock"]
)
def test_while_the_line_runs_nothing_is_changed(finished, lock):
    """The locks are asked for first: DVC's, that of a stage which somebody started by hand, and that of a sweep."""
    entry = shown(finished)
    manifest = (finished / "data/import/manifest.parquet").read_bytes()
    with locked(finished / lock):
        said = call(finished, "labelfactory", "withdraw", entry.image_id, code=2)
    assert "Wait until it is done" in said
    assert (finished / "data/import/manifest.parquet").read_bytes() == manifest
    assert (finished / entry.path).exists()
    assert events(finished, "withdrawn") == []


def test_a_stage_that_fails_leaves_a_signed_report_that_says_what_is_left(finished):
    """Exit code 2; what can be deleted is; `audit verify` names the rest until a run has finished it."""
    entry = shown(finished)
    sought = Sought(entry.image_id, finished / entry.path, finished / entry.mask_path)
    call(finished, "labelfactory", "profile", "--set", "prepare.val_list=nowhere")
    said = call(finished, "labelfactory", "withdraw", entry.image_id, "--by", "tester", code=2)
    assert "the list 'nowhere' has no usable image" in said
    assert "still there: data/masks/shard-00000.parquet" in said
    assert "not complete: type `labelfactory run`, which finishes it" in said
    (signed,) = events(finished, "signed off")
    assert signed["detail"]["left"] > 0
    assert {name.split("/")[0] for name in held(sought, finished)} == {"data", ".dvc"}  # the outputs as they are
    assert not (finished / entry.path).exists()
    again = call(finished, "labelfactory", "audit", "verify", code=2)
    assert f"the withdrawal of {entry.image_id}: is not complete, its report names" in again
    assert len(events(finished, "signed off")) == 1  # it would say the same
    again = call(finished, "labelfactory", "withdraw", entry.image_id, "--later")
    assert len(events(finished, "withdrawn")) == 1
