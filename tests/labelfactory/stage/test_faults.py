"""A full disk, a folder that may not be written, two runs at once, other formats: two lines or repair, never wrong data."""

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from brightness import Brightness, Outline, files, states, update

from labelfactory.dataset import prepared as dataset
from labelfactory.dataset.prepared import ShardedDataset, read_dataset
from labelfactory.digests import digest_json
from labelfactory.errors import DataError, NewerFormatError, UserError
from labelfactory.files import DiskError, write_json, write_whole
from labelfactory.learning.training import Resume
from labelfactory.lock import LOCKS, BusyError, stage_lock
from labelfactory.rows.header import CODECS, ROW_FORMAT
from labelfactory.rows.shards import ShardFolder
from labelfactory.stage import runner as stage


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[None]:
    """A disk of its own over a folder; needs root, and says so where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"a disk cannot be mounted here: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # what a test caught may hold files open


# --- disks


def test_a_full_disk_is_two_lines_and_finished_shards_are_kept(project):
    """The shard that did not fit is not there, not even in part; with space again only it is computed."""
    whole = update()[0]
    expected = files()
    size = sum(len(data) for data in expected.values())
    output = Path("data/brightness")
    with small_disk(output, f"size={4096 * (size // 4096 + 4)}"):
        room = os.statvfs(output).f_bavail * 4096
        (output / "ballast").write_bytes(b"x" * (room - 3 * 4096))
        with pytest.raises(DiskError, match="no space is left on its disk") as caught:
            update()
        assert "finished rows are kept" in caught.value.remedy
        (output / "ballast").unlink()
        assert {name: expected[name] for name in files()} == files()
        assert not list(output.glob(".*"))
        computed, _ = update()
        assert set(computed) < set(whole)
        assert files() == expected


WRITERS = {
    "torch": lambda path: Resume(path, "k").save({"weights": torch.zeros(100_000)}),
    "json": lambda path: write_json(path, "x" * 100_000),
}


@pytest.mark.parametrize("write", list(WRITERS))
def test_whoever_writes_says_the_same_of_a_full_disk(tmp_path, write):
    """torch says only that it could not write; the old file is as it was."""
    with small_disk(tmp_path / "disk", "size=64k"):
        path = tmp_path / "disk/x"
        path.write_bytes(b"old")
        (tmp_path / "disk/ballast").write_bytes(b"x" * 40960)
        with pytest.raises(DiskError, match=r"disk/x: no space is left"):
            WRITERS[write](path)
        assert path.read_bytes() == b"old"
        assert sorted(p.name for p in path.parent.iterdir()) == ["ballast", "x"]


def test_a_folder_that_may_not_be_written_is_two_lines(project):
    """Before anything is lost: the shards are as they were."""
    update()
    before = files()
    with small_disk(Path("data/elsewhere"), "size=1m"):
        for name, data in before.items():
            Path("data/elsewhere", name).write_bytes(data)
        subprocess.run(["mount", "-o", "remount,ro", "data/elsewhere"], check=True)
        with (
            pytest.raises(DiskError, match="cannot be written: read-only file system"),
            write_whole(Path("data/elsewhere/shard-00000.parquet")) as path,
        ):
            path.write_bytes(b"new")
        assert files("elsewhere") == before


def test_a_stage_on_a_read_only_disk_ends_with_exit_code_2(project, monkeypatch, capsys):
    """The user can mend it, so it is no traceback."""
    monkeypatch.setattr(stage, "read_sections", lambda: {"brightness": Brightness.section()})
    monkeypatch.setattr(stage, "check_line", lambda sections: None)
    monkeypatch.setattr(stage, "stage_class", lambda name: Brightness)
    with small_disk(Path("data/brightness"), "size=1m,ro"):
        assert stage.run_guarded("brightness") == 2
    said = capsys.readouterr().err
    assert "error: data/brightness/shard-00000.parquet: cannot be written" in said
    assert "Traceback" not in said


# --- a shard that is gone


def test_a_deleted_shard_is_made_again_and_no_other(project):
    """To the same bytes."""
    update()
    whole = files()
    Path("data/brightness/shard-00001.parquet").unlink()
    computed, tally = update()
    assert (computed, tally.shards_written) == (["c", "d"], 1)
    assert files() == whole


def test_a_deleted_shard_above_is_an_error_with_a_remedy(project):
    """Never rows without their inputs."""
    update()
    Path("data/brightness/shard-00001.parquet").unlink()
    with pytest.raises(UserError, match="data/brightness has no row for the image c") as caught:
        update(Outline)
    assert "dvc repro" in caught.value.remedy


# --- two at once


def test_a_second_run_in_the_same_folder_is_refused(project):
    """By a lock of the operating system, which a killed run cannot leave behind."""
    with stage_lock("brightness"):
        with (
            pytest.raises(BusyError, match=f"brightness: the process {os.getpid()} works on it"),
            stage_lock("brightness"),
        ):
            pass
        with stage_lock("outline"):
            pass
    with stage_lock("brightness"):
        pass
    LOCKS.joinpath("brightness.lock").write_text("4711")  # a run that was killed
    with stage_lock("brightness"):
        pass


def test_many_may_work_on_shards_but_not_beside_a_whole_run(project):
    """As a cluster's workers do."""
    one, two = (stage_lock("brightness", shared=True) for _ in range(2))
    with one, two, pytest.raises(BusyError), stage_lock("brightness"):
        pass
    with stage_lock("brightness"), pytest.raises(BusyError), stage_lock("brightness", shared=True):
        pass


