"""Rows that were made once are found again by image and key, to the same bytes; what is damaged or withdrawn is not."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from brightness import Brightness, BrightnessConfig, Outline, files, states, update

from labelfactory.dataset import withdrawn as withdrawals
from labelfactory.dataset.withdrawn import Withdrawn
from labelfactory.rows import kept
from labelfactory.rows.engine import Tally
from labelfactory.rows.kept import forget_rows
from labelfactory.store.entries import STORE, entries
from labelfactory.store.limit import VARIABLE

TODAY, OTHER = BrightnessConfig(), BrightnessConfig(factor=2)


@pytest.fixture(autouse=True)
def with_store(project, monkeypatch):
    monkeypatch.setenv(VARIABLE, "1")
    return project


def kept_ids(noun: str = "brightness") -> list[list[str]]:
    """The images of each entry."""
    tables = (pq.read_table(next(entry.path.glob("*.parquet"))) for entry in entries(noun))
    return sorted(sorted(table.column("image_id").to_pylist()) for table in tables)


def test_earlier_settings_cost_no_row(capsys):
    """Back and forth: nothing is computed in any stage, and every byte is as it was."""
    update(cfg=TODAY)
    update(Outline)
    before, below = files(), files("outline")
    assert update(cfg=OTHER) == (list("abcde"), Tally(5, 0, 0, 3, 0))
    update(Outline)
    there = files()
    for cfg, wanted in ((TODAY, before), (OTHER, there), (TODAY, before)):
        assert [(p.pending, len(p.kept)) for p in Brightness(cfg).plan()] == [([], 2), ([], 2), ([], 1)]
        assert update(cfg=cfg) == ([], Tally(0, 0, 0, 3, 0, rows_found=5))
        assert update(Outline)[0] == []
        assert files() == wanted
    assert files("outline") == below
    assert "brightness: 5 rows were made before, and found again in data/store" in capsys.readouterr().err
    assert update(cfg=TODAY) == ([], Tally(0, 5, 0, 0, 0))


def test_rows_that_do_not_know_the_classes_are_found_under_other_ones(project, monkeypatch, capsys):
    """Their header names the classes of then, which is no damage."""
    monkeypatch.setattr(Brightness, "knows_classes", False)
    update(cfg=TODAY)
    update(cfg=OTHER)
    project.classes = ("cat", "dog", "fox")
    project.save()
    assert update(cfg=TODAY) == ([], Tally(0, 0, 0, 3, 0, rows_found=5))
    assert "damaged" not in capsys.readouterr().err


def test_some_rows_are_found_and_others_are_computed(project):
    """An image that was away, one that was repainted and back, one that is new: only the new one is computed."""
    update()
    whole = files()
    old = project.records[2]
    project.repaint("c", seed=7)
    project.remove("a")
    update()
    project.add("f", position=0)
    project.change("c", sha256=old.sha256)
    assert update()[1] == Tally(1, 3, 0, 2, 0, rows_found=1)
    assert files()["shard-00001.parquet"] == whole["shard-00001.parquet"]


def test_a_shard_is_kept_once_whatever_changes_in_it(project):
    """Of an earlier version only what later ones lack: a hundred corrections are not a hundred shards."""
    update()
    assert kept_ids() == [["a", "b"], ["c", "d"], ["e"]]
    for seed in range(4):
        project.repaint("c", seed=seed)
        update()
    assert kept_ids() == [["a", "b"], ["c"], ["c"], ["c"], ["c"], ["c", "d"], ["e"]]
    update(cfg=OTHER)
    assert len(kept_ids()) == 10
    assert {entry.own_bytes > 0 for entry in entries()} == {True, False}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 255
    path.write_bytes(bytes(data))


def other_rows(path: Path) -> None:
    """Rows that are whole but belong to other keys: `a` with the payload of `b`."""
    table = pq.read_table(path)
    payload = table.column_names[6:]
    mixed = table.to_pylist()
    mixed[0] |= {name: mixed[-1][name] for name in payload}
    pq.write_table(table.from_pylist(mixed, schema=table.schema), path)


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        other_rows,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        lambda path: pq.write_table(pq.read_table(path).replace_schema_metadata({}), path),
        Path.unlink,
    ],
    ids=["flipped bit", "wrong payload", "empty", "cut", "no header", "gone"],
)
def test_damage_in_the_store_costs_a_row_and_never_a_run(damage: Callable[[Path], object]):
    """It is computed again, to the same bytes, and the damaged entry goes."""
    update(cfg=TODAY)
    before = files()
    update(cfg=OTHER)
    place = next(entry.path for entry in entries("brightness") if entry.own_bytes and "00000" in entry.path.name)
    path = next(place.iterdir())
    damage(path)
    computed, tally = update(cfg=TODAY)
    assert set(computed) <= {"a", "b"}
    assert computed
    assert tally.rows_found == 5 - len(computed)
    assert files() == before
    update(cfg=OTHER)
    assert update(cfg=TODAY)[0] == []


def test_a_spoilt_output_is_not_taken_from_its_second_name():
    """The store shares bytes with data/: both are spoilt, so the row is computed again."""
    update()
    before = files()
    flip(Path("data/brightness/shard-00001.parquet"))
    assert set(update()[0]) <= {"c", "d"}
    assert files() == before


def test_a_quarantined_row_is_not_kept_as_one():
    """It is tried again under the same key, and what comes of it is kept."""
    Brightness.failing["b"] = ValueError("once")
    update()
    Brightness.failing.clear()
    assert update()[0] == ["b"]
    update(cfg=OTHER)
    assert update()[1].rows_found == 5
    assert set(states().values()) == {"ok"}


def test_withdrawn_images_are_neither_kept_nor_left(project, monkeypatch):
    """Their rows go, those of their neighbours stay; a shard that still shows one is not kept when it is replaced."""
    update(cfg=TODAY)
    update(cfg=OTHER)
    gone = {"b", project.records[2].sha256}
    forget_rows(lambda image_id, sha256: image_id in gone or sha256 in gone)
    assert kept_ids() == [["a"], ["a"], ["d"], ["d"], ["e"], ["e"]]
    monkeypatch.setattr(kept, "refused", lambda: Withdrawn(frozenset(gone), frozenset(gone)))
    for image_id in "bc":
        project.remove(image_id)
    assert update(cfg=TODAY) == ([], Tally(0, 0, 0, 3, 0, rows_found=3))
    assert not {"b", "c"} & {name for names in kept_ids() for name in names}
    assert withdrawals.withdrawn().photographs == frozenset(), "this test's own ledger is empty"


def test_rows_that_are_not_wanted_go_with_a_whole_entry():
    """Nothing is left of an entry without rows."""
    update()
    forget_rows(lambda *_: True)
    assert entries() == []
    assert not list(STORE.glob("*/.*"))
