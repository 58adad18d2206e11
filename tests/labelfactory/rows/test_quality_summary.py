"""All qualities in one view: pixels of a class add up over images, the worst come first, unrated masks are counted."""

from pathlib import Path

import numpy as np
import pytest
from made_line import SIZE, MadeLine
from rated import rate

from labelfactory.dataset.level_record import Figure, in_points
from labelfactory.dataset.prepared import read_dataset
from labelfactory.rows.quality_summary import ClassQuality, QualitySummary, summary_of

PIXELS = SIZE[0] * SIZE[1]


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """Four photographs (tags: none, cat, dog, both); the last mask is not rated."""
    monkeypatch.chdir(tmp_path)
    made = MadeLine()
    dataset = read_dataset()
    quality = {"image-0": 1.0, "image-1": 0.5, "image-2": 0.2}
    of_classes = {"image-0": {0: 1.0}, "image-1": {0: 0.8, 1: 0.2}, "image-2": {0: 0.3, 1: 0.1, 2: 0.1}}
    rate(dataset.records, dataset.classes.names, quality, of_classes)
    return made


def test_the_summary_by_hand(line):
    """The support's areas equal the IoU; image-2 is no cat, so it is none of the worst cats, but its pixels count."""
    found = summary_of(read_dataset(), worst=1)
    assert [mask.image_id for mask in found.masks] == ["image-2", "image-1", "image-0"]
    assert found.mean == pytest.approx(17 / 30)
    assert found.unrated == 1
    by_name = {each.name: each for each in found.classes}
    assert by_name["background"].images == 3
    assert by_name["cat"].worst == ("image-1",)
    assert (by_name["cat"].images, by_name["dog"].images) == (1, 1)
    assert found.masks[1].areas["cat"] == pytest.approx((0.2 * PIXELS, 0.2 * PIXELS))
    assert found.masks[1].iou == pytest.approx({"background": 0.8, "cat": 0.2})


def test_without_ratings_there_is_nothing(line):
    for path in Path("data/quality").iterdir():
        path.unlink()
    found = summary_of(read_dataset(), worst=1)
    assert (found.masks, found.unrated) == ((), 4)
    assert np.isnan(found.mean)
    assert found.sentences({}) == []


def test_poor_classes_are_named_worst_first():
    classes = (
        ClassQuality("background", 9, 0.9, ()),
        ClassQuality("cat", 5, 0.45, ()),
        ClassQuality("dog", 5, 0.3, ()),
        ClassQuality("fox", 0, 0.0, ()),
    )
    found = QualitySummary((), classes, 0)
    assert found.sentences({}) == [
        "The masks of dog are probably poor (30 ± unknown): 50 audited images would tell.",
        "The masks of cat are probably poor (45 ± unknown): 50 audited images would tell.",
    ]
    audited = {
        "dog": Figure(value=0.41, low=0.32, high=0.5, images=12),
        "cat": Figure(value=0.8, low=0.7, high=0.9, images=20),
    }
    (sentence,) = found.sentences(audited)  # the cats are better than they look
    assert sentence == f"The masks of dog are poor: {in_points(audited['dog'])} by audited images."
