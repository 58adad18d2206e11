"""What is kept of each image's score: its pixels by true and predicted class, and what they add up to."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfactory.level.paired import miou_of
from labelfactory.metrics import Confusion
from labelfactory.rows.scored import PIXELS_TYPE, areas_of, cells_to_value
from labelfactory.schema import VOID


def column(confusions: list[Confusion]) -> pa.ChunkedArray:
    """As it lies in the table, in two chunks."""
    values = [cells_to_value(confusion.cells()) for confusion in confusions]
    return pa.chunked_array([pa.array(values[:1], PIXELS_TYPE), pa.array(values[1:], PIXELS_TYPE)])


@given(st.data())
def test_areas_are_those_of_the_confusion(data):
    """Of any images with any classes, void pixels on either side, and images in which nothing is known."""
    seed, images = data.draw(st.integers(0, 2**16)), data.draw(st.integers(0, 5))
    rng, confusions, whole = np.random.default_rng(seed), [], Confusion(4)
    for _ in range(images):
        truth, predicted = rng.choice([0, 1, 3, VOID], (2, 6, 7)).astype(np.uint8)
        confusions.append(Confusion(4))
        for each in (confusions[-1], whole):
            each.add(truth, predicted)
    areas = areas_of(column(confusions), 4)
    assert areas.union.shape == (images, 4)
    assert miou_of(areas) == pytest.approx(whole.miou(), nan_ok=True)
    for k, confusion in enumerate(confusions):
        iou = np.divide(areas.intersection[k], areas.union[k], out=np.full(4, np.nan), where=areas.union[k] > 0)
        assert iou == pytest.approx(confusion.iou(), nan_ok=True)


def test_only_what_occurs_is_kept():
    """One right pixel of class 2, one of class 1 that is taken for 0, and one where nothing was decided."""
    confusion = Confusion(3)
    confusion.add(np.array([[2, 1, 1, VOID]], np.uint8), np.array([[2, 0, VOID, 1]], np.uint8))
    assert confusion.cells().tolist() == [[1, 0, 1], [1, VOID, 1], [2, 2, 1]]
    assert Confusion(3).cells().shape == (0, 3)


def test_a_class_beyond_the_others_is_refused():
    with pytest.raises(IndexError):
        areas_of(pa.chunked_array([pa.array([cells_to_value(np.array([[7, 7, 1]], np.uint32))], PIXELS_TYPE)]), 3)
