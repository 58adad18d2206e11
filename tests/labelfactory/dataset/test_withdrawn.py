"""What was withdrawn is read from the ledger: each file once, whatever becomes of the copy."""

import json
import shutil
from pathlib import Path

import pytest
from withdrawing import tell_ledger

from labelfactory.dataset.withdrawn import KEPT, LEDGER, REMEMBERED, Withdrawn, withdrawn, withdrawn_in
from labelfactory.errors import DataError

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """An empty project."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_ledger_nothing_was_withdrawn_and_nothing_is_written(here):
    assert withdrawn() == Withdrawn()
    assert list(here.iterdir()) == []


def test_a_photograph_is_known_by_its_bytes_and_by_its_id(here):
    tell_ledger(cat=A)
    tell_ledger(dog=B)
    gone = withdrawn()
    assert gone == Withdrawn(frozenset({A, B}), frozenset({"cat", "dog"}))
    assert gone.refuses("another name", A)
    assert gone.refuses("cat", C)
    assert not gone.refuses("bird", C)


def test_a_file_of_the_ledger_is_read_once(here):
    """Then the copy answers, though the file cannot be read any more; a new file is read."""
    tell_ledger(cat=A)
    tell_ledger(dog=B)
    withdrawn()
    first = min(LEDGER.glob("*-events.parquet"))
    content = first.read_bytes()
    first.write_bytes(b"damaged")
    assert withdrawn().photographs == {A, B}
    tell_ledger(bird=C)
    assert withdrawn().photographs == {A, B, C}
    (LEDGER / KEPT).unlink()
    with pytest.raises(DataError, match=r"00000001-events\.parquet: damaged"):
        withdrawn()
    first.write_bytes(content)
    assert withdrawn().photographs == {A, B, C}


def test_a_ledger_from_before_the_withdrawal_does_not_take_it_back(here):
    """It was restored from a backup; the digests stand outside of it too, and no ids."""
    tell_ledger(cat=A)
    withdrawn()
    shutil.copytree(LEDGER, "backup")
    tell_ledger(dog=B)
    withdrawn()
    shutil.rmtree(LEDGER)
    shutil.move("backup", LEDGER)
    assert withdrawn() == Withdrawn(frozenset({A, B}), frozenset({"cat"}))
    assert json.loads(REMEMBERED.read_text()) == {"photographs": [A, B]}
    REMEMBERED.write_text("damaged")
    assert withdrawn().photographs == {A}


@pytest.mark.parametrize("copy", ["", "[]", '{"last": "00000001-events.parquet", "photographs": 3}', '{"last": "x"}'])
def test_a_damaged_copy_is_made_again(here, copy):
    tell_ledger(cat=A)
    (LEDGER / KEPT).write_text(copy)
    assert withdrawn().photographs == {A}
    assert json.loads((LEDGER / KEPT).read_text())["photographs"] == [A]


def test_another_ledger_makes_another_copy(here):
    """One that does not hold the last file that was read."""
    tell_ledger(cat=A)
    tell_ledger(dog=B)
    assert withdrawn_in(LEDGER).photographs == {A, B}
    for path in LEDGER.glob("*-events.parquet"):
        path.unlink()
    (LEDGER / "HEAD").unlink()
    tell_ledger(bird=C)
    assert withdrawn_in(LEDGER).photographs == {C}
