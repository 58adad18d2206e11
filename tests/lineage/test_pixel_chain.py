"""Why a pixel has its class, after a run that ended between two stages: nothing is explained by rows that made no mask."""

import shutil
from pathlib import Path

import pytest
from made_line import DATA, MadeLine
from visiting import project, read, visit

from labelfactory.learning.checkpoints import read_passport
from labelfactory.rows.reader import RowReader
from labelfactory.settings.thresholds import Threshold, thresholds_digest, write_thresholds
from lineage.pixel import AGAIN, audit_pixel
from lineage.record import record

pytestmark = pytest.mark.filterwarnings("ignore:.*httpx.*:DeprecationWarning")  # Starlette's own, about its test client
ALL = {"CAM", "walk", "CRF"}


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project of four images in which everything was made once and recorded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    made = MadeLine()
    record()
    return made


def explained() -> set[str]:
    """The steps that have a winner; the others have no number at all, and the sentence names them."""
    answer = audit_pixel("image-3", 5, 7)
    known = {step["step"] for step in answer["steps"] if "winner" in step}
    for step in answer["steps"]:
        assert step["step"] in known or set(step) == {"step", "note"}
    assert all(name in answer["because"] for name in ALL)
    assert (AGAIN in answer["because"]) == (known != ALL)
    assert answer["class"] in answer["because"]
    return known


def walk_again(change: str = "other") -> None:
    """`random_walk` alone, with another parameter."""
    MadeLine.here().rows(
        "random_walk", {"affinity": read_passport(DATA / "affinity/checkpoint.safetensors").weights_digest}, change
    )


def cams_again() -> None:
    """`extract_cams` alone."""
    MadeLine.here().rows("extract_cams", {}, "other")


def set_threshold(noun: str, value: float) -> None:
    """The calibrating stage alone."""
    write_thresholds(DATA / noun, {"background": Threshold(value, "auto")})


def test_a_walk_that_was_made_again_explains_nothing(line):
    """Nor does the CAM, which only that walk names; once the mask is made of it, all are there."""
    assert explained() == ALL
    walk_again()
    answer = audit_pixel("image-3", 5, 7)
    assert explained() == {"CRF"}
    assert answer["steps"][-1]["scores"] == {}
    assert "the walk was made again" in answer["steps"][-1]["note"]
    assert answer["class_id"] == int(RowReader(Path("data/masks"))["image-3"]["mask"][7, 5])
    line.rows("refine_crf", {"threshold": thresholds_digest(DATA / "walk_threshold")}, "")
    assert explained() == ALL


def test_a_cam_that_was_made_again(line):
    """The walk is still the mask's."""
    cams_again()
    assert explained() == {"walk", "CRF"}


@pytest.mark.parametrize(("noun", "left"), [("walks", {"CRF"}), ("cams", {"walk", "CRF"})])
def test_rows_that_are_gone(line, noun, left):
    shutil.rmtree(DATA / noun)
    assert explained() == left


def test_thresholds_that_were_chosen_again(line):
    """The mask names the walk's, the walk or the affinity labels those of the seeds; a line that names none has those of now."""
    set_threshold("walk_threshold", 0.25)
    assert explained() == {"CAM", "CRF"}
    set_threshold("walk_threshold", 0.5)
    assert explained() == ALL
    before = thresholds_digest(DATA / "seed_thresholds")
    line.rows("label_affinity", {"thresholds": before}, "")
    assert explained() == ALL
    set_threshold("seed_thresholds", 0.25)
    assert explained() == {"walk", "CRF"}
    line.rows("random_walk", {"thresholds": before}, "")
    line.rows("label_affinity", {"thresholds": thresholds_digest(DATA / "seed_thresholds")}, "")
    line.rows("refine_crf", {"threshold": thresholds_digest(DATA / "walk_threshold")}, "")
    assert explained() == {"walk", "CRF"}
    line.rows("random_walk", {"thresholds": thresholds_digest(DATA / "seed_thresholds")}, "")
    line.rows("refine_crf", {"threshold": thresholds_digest(DATA / "walk_threshold")}, "")
    assert explained() == ALL


def test_the_page_says_the_same_although_it_is_open(line):
    """The walk is made again between two questions, and comes back."""
    backup = shutil.copytree(DATA / "walks", "backup")
    with visit(project()) as client:

        def words() -> str:
            return read(client, "/image/pixel?id=image-3&x=5&y=7").words

        assert AGAIN not in words()
        walk_again()
        assert AGAIN in words()
        shutil.rmtree(DATA / "walks")
        shutil.copytree(backup, DATA / "walks")
        assert AGAIN not in words()
