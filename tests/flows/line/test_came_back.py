"""After a complete withdrawal, folders are restored from a backup of before: the store, DVC's cache, outputs."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made_line import MadeLine, recorded_line

from flows.line.unfinished import finishing_withdrawals
from labelfactory.rows.kept import KeptRows
from labelfactory.store.limit import VARIABLE
from lineage.came_back import came_back
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.record import record
from lineage.verify import verify
from lineage.withdraw import begin, touched_by
from lineage.withdrawals import open_withdrawals

CACHE, STORE = Path(".dvc/cache"), Path("data/store")


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project under DVC from which image-1 was withdrawn, with a backup of store, cache and masks of before in `backup`."""
    monkeypatch.setattr("flows.line.withdrawals.deliver", lambda: None)
    monkeypatch.setenv(VARIABLE, "1")
    made = recorded_line(tmp_path, monkeypatch)
    Path(".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n")
    kept()
    for folder in (CACHE, STORE, Path("data/masks")):
        shutil.copytree(folder, Path("backup") / folder)
    begin(Ledger(), touched_by(Lookup(), ["image-1"]), by="t", reason="")
    with finishing_withdrawals("the test"):
        made.run()
    kept()
    record()
    assert [each.left for each in open_withdrawals(Ledger(), also=["image-1"])] == [0]
    return made


def kept() -> None:
    """Keep the masks in the store, as their stage would."""
    path = Path("data/masks/shard-00000.parquet")
    table = pq.read_table(path)
    KeptRows("masks", table.schema, "zstd").keep(0, path, table)


def restore(folder: Path) -> None:
    shutil.copytree(Path("backup") / folder, folder, dirs_exist_ok=True)


def holding(*folders: Path) -> list[Path]:
    """Files that name the image: texts, and rows."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    tables = [path for path in files if path.read_bytes()[:4] == b"PAR1"]
    rows = {path: pq.read_table(path).column("image_id").to_pylist() for path in tables if _has_ids(path)}
    return [path for path, ids in rows.items() if "image-1" in ids]


def _has_ids(path: Path) -> bool:
    return "image_id" in pq.read_schema(path).names


def signed() -> int:
    return len(Ledger().events("signed off"))


@pytest.mark.parametrize("folder", [STORE, CACHE])
def test_audit_verify_finds_and_deletes_what_was_restored(line, folder):
    """And signs one report; where nothing came back it signs none."""
    before = signed()
    for _ in range(2):
        with finishing_withdrawals("labelfactory audit verify", thorough=True) as found:
            assert found == []
    restore(folder)
    assert holding(folder)
    with finishing_withdrawals("labelfactory audit verify", thorough=True) as found:
        assert [each.images for each in found] == [("image-1",)]
    assert holding(CACHE, STORE) == []
    assert came_back() == []
    assert signed() == before + 1
    assert verify() == []


def test_a_run_finds_the_objects_that_the_withdrawal_named(line):
    """Without a search: their names are looked up."""
    restore(CACHE)
    with finishing_withdrawals("labelfactory run") as found:
        assert [each.images for each in found] == [("image-1",)]
    assert holding(CACHE) == []
    assert open_withdrawals(Ledger()) == []


def test_outputs_of_before_are_named_until_a_run(line):
    """They are the line's: `run` makes them anew."""
    restore(Path("data/masks"))
    with finishing_withdrawals("labelfactory audit verify", thorough=True) as found:
        assert len(found) == 1
    assert any("the withdrawal of image-1" in finding.where for finding in verify())
    with finishing_withdrawals("labelfactory run"):
        line.run()
    record()
    assert holding(Path("data/masks")) == []
    assert open_withdrawals(Ledger()) == came_back() == []


def test_what_people_keep_does_not_open_it_again(line):
    """Their lists below data/ are named in the report, and another report of the line is no trace of the image."""
    Path("data/mine").mkdir()
    Path("data/mine/list.txt").write_text("image-1")
    page = line._store(b"<!DOCTYPE html><p>of a later data set</p>")
    before = signed()
    with finishing_withdrawals("labelfactory audit verify", thorough=True) as found:
        assert found == []
    assert signed() == before
    assert CACHE.joinpath("files/md5", page[:2], page[2:]).exists()


def test_a_cache_that_other_projects_share_is_left(line, tmp_path_factory):
    shared = tmp_path_factory.mktemp("shared")
    shutil.copytree(Path("backup") / CACHE, shared, dirs_exist_ok=True)
    Path(".dvc/config").write_text(f"[core]\n    no_scm = true\n[cache]\n    dir = {shared}\n")
    assert came_back() == open_withdrawals(Ledger()) == []
