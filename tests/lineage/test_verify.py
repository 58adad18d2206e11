"""`audit verify`: every changed byte is named, and what its passport does not say."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_line import MadeLine, recorded_line

from labelfactory.stage.output_state import passport_of
from lineage.record import record
from lineage.verify import verify
from lineage.verify_outputs import check_inheritance


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project with four images in which everything was made once and recorded."""
    return recorded_line(tmp_path, monkeypatch)


def test_an_untouched_project_fits(line):
    """Before and after another run, shallow and deep."""
    assert verify() == verify(deep=True) == []
    line.run(refine_crf="changed")
    record()
    assert verify(deep=True) == []


TRACKED = ("cams/shard-00000.parquet", "masks/shard-00000.parquet", "segmenter/checkpoint.safetensors",
           "segmenter/training_rows.parquet", "classifier/curve.csv", "dataset/images.parquet", "reports/prepare.json")  # fmt: skip


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(TRACKED), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_every_flipped_bit_of_an_output_is_named(line, name, place, bit):
    """With the offset of the byte, since DVC's cache still holds the true one."""
    path = Path("data") / name
    data = bytearray(path.read_bytes())
    offset = int(place * len(data))
    data[offset] ^= 1 << bit
    intact = path.read_bytes()
    path.write_bytes(data)
    try:
        found = verify()
    finally:
        path.write_bytes(intact)
    assert any(f.where == str(path) and f.what.endswith(f"the first at offset {offset}") for f in found), found


def test_a_forged_mask_is_named(line):
    """A shard rewritten with its digest, as if the line had made it: same key, other digest, once it is recorded."""
    original = line._payload
    line._payload = lambda stage, ids, record, change: original(
        stage, ids, record, "forged" if stage == "refine_crf" else change
    )
    line.run()
    record()
    assert any("was not made by the line" in finding.what for finding in verify())


def test_deep_finds_what_only_the_payload_shows(line):
    """A photograph that changed; a shard whose list DVC no longer knows."""
    Path("data/raw/image-1.png").write_bytes(b"other")
    assert verify() == []
    assert [f.where for f in verify(deep=True)] == ["data/raw/image-1.png"]


def test_a_network_that_does_not_name_what_its_parent_saw_is_named(line):
    line.supervision = ("boxes", "tags")
    line.train("classifier", {}, seed=0)
    (first, second) = check_inheritance()
    assert (first.where, second.where) == tuple(f"data/{n}/checkpoint.safetensors" for n in ("affinity", "segmenter"))
    assert "its passport does not name boxes, which data/classifier does" in first.what
    classifier = passport_of("classifier")
    affinity = line.train("affinity", {"classifier": classifier}, seed=0)
    line.train("segmenter", {"classifier": classifier, "affinity": affinity}, seed=0)
    assert list(check_inheritance()) == []
    line.supervision = ("tags",)
    line.train("classifier", {}, seed=5)  # other weights: not the ones behind the segmenter
    assert list(check_inheritance()) == []
