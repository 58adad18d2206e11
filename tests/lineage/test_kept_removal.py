"""What the store keeps of a withdrawn image goes: rows, networks that saw it, and networks that were made with such a network."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from made_line import MadeLine, recorded_line
from passports import passport
from withdrawing import began, left, signed

from labelfactory.dataset.manifest import read_manifest, write_manifest
from labelfactory.digests import digest_rows
from labelfactory.learning.checkpoints import CHECKPOINT, TRAINING_ROWS, read_passport, save_checkpoint
from labelfactory.learning.training_rows import write_training_rows
from labelfactory.rows.kept import KeptRows
from labelfactory.rows.shards import ShardFolder
from labelfactory.store.entries import STORE, entries, trim
from labelfactory.store.entries import remove as remove_entry
from labelfactory.store.limit import VARIABLE
from labelfactory.store.outputs import keep_output
from lineage.ledger import Ledger
from lineage.record import record
from lineage.removal import remove
from lineage.withdraw import begin_elsewhere
from lineage.withdrawals import read_withdrawals

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


def photographs() -> dict[str, str]:
    return {entry.image_id: entry.sha256 for entry in read_manifest().entries}


def other(name: str, rows: Mapping[str, str], *parents: str, told: bool = True) -> Path:
    """Keep a network that learnt from these photographs, id → SHA-256, and was made with the networks in these folders.

    `told`: it says so itself, as one of an earlier version does not.
    """
    folder, digests = Path(f"other/{name}"), dict.fromkeys(rows, "d")
    passports = {Path(parent).name: read_passport(Path(parent) / CHECKPOINT).weights_digest for parent in parents}
    about = {"key": name, "parents": passports, "training_rows_digest": digest_rows(digests.items())}
    save_checkpoint(
        folder / CHECKPOINT, {"w": torch.frombuffer(bytearray(name.encode()), dtype=torch.uint8)}, passport(**about)
    )
    write_training_rows(folder, digests, dict.fromkeys(rows, "tags"), rows, map(Path, parents))
    if not told:
        untold(folder)
    (folder / "curve.csv").touch()
    network("teacher", folder)
    return folder


def untold(folder: Path) -> None:
    """Write the list of rows as an earlier version did."""
    rows = pq.read_table(folder / TRAINING_ROWS).select(["image_id", "digest", "source"])
    pq.write_table(rows.replace_schema_metadata(None), folder / TRAINING_ROWS)


def names(noun: str = "teacher") -> list[str]:
    return sorted(entry.path.name for entry in entries(noun))


def kept_images(noun: str) -> set[str]:
    tables = [pq.read_table(next(entry.path.glob("*.parquet"))) for entry in entries(noun)]
    return {image_id for table in tables for image_id in table.column("image_id").to_pylist()}


def test_nothing_of_it_is_left_in_the_store_and_the_rest_stays(line):
    """Before the line runs again, and after it: what shows the image is not kept when it is replaced."""
    seen = photographs()
    three = {"image-3": seen["image-3"]}
    other("innocent", {"image-2": seen["image-2"], **three})
    other("guilty", seen)
    other("heir", three, "other/guilty")
    other("grandchild", three, "other/heir")
    other("friend", three, "other/innocent")
    (STORE / "teacher/damaged").mkdir()
    (STORE / "teacher/damaged" / CHECKPOINT).write_bytes(b"who knows")
    withdrawal = began("image-1")
    assert any(found.startswith("data/store/masks/") for found in left(withdrawal))
    remove(withdrawal)
    remove(withdrawal)
    assert not any("data/store" in found for found in left(withdrawal))
    assert [entry.noun for entry in entries() if entry.noun in NETWORKS] == []
    assert names() == ["friend", "innocent"]
    for noun in ROWS:
        assert kept_images(noun) == kept_images("cams") != set()
        assert "image-1" not in kept_images(noun)
    line.run(refine_crf="second", seed=1)
    keep_all()
    record()
    report, _ = signed(withdrawal)
    assert report["complete"]


def test_under_an_id_that_no_ledger_knows(line):
    """What a network saw is known by the bytes: an import that was never recorded had called them otherwise."""
    seen = photographs()
    other("renamed", {"cats/1": seen["image-1"]})
    other("namesake", {"cats/1": seen["image-2"]})
    remove(began("image-1"))
    assert names() == ["namesake"]


@pytest.mark.parametrize("told", [True, False])
def test_the_heir_of_a_network_that_is_not_in_the_store(line, told):
    """The parent was trimmed: the heir says itself what it has seen; one that does not tell goes too."""
    three = {"image-3": photographs()["image-3"]}
    parents = [other("guilty", photographs(), told=told), other("innocent", three, told=told)]
    other("heir", three, "other/guilty")
    other("grandchild", three, "other/heir")
    other("friend", three, "other/innocent")
    for parent in parents:
        remove_entry(STORE / "teacher" / parent.name)
    remove(began("image-1"))
    assert names() == (["friend"] if told else [])


def test_what_tells_nothing_goes_unless_the_ledger_tells(line):
    """Networks of an earlier version, whose lists have no photographs: recorded ones stay if all behind them is innocent."""
    three = {"image-3": photographs()["image-3"]}
    write_manifest(
        replace(read_manifest(), entries=tuple(e for e in read_manifest().entries if e.image_id != "image-1"))
    )
    line.run(seed=2)
    record()
    trim(0)
    for noun in NETWORKS:
        network(noun, Path("data") / noun)
    other("stranger", three, told=False)
    remove(began("image-1"))
    assert {noun: len(entries(noun)) for noun in (*NETWORKS, "teacher")} == {**dict.fromkeys(NETWORKS, 1), "teacher": 0}
    remove(began("image-2"))
    assert entries() == []


def test_a_withdrawal_that_names_no_image(line):
    """One of another machine, of a photograph that nothing here was recorded of."""
    foreign = {"cats/1": "f" * 64}
    other("foreign", foreign)
    other("heir", {"image-3": photographs()["image-3"]}, "other/foreign")
    other("innocent", photographs())
    begin_elsewhere(Ledger(), {"f" * 64}, by="another machine", reason="withdrawn there")
    (withdrawal,) = read_withdrawals(Ledger())
    assert withdrawal.images == ()
    remove(withdrawal)
    assert names() == ["innocent"]


@pytest.mark.parametrize("where", [".", ".dvc/tmp/exps/standalone/tmp1"])
def test_an_output_that_still_shows_it_is_not_kept(line, monkeypatch, where):
    """Between `withdraw --later` and the run that follows the outputs are as they were; so are those of a sweep's variant."""
    remove(began("image-1"))
    shard = Path("data/masks/shard-00000.parquet").absolute()
    table = ShardFolder(shard.parent).table(0)
    before = [entry.path.name for entry in entries("masks")]
    Path(where).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(where)
    KeptRows("masks", table.schema, "zstd").keep(0, shard, table, replaced=True)
    assert [entry.path.name for entry in entries("masks")] == before
    assert "image-1" not in kept_images("masks")
