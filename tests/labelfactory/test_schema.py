"""Class numbers: order, limits, and the way from channels to class ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfactory.errors import DataError, ShapeError
from labelfactory.schema import MAX_CLASSES, VOID, Classes, labels_from_channels, palette

CLASSES = Classes(("cat", "dog", "horse"))


def test_ids_follow_the_data_sets_order_and_not_the_tags():
    """Class id = position + 1, ascending, each once; no tag is a legal negative."""
    assert CLASSES.ids(["horse", "cat", "cat"]).tolist() == [1, 3]
    assert CLASSES.ids([]).tolist() == []
    assert CLASSES.ids([]).dtype == np.uint8
    assert CLASSES.multi_hot(["horse", "cat"]).tolist() == [1.0, 0.0, 1.0]
    assert CLASSES.multi_hot([]).tolist() == [0.0, 0.0, 0.0]
    assert CLASSES.with_background == ("background", "cat", "dog", "horse")


def test_an_unknown_tag_is_named_with_the_nearest_class():
    """Never left out in silence."""
    with pytest.raises(DataError, match="tag 'hrse' is not a class; did you mean `horse`"):
        CLASSES.ids(["cat", "hrse"])
    with pytest.raises(DataError):
        CLASSES.multi_hot(["hrse"])


@pytest.mark.parametrize("names", [(), ("a", "b", "a"), tuple(map(str, range(MAX_CLASSES + 1)))])
def test_impossible_classes_are_refused(names):
    """None, one named twice, more than a byte can number beside background and void."""
    with pytest.raises(DataError):
        Classes(names)


def test_the_last_class_is_not_void():
    """254 classes fit: ids 1 … 254."""
    names = tuple(f"c{k}" for k in range(MAX_CLASSES))
    assert Classes(names).ids(names).max() == VOID - 1


@given(ids=st.lists(st.integers(1, 254), unique=True, max_size=6), data=st.data())
def test_channels_become_class_ids(ids, data):
    """Channel 0 is the background, channel k + 1 is class_ids[k]; a reference in plain loops."""
    channels = data.draw(st.lists(st.integers(0, len(ids)), min_size=1, max_size=12))
    labels = labels_from_channels(np.array([channels]), np.array(sorted(ids), dtype=np.uint8))
    assert labels.dtype == np.uint8
    assert labels[0].tolist() == [0 if c == 0 else sorted(ids)[c - 1] for c in channels]


@pytest.mark.parametrize("channel", [3, -1, 300])
def test_a_channel_that_is_not_there_is_a_bug(channel):
    """Also a negative one, which numpy would count from the end."""
    with pytest.raises(ShapeError):
        labels_from_channels(np.array([[0, channel]]), [7, 9])


def test_the_palette_is_vocs():
    """By hand: background, aeroplane, bicycle, cat, dog, person, TV monitor, void."""
    colours = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 8: (64, 0, 0), 12: (64, 0, 128), 15: (192, 128, 128)}
    colours |= {20: (0, 64, 128), 255: (224, 224, 192)}
    assert {k: tuple(palette()[k].tolist()) for k in colours} == colours
    assert len({tuple(c) for c in palette().tolist()}) == 256
