"""Expected IoUs brought to the level of audited ones: planted errors are found, and no image sees its own truth."""

import numpy as np
import pytest

from labelfactory.errors import ShapeError
from labelfactory.level.refit import FOLDS, fold_of, moved, refit


def planted(seed: int = 0, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Expected IoUs 0.1 too low, 0.2 in class 2; true ones, classes and folds."""
    random = np.random.default_rng(seed)
    classes, folds = random.integers(0, 3, n), random.integers(0, FOLDS, n)
    truth = random.uniform(0.4, 0.9, n)
    expected = truth - 0.1 - 0.1 * (classes == 2) + random.normal(0, 0.01, n)
    return expected, truth, classes, folds


def test_planted_errors_are_found():
    expected, truth, classes, folds = planted()
    found = moved(refit(expected, truth, classes, folds, 4), expected, classes, folds)
    assert np.abs(found - truth).mean() < 0.02
    for class_id in range(3):
        assert (found - truth)[classes == class_id].mean() == pytest.approx(0, abs=0.015)


def test_no_image_sees_its_own_truth():
    """Another truth in one fold moves all others and leaves its own images where they are."""
    expected, truth, classes, folds = planted()
    changed = np.where(folds == 1, 0.0, truth)
    before, after = (moved(refit(expected, t, classes, folds, 4), expected, classes, folds) for t in (truth, changed))
    assert np.array_equal(before[folds == 1], after[folds == 1])
    assert (after[folds != 1] < before[folds != 1]).all()


def test_without_evidence_nothing_is_moved():
    expected = np.array([0.0, 0.3, 0.9])
    none = np.array([], dtype=np.float64), np.array([], dtype=np.float64), *[np.array([], dtype=np.int64)] * 2
    found = moved(refit(*none, 2), expected, np.array([0, 1, 1]), np.array([0, 1, 2]))
    assert found == pytest.approx(expected)


def test_a_class_that_was_not_audited_has_the_common_offset_alone():
    expected, truth, classes, folds = planted()
    assert all(line.classes[3] == 0 for line in refit(expected, truth, classes, folds, 4))


def test_what_is_not_expected_stays_nothing_and_all_stay_shares():
    expected, truth, classes, folds = planted()
    lines = refit(expected, truth, classes, folds, 4)
    ends = np.array([0.0, 0.001, 0.999, 1.0])
    found = moved(lines, ends, np.full(4, 2), np.zeros(4, dtype=np.int64))
    assert found[0] == 0
    assert ((found >= 0) & (found <= 1)).all()


def test_folds_are_of_the_photograph():
    assert {fold_of(f"{k:08x}" + 56 * "0") for k in range(20)} == set(range(FOLDS))


def test_sizes_must_fit():
    with pytest.raises(ShapeError, match="2 true ones"):
        refit(np.ones(3), np.ones(2), np.ones(3, dtype=np.int64), np.ones(3, dtype=np.int64), 2)
