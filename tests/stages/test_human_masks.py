"""A mask that a person drew, in ledger, audits, verification and withdrawal: each of them knows who made it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_line import COLUMNS, MadeLine

from labelfactory.dataset.corrections import HUMAN, read_corrections, store_mask, write_corrections
from labelfactory.learning.checkpoints import Passport, read_passport
from labelfactory.rows.header import shard_schema
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import ShardFolder, finish, rows_table
from lineage.audit import audit_model
from lineage.diff import diff
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.mask_audit import audit_mask
from lineage.pixel import audit_pixel
from lineage.record import record
from lineage.removal import remove
from lineage.verify import verify
from lineage.withdraw import begin, touched_by
from lineage.withdrawal_report import search, traces_of


@pytest.fixture
def line(tmp_path, monkeypatch):
    """A project of four images, recorded; then the mask of image-2 is a person's, and all was made and recorded again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    made = MadeLine()
    record()
    image = next(r for r in made.dataset.records if r.image_id == "image-2")
    drawn = np.zeros((image.height, image.width), np.uint8)
    drawn[3:9, 4:12] = 2
    write_corrections([store_mask("image-2", image.sha256, drawn, made.dataset.classes)])
    human_row(made, drawn)
    record()
    return made


def human_row(made: MadeLine, drawn: np.ndarray) -> None:
    """Leave what refine_crf and train_segmenter leave where image-2 has a correction."""
    columns = COLUMNS["refine_crf"]
    correction = read_corrections()["image-2"]
    old = RowReader(Path("data/masks"))
    finished = []
    for image in made.dataset.training:
        stored = pq.read_table("data/masks/shard-00000.parquet").to_pylist()[image.position]
        inputs = json.loads(stored["inputs"])
        row = dict(old[image.image_id])
        if image.image_id == "image-2":
            keep = ("stage", "format", "code", "classes", "image", "tags")
            inputs = {name: inputs[name] for name in keep} | {"correction": correction.digest}
            row |= {"mask": drawn, "source": HUMAN, "agreement": 1.0, "mean_confidence": 1.0}
        finished.append(finish(image.image_id, inputs, row, columns))
    schema = shard_schema("refine_crf", columns, made.dataset.classes.names)
    ShardFolder(Path("data/masks")).write(0, rows_table(finished, schema))
    made.report("refine_crf", rows_computed=1, change="corrected")
    parents = {noun: passport(noun) for noun in ("classifier", "affinity")}
    made.train("segmenter", parents, seed=0)
    path = Path("data/segmenter/training_rows.parquet")
    table = pq.read_table(path)
    sources = ["human" if i == "image-2" else "refine_crf" for i in table.column("image_id").to_pylist()]
    pq.write_table(table.set_column(2, "source", [sources]), path)
    made.commit()


def passport(noun: str) -> Passport:
    return read_passport(Path(f"data/{noun}/checkpoint.safetensors"))


def test_every_audit_knows_the_person(line):
    """Mask, model, pixel and diff say human; nothing that the line made stands in the chain behind it."""
    lookup = Lookup()
    chain = audit_mask(lookup, "image-2")
    assert [v["source"] for v in chain["versions"]] == ["refine_crf", HUMAN]
    assert [step["step"] for step in chain["chain"]] == ["photograph", "tags", "mask (human)"]
    assert chain["chain"][-1]["made_by"]["correction"] == read_corrections()["image-2"].digest
    trained = {t["source"]: t["rows"] for t in audit_model(lookup, "segmenter@2")["training"]}
    assert trained == {"refine_crf": 3, HUMAN: 1}
    said = audit_pixel("image-2", 5, 5)
    assert (said["because"], said["steps"][-1]["source"]) == ("A human decided: dog.", HUMAN)
    found = diff(lookup, "segmenter@1", "now")
    assert (found["changed"], set(found["causes"])) == (["image-2"], {HUMAN})
    assert found["causes"][HUMAN]["pixels"] > 0
    assert diff(lookup, "now", "segmenter@1")["causes"] == found["causes"]
    assert verify() == []


def test_a_pixel_of_an_image_without_walk_has_its_person(line):
    """CAM and walk were quarantined: the answer has the one step that there is."""
    for noun in ("walks", "cams"):
        shutil.rmtree(f"data/{noun}")
    said = audit_pixel("image-2", 0, 0)
    assert [step["step"] for step in said["steps"]] == [HUMAN]
    assert said["because"] == "A human decided: background."


def test_verify_names_a_correction_that_was_changed(line):
    """A flipped bit in the person's PNG; a lost one."""
    path = read_corrections()["image-2"].path()
    intact = path.read_bytes()
    path.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    assert [(f.where, f.what) for f in verify()] == [(str(path), "changed since it was added")]
    path.unlink()
    assert [f.what for f in verify()] == ["No such file or directory"]
    path.write_bytes(intact)
    assert verify() == []


def test_a_withdrawn_image_takes_its_correction_along(line):
    """Row and PNG go; the event names the file before."""
    ledger = Ledger()
    withdrawal = begin(ledger, touched_by(Lookup(ledger), ["image-2"]), by="t", reason="")
    path = read_corrections()["image-2"].path()
    assert str(path) in [file.path for file in withdrawal.files]
    assert any("data/corrections" in place for place in search(traces_of(Lookup(), withdrawal)).lines)
    remove(withdrawal)
    assert read_corrections() == {}
    assert not path.exists()
    assert not any("data/corrections" in place for place in search(traces_of(Lookup(), withdrawal)).lines)
