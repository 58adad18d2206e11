"""A withdrawal and what a tournament made of the image: networks, rows and a report that shows it."""

import os
import shutil
import signal
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_line import MadeLine, recorded_line
from withdrawing import began, finish, left

from labelfactory.tournament import REPORT, TOURNAMENT
from lineage.came_back import came_back
from lineage.removal import remove

NETWORK = TOURNAMENT / "nodes/train_classifier-0/data/classifier/classifier.safetensors"
IMPORT = TOURNAMENT / "imports/0/manifest.parquet"


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project with four images in which everything was made once and recorded, and a tournament of the first two."""
    made = recorded_line(tmp_path, monkeypatch)
    leave_tournament("image-1", "image-2")
    return made


def leave_tournament(*image_ids: str) -> None:
    """Its import, a network with the rows that it learnt from, and the report."""
    rows = pa.table({"image_id": list(image_ids)})
    for path in (IMPORT, NETWORK.with_name("training_rows.parquet")):
        path.parent.mkdir(parents=True)
        pq.write_table(rows, path)
    NETWORK.write_bytes(b"weights")
    REPORT.write_text(f"<!doctype html><p>{' '.join(image_ids)}</p>")


def removed_but_killed(withdrawal, after: int) -> None:
    """Delete, in a process that is killed after so many of the tournament's own folders and files are gone."""

    def remove_and_die() -> None:
        whole, gone = shutil.rmtree, []

        def counted(path, *words, **options):
            whole(path, *words, **options)
            gone.append(path)
            if len([path for path in gone if TOURNAMENT in Path(path).parents]) == after:
                os.kill(os.getpid(), signal.SIGKILL)

        shutil.rmtree = counted
        remove(withdrawal)

    process = get_context("fork").Process(target=remove_and_die)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("after", [1, 2])
def test_a_withdrawal_that_is_killed_at_the_tournament_is_finished(line, after):
    """The next one finds the rest: a network is no file that names the image."""
    withdrawal = began("image-1")
    removed_but_killed(withdrawal, after)
    remove(withdrawal)
    assert [*TOURNAMENT.rglob("*")] == []


@pytest.mark.parametrize("lost", ["damaged", "gone"])
def test_a_tournament_without_its_import_goes_too(line, lost):
    """A damaged one may hold the image; without one, its rows are searched."""
    if lost == "gone":
        shutil.rmtree(IMPORT.parent.parent)
    else:
        IMPORT.write_bytes(b"PAR1" + IMPORT.read_bytes()[40:])
    remove(began("image-1"))
    assert not TOURNAMENT.exists()


def test_a_tournament_on_another_disk_is_emptied(line, tmp_path_factory):
    """The link stays, for the next one."""
    away = tmp_path_factory.mktemp("disk") / "tournament"
    shutil.move(TOURNAMENT, away)
    TOURNAMENT.symlink_to(away)
    remove(began("image-1"))
    assert list(away.iterdir()) == []
    assert TOURNAMENT.is_symlink()


def test_a_tournament_of_other_images_stays(line):
    """It costs hours."""
    remove(began("image-3"))
    assert NETWORK.exists()
    assert REPORT.exists()


def test_a_tournament_from_a_backup_is_something_left(line):
    """Put back after a complete withdrawal, it is found by `audit verify`, and nothing is signed as complete with it."""
    withdrawal = began("image-1")
    finish(line, withdrawal)
    assert came_back() == []
    leave_tournament("image-1")
    assert [each.id for each in came_back()] == [withdrawal.id]
    assert any(str(TOURNAMENT) in line for line in left(withdrawal))
    remove(withdrawal)
    assert came_back() == []