def test_a_file_system_without_locks_keeps_nobody_out(project, monkeypatch):
    """A lock is help against a mistake, not a condition."""

    def refuse(*_: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    entered = []
    with stage_lock("brightness"), stage_lock("brightness"):
        entered.append("both")
    assert entered == ["both"]


# --- formats and parameters


def reformatted(path: Path, number: int) -> None:
    """Give a table's header another format; in format 1 it has no digest of its own."""
    table = pq.read_table(path)
    head = json.loads(table.schema.metadata[b"labelfactory"]) | {"format": number}
    if head.pop("check", None) and number != 1:
        head["check"] = digest_json(head)
    pq.write_table(table.replace_schema_metadata({"labelfactory": json.dumps(head, sort_keys=True)}), path)


def test_shards_of_a_newer_program_are_refused_and_kept(project):
    """Neither read, nor written over; the remedy names both ways out."""
    update()
    path = Path("data/brightness/shard-00000.parquet")
    reformatted(path, ROW_FORMAT + 1)
    before = files()
    for kind in (Brightness, Outline):
        with pytest.raises(NewerFormatError, match=r"format 3 is newer than this program's 2") as caught:
            update(kind)
        assert "Update labelfactory" in caught.value.remedy
        assert "delete data/brightness" in caught.value.remedy
    assert files() == before


@pytest.mark.parametrize("number", [0, 1])
def test_shards_of_an_older_program_are_made_again(project, monkeypatch, capsys, number):
    """By the stage that writes them; whoever only reads them says what to type."""
    update()
    update(Outline)
    whole = files()
    reformatted(Path("data/brightness/shard-00000.parquet"), number)
    with pytest.raises(DataError, match=f"format {number} is older") as caught:
        update(Outline)
    assert "dvc repro" in caught.value.remedy
    assert update()[0] == ["a", "b"]
    assert f"format {number} is older than this program's 2: made again" in capsys.readouterr().err
    assert files() == whole


def test_a_data_set_of_format_1_is_read_with_what_it_meant(project):
    """256 images to a shard, zstd: nothing has to be prepared again."""
    path = dataset.IMAGES
    table = pq.read_table(path)
    head = json.loads(table.schema.metadata[b"labelfactory"])
    old = {k: v for k, v in head.items() if k not in ("shard_size", "compression")} | {"format": 1}
    pq.write_table(table.replace_schema_metadata({"labelfactory": json.dumps(old)}), path)
    for found in (read_dataset(), ShardedDataset()):
        assert (found.shard_size, found.compression) == (256, "zstd")


@pytest.mark.parametrize(
    ("number", "problem"), [(3, "is newer than this program's 2"), (0, "is not a format of labelfactory")]
)
def test_a_data_set_of_another_format_is_refused(project, number, problem):
    """By whoever reads it."""
    reformatted(dataset.IMAGES, number)
    for read in (read_dataset, ShardedDataset):
        with pytest.raises(DataError, match=problem):
            read()


@pytest.mark.parametrize("codec", list(CODECS))
def test_another_compression_copies_rows_and_computes_none(project, codec):
    """Each one that params.yaml allows; a second time nothing is written."""
    update()
    before = {row.image_id: row.digest for row in ShardFolder(Path("data/brightness")).all_states()}
    project.compression = codec
    project.save()
    computed, tally = update()
    assert (computed, tally.shards_written) == ([], 0 if codec == "zstd" else 3)
    assert update()[1].shards_written == 0
    assert {row.image_id: row.digest for row in ShardFolder(Path("data/brightness")).all_states()} == before
    stored = pq.ParquetFile("data/brightness/shard-00000.parquet").metadata.row_group(0).column(0).compression
    assert stored.lower() == CODECS[codec]
    assert update(Outline)[0] == list("abcde")
    assert set(states("outline").values()) == {"ok"}


def test_the_sharded_data_set_is_the_data_set(project, monkeypatch):
    """Shard by shard it gives the training images of `read_dataset`, in order, whatever a row group holds."""
    project.change("c", status="quarantined", reason="dark")
    project.change("d", split="score")
    for group in (1, 2, 4096):
        monkeypatch.setattr(dataset, "ROW_GROUP", group)
        project.save()
        sharded = ShardedDataset()
        assert sharded.counts == {0: 2, 2: 1}
        assert [r for shard in sharded.counts for r in sharded.records(shard)] == list(read_dataset().training)
        assert (sharded.total, sharded.records(1), sharded.bad_ids()) == (3, [], {"c"})


def test_a_table_of_somebody_else_is_no_data_set(project):
    """Damage and foreign files end in the same two lines."""
    pq.write_table(pa.table({"x": [1]}), dataset.IMAGES)
    with pytest.raises(DataError, match="not a table of labelfactory"):
        ShardedDataset()
