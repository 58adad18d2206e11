"""Rows of a shard that was interrupted or killed: taken up by their keys, to the same bytes, or computed anew."""

import shutil
from pathlib import Path

import pytest
from brightness import Brightness, BrightnessConfig, change_code, files, update

from labelfactory.interrupt import Interrupted
from labelfactory.rows import unfinished
from labelfactory.rows.engine import Tally

FOLDER = Path("data/brightness")


@pytest.fixture
def one_shard(project):
    """Five images in one shard."""
    for image_id in "abcde":
        project.change(image_id, shard=0)
    return project


def stopped(by: BaseException, at: str = "d", cfg: BrightnessConfig | None = None) -> None:
    """A run that ends at this image."""
    Brightness.failing[at] = by
    with pytest.raises(type(by)):
        update(cfg=cfg)
    Brightness.failing.clear()


def parts() -> list[str]:
    """What runs have left of shards."""
    return sorted(path.name for path in FOLDER.glob(".*"))


@pytest.mark.parametrize("batch", [1, 2])
def test_an_interruption_costs_the_images_in_hand(one_shard, batch):
    """The others are taken up; the shard has the bytes of an undisturbed run, and nothing of it is left beside it."""
    cfg = BrightnessConfig(batch=batch)
    update(cfg=cfg)
    whole = files()
    shutil.rmtree(FOLDER)
    stopped(KeyboardInterrupt(), cfg=cfg)
    assert parts() == [".shard-00000.0001.part"]
    kept = 3 if batch == 1 else 2
    assert update(cfg=cfg) == (list("abcde")[kept:], Tally(5 - kept, kept, 0, 1, 0))
    assert files() == whole


def test_the_message_counts_what_is_kept(one_shard):
    """Rows that were taken up count again."""
    Brightness.failing["d"] = KeyboardInterrupt()
    with pytest.raises(Interrupted) as caught:
        update()
    assert caught.value.kept == "3 of 5 done"
    del Brightness.failing["d"]
    Brightness.failing["e"] = KeyboardInterrupt()
    with pytest.raises(Interrupted) as caught:
        update()
    assert caught.value.kept == "4 of 5 done"
    assert parts() == [".shard-00000.0001.part", ".shard-00000.0002.part"]
    Brightness.failing.clear()
    assert update()[0] == ["e"]
    assert parts() == []


def test_a_kill_costs_the_rows_since_the_last_flush(one_shard, monkeypatch):
    """`SystemExit` reaches no code of the engine: what is on the disk by then is what a SIGKILL leaves."""
    monkeypatch.setattr(unfinished, "FLUSH_SECONDS", 0.0)
    stopped(SystemExit())
    assert len(parts()) == 3
    assert update()[0] == ["d", "e"]


def test_rows_whose_inputs_changed_are_not_taken_up(one_shard):
    """One photograph is another: its row alone is computed again. Other code: all."""
    stopped(KeyboardInterrupt())
    one_shard.repaint("a", seed=8)
    stopped(KeyboardInterrupt(), at="e")
    assert Brightness.processed == ["a", "d"]
    change_code(one_shard)
    assert update()[0] == list("abcde")
    assert parts() == []


def test_a_row_that_changed_back_is_no_work(one_shard):
    """What an interrupted run left of a shard that is up to date by now is deleted."""
    update()
    whole = files()
    stopped(KeyboardInterrupt(), cfg=BrightnessConfig(factor=2))
    assert parts() != []
    assert update() == ([], Tally(0, 5, 0, 0, 0))
    assert files() == whole


@pytest.mark.parametrize("place", [0.0, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99])
def test_a_flipped_byte_reaches_no_shard(one_shard, place):
    """The rows that are damaged are computed again."""
    update()
    whole = files()
    shutil.rmtree(FOLDER)
    stopped(KeyboardInterrupt())
    (path,) = FOLDER.glob(".*.part")
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 0xFF
    path.write_bytes(data)
    assert set(update()[0]) >= {"d", "e"}
    assert files() == whole


@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_truncated_file_is_not_taken_up(one_shard, size):
    """Its rows are computed again."""
    stopped(KeyboardInterrupt())
    (path,) = FOLDER.glob(".*.part")
    path.write_bytes(path.read_bytes()[:size])
    assert update()[0] == list("abcde")


def test_a_quarantined_row_is_tried_again(one_shard):
    """It is not among those that are kept."""
    Brightness.failing["a"] = ValueError("once")
    stopped(KeyboardInterrupt())
    assert update()[0] == ["a", "d", "e"]
