"""`benchmarks.level`: what it measures on a small project."""

import re

import numpy as np
import pytest
from reviewed import Reviewed

from benchmarks.level import Population, fitted, soft_areas
from labelfactory.dataset.prepared import read_dataset
from labelfactory.level.ratio import Areas
from labelfactory.review.areas import MASKS, areas_of, expected_areas


def test_soft_areas_of_certain_probabilities_are_the_hard_ones(workspace):
    """A model that is sure of its own mask expects it to be right."""
    made = Reviewed(workspace, 4)
    mask = np.kron(made.masks["i001"][::4, ::4], np.ones((4, 4), np.uint8))
    ids = np.arange(4, dtype=np.uint8)
    small = mask[::4, ::4]
    areas = soft_areas(mask, {"class_ids": ids, "probabilities": (small == ids[:, None, None]) * np.uint8(255)}, 4)
    assert areas[0] == pytest.approx(np.bincount(mask.ravel(), minlength=4))
    assert areas[1] == pytest.approx(areas[0])


def test_fitted_qualities_are_nearer_to_the_truth(workspace):
    """Where all expected areas are off alike; the line names count and seed."""
    made = Reviewed(workspace)
    made.write_quality(bias=-0.3)
    dataset, n_classes = read_dataset(), len(made.workspace.classes) + 1
    areas = np.array([areas_of(made.truth[r.image_id], made.masks[r.image_id], n_classes) for r in dataset.records])
    true = {MASKS: Areas(areas[:, 0], areas[:, 1])}
    whole = Population(dataset, list(dataset.records), true, expected_areas(dataset.records, dataset))
    line = fitted(whole, 30, 0, 5)
    off, after = (float(part) for part in re.findall(r"(\d+\.\d) points off, fitted (\d+\.\d)", line)[0])
    assert line.startswith("single masks, 30 audits, seed 0:")
    assert after < off / 2
