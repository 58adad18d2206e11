"""Estimates in the ledger and in what goes out: each belongs to the digests that it was measured on."""

import json

import pytest
from made_line import MadeLine, recorded_line

from labelfactory.dataset.level_record import UNKNOWN, Figure, LevelOf, LevelRecord, figures_of, write_level
from labelfactory.stage.level_now import present_level
from labelfactory.stage.output_state import passport_of, states
from lineage.audit import audit_model
from lineage.ledger import Ledger
from lineage.level import record_level
from lineage.lookup import Lookup
from lineage.outbox import Outbox
from lineage.record import record
from lineage.resend import resend


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project with four images in which everything was made once and recorded."""
    return recorded_line(tmp_path, monkeypatch)


def estimated(value: float = 0.7) -> LevelRecord:
    """An estimate of what is on disk."""
    figure = Figure(value=value, low=value - 0.03, high=value + 0.03, images=50)
    few = Figure(value=0.5, low=None, high=None, images=4)

    def level(output: str) -> LevelOf:
        iou = {"background": figure, "cat": few}
        return LevelOf(
            output=output,
            images=50,
            population=400,
            expected=400,
            weight=0.8,
            miou=figure,
            iou=iou,
            half_without=0.05,
            more=90,
        )

    return LevelRecord(
        list="train",
        seed=3,
        drawn=50,
        population=400,
        audited=50,
        by_points=0,
        lost={},
        not_covered=0,
        estimates={"masks": level("masks"), "model": level("segmenter")},
        measured=tuple(states(["masks", "segmenter"], ["train"])),
    )


def letters() -> list[dict]:
    return [letter.detail for letter in Outbox(Ledger().folder / "outbox").letters() if letter.kind == "level"]


def test_an_audit_of_a_model_has_its_level(line):
    """With interval, sample and seed; the last one holds; the same one is written once."""
    assert audit_model(Lookup(), "latest")["level"] == UNKNOWN
    record_level(estimated(), Ledger())
    record_level(estimated(), Ledger())
    level = audit_model(Lookup(), "latest")["level"]
    assert (level["list"], level["audited"], level["seed"], level["population"]) == ("train", 50, 3, 400)
    assert level["figures"]["level/train/masks/miou"] == 0.7
    assert (level["figures"]["level/train/model/miou_low"], level["figures"]["level/train/model/miou_high"]) == (
        0.67,
        0.73,
    )
    assert "level/train/masks/iou/cat_low" not in level["figures"]
    assert set(level["measured"]) == {"masks", "segmenter", "train"}
    assert len(letters()) == 1
    record_level(estimated(0.8), Ledger())
    assert audit_model(Lookup(), "latest")["level"]["figures"]["level/train/masks/miou"] == 0.8


def test_an_estimate_that_comes_again_is_the_last_one(line):
    """Answers right, then wrong, then right again: the level is that of the last estimate, and each is sent."""
    for value in (0.7, 0.8, 0.7):
        record_level(estimated(value), Ledger())
        assert audit_model(Lookup(), "latest")["level"]["figures"]["level/train/masks/miou"] == value
    assert len(letters()) == 3


def test_an_estimate_is_of_the_model_whose_weights_were_looked_at(line):
    """Not of a later one that learnt from the same masks."""
    first = estimated()
    line.train("segmenter", {"classifier": passport_of("classifier"), "affinity": passport_of("affinity")}, seed=9)
    record()
    record_level(first, Ledger())
    assert letters()[0]["model"] == Lookup().model("segmenter@1").digest


def test_a_model_that_comes_after_has_none(line):
    """The one before keeps its own."""
    record_level(estimated(), Ledger())
    line.run(seed=1)
    record()
    assert audit_model(Lookup(), "latest")["level"] == UNKNOWN
    assert audit_model(Lookup(), "segmenter@1")["level"]["audited"] == 50


def test_a_letter_has_the_figures_of_the_model(line):
    """And is written again for a store that has lost everything."""
    record_level(estimated(), Ledger())
    (detail,) = letters()
    assert detail["figures"] == dict(figures_of(estimated(), estimated().estimates))
    assert detail["model"] == Lookup().model("latest").digest
    for letter in Outbox(Ledger().folder / "outbox").letters():
        letter.done()
    resend(Ledger(), Outbox(Ledger().folder / "outbox"))
    assert letters() == [detail]


def test_an_estimate_of_masks_that_have_changed_is_unknown(line):
    """Present levels are those of the digests on disk; of one output alone, of that."""
    assert present_level() is None
    write_level(estimated())
    assert set(present_level("masks")["figures"]) == {
        key for key, _ in figures_of(estimated(), estimated().estimates) if "/masks/" in key
    }
    line.run(refine_crf="changed")
    assert present_level("masks") is None
    assert json.dumps(present_level("segmenter")) == "null"  # it learnt from the new masks
