"""What the store keeps of a withdrawn image goes: rows, networks that saw it, and networks that were made with such a network."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made_line import MadeLine, recorded_line
from passports import passport
from withdrawing import began, left, signed

from labelfactory.learning.checkpoints import CHECKPOINT, TRAINING_ROWS, read_passport, save_checkpoint
from labelfactory.rows.kept import KeptRows
from labelfactory.rows.shards import ShardFolder
from labelfactory.store.entries import STORE, entries
from labelfactory.store.limit import VARIABLE
from labelfactory.store.outputs import keep_output
from lineage.record import record
from lineage.removal import remove

ROWS = ("cams", "affinity_labels", "walks", "masks")
NETWORKS = ("classifier", "affinity", "segmenter")


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project with four images in which everything was made once and recorded; the store has two states of it."""
    made = recorded_line(tmp_path, monkeypatch)
    monkeypatch.setenv(VARIABLE, "1")
    keep_all()
    made.run(refine_crf="second", seed=1)
    keep_all()
    record()
    return made


def keep_all() -> None:
    """Keep every output as a stage would."""
    for noun in ROWS:
        table = pq.read_table(f"data/{noun}/shard-00000.parquet")
        KeptRows(noun, table.schema, "zstd").keep(0, Path(f"data/{noun}/shard-00000.parquet"), table)
    for noun in NETWORKS:
        network(noun, Path("data") / noun)


def network(noun: str, folder: Path) -> str:
    """Keep a network; gives the digest of its weights."""
    key = read_passport(folder / CHECKPOINT).key
    keep_output(noun, key, [folder / TRAINING_ROWS, folder / "curve.csv", folder / CHECKPOINT])
    return read_passport(folder / CHECKPOINT).weights_digest


def other(name: str, *images: str, **parents: str) -> str:
    """Keep a network that learnt from these images and was made with these parents."""
    folder = Path(f"other/{name}")
    folder.mkdir(parents=True)
    table = {"image_id": list(images), "digest": ["d"] * len(images), "source": ["tags"] * len(images)}
    pq.write_table(pa.table(table), folder / TRAINING_ROWS)
    (folder / "curve.csv").touch()
    save_checkpoint(folder / CHECKPOINT, {"w": torch.ones(len(name))}, passport(key=name, parents=parents))
    return network("teacher", folder)


def kept_images(noun: str) -> set[str]:
    tables = [pq.read_table(next(entry.path.glob("*.parquet"))) for entry in entries(noun)]
    return {image_id for table in tables for image_id in table.column("image_id").to_pylist()}


def test_nothing_of_it_is_left_in_the_store_and_the_rest_stays(line):
    """Before the line runs again, and after it: what shows the image is not kept when it is replaced."""
    innocent = other("innocent", "image-2", "image-3")
    heir = other("heir", "image-2", classifier=read_passport(Path("data/classifier") / CHECKPOINT).weights_digest)
    other("grandchild", "image-2", teacher=heir)
    other("friend", "image-2", teacher=innocent)
    (STORE / "teacher/damaged").mkdir()
    (STORE / "teacher/damaged" / CHECKPOINT).write_bytes(b"who knows")
    withdrawal = began("image-1")
    assert any(found.startswith("data/store/masks/") for found in left(withdrawal))
    remove(withdrawal)
    remove(withdrawal)
    assert not any("data/store" in found for found in left(withdrawal))
    assert [entry.noun for entry in entries() if entry.noun in NETWORKS] == []
    assert sorted(entry.path.name for entry in entries("teacher")) == ["friend", "innocent"]
    for noun in ROWS:
        assert kept_images(noun) == kept_images("cams") != set()
        assert "image-1" not in kept_images(noun)
    line.run(refine_crf="second", seed=1)
    keep_all()
    record()
    report, _ = signed(withdrawal)
    assert report["complete"]


def test_an_output_that_still_shows_it_is_not_kept(line):
    """Between `withdraw --later` and the run that follows, the outputs are as they were."""
    remove(began("image-1"))
    shard = Path("data/masks/shard-00000.parquet")
    table = ShardFolder(shard.parent).table(0)
    before = [entry.path for entry in entries("masks")]
    KeptRows("masks", table.schema, "zstd").keep(0, shard, table, replaced=True)
    assert [entry.path for entry in entries("masks")] == before
    assert "image-1" not in kept_images("masks")
