"""`benchmarks.level`: what it measures on a small project."""

import numpy as np
import pytest
from reviewed import Reviewed

from benchmarks.level import soft_areas


def test_soft_areas_of_certain_probabilities_are_the_hard_ones(workspace):
    """A model that is sure of its own mask expects it to be right."""
    made = Reviewed(workspace, 4)
    mask = np.kron(made.masks["i001"][::4, ::4], np.ones((4, 4), np.uint8))
    ids = np.arange(4, dtype=np.uint8)
    small = mask[::4, ::4]
    areas = soft_areas(mask, {"class_ids": ids, "probabilities": (small == ids[:, None, None]) * np.uint8(255)}, 4)
    assert areas[0] == pytest.approx(np.bincount(mask.ravel(), minlength=4))
    assert areas[1] == pytest.approx(areas[0])
