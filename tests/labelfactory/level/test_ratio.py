"""The estimator of IoU and mIoU: laws, small cases, and coverage by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfactory.errors import ShapeError
from labelfactory.level.ratio import Areas, Points, estimate, joined
from labelfactory.level.strata import drawn, make_design


def population(seed: int = 0, n: int = 200, classes: int = 3) -> tuple[Areas, Areas, np.ndarray]:
    """True areas, expected ones that know something of them, and strata."""
    random = np.random.default_rng(seed)
    has = np.column_stack([np.ones(n, bool), random.integers(1, classes, n)[:, None] == np.arange(1, classes)])
    union = has * random.gamma(2.0, 300.0, (n, classes))
    quality = random.normal(0.9, 0.9, (n, 1))
    iou = 1 / (1 + np.exp(-(quality + random.normal(0, 0.4, (n, classes)))))
    guess = 1 / (1 + np.exp(-(quality + random.normal(0, 0.6, (n, classes)))))
    expected = union * random.normal(1, 0.1, (n, classes)).clip(0.5)
    return Areas(union * iou, union), Areas(expected * guess, expected), has[:, 1:].argmax(axis=1)


def true_iou(areas: Areas) -> np.ndarray:
    return areas.intersection.sum(axis=0) / areas.union.sum(axis=0)


@given(seed=st.integers(0, 50))
def test_a_set_that_is_audited_whole_has_no_error(seed):
    """Whatever was expected of it."""
    truth, expected, stratum = population(seed, 40)
    found = estimate(expected, stratum, np.arange(40), truth)
    assert found.miou.value == pytest.approx(true_iou(truth).mean())
    assert found.miou.half == pytest.approx(0, abs=1e-9)
    assert [each.value for each in found.iou] == pytest.approx(true_iou(truth))


@given(seed=st.integers(0, 50))
def test_what_was_expected_rightly_is_found_from_any_sample(seed):
    """If expected areas are the true ones, λ is 1 and there is no error."""
    truth, _, stratum = population(seed, 60)
    audited = np.random.default_rng(seed).permutation(60)[:20]
    found = estimate(truth, stratum, audited, truth.of(audited))
    assert found.weight == pytest.approx(1)
    assert found.miou.value == pytest.approx(true_iou(truth).mean())
    assert found.miou.half == pytest.approx(0, abs=1e-6)


def test_nothing_expected_is_the_plain_estimate():
    """Weighted sums of the audited images, stratum by stratum."""
    truth, _, stratum = population(3)
    design = make_design(list(map(str, stratum)), np.zeros(200), np.ones(200), 40)
    audited = np.flatnonzero(drawn(design, np.random.default_rng(0).random(200)))
    nothing = Areas(np.zeros((200, 3)), np.zeros((200, 3)))
    found = estimate(nothing, stratum, audited, truth.of(audited))
    weight = (np.bincount(stratum) / np.bincount(stratum[audited]))[stratum[audited]]
    part = truth.of(audited)
    assert [each.value for each in found.iou] == pytest.approx((weight @ part.intersection) / (weight @ part.union))
    plain = estimate(nothing, stratum, audited, part, assisted=False)
    assert (found.miou, found.weight) == (plain.miou, 0) == (plain.miou, plain.weight)


def test_bad_expectations_cost_width_and_no_truth():
    """Areas that have nothing to do with the truth: λ is near 0, and the estimate is as right as without."""
    truth, _, stratum = population(4)
    noise = Areas(*np.random.default_rng(1).random((2, 200, 3)))
    values, plain = [], []
    for seed in range(60):
        audited = np.random.default_rng(seed).permutation(200)[:40]
        values.append(estimate(noise, 0 * stratum, audited, truth.of(audited)).miou.value)
        plain.append(estimate(noise, 0 * stratum, audited, truth.of(audited), assisted=False).miou.value)
    assert abs(np.mean(values) - true_iou(truth).mean()) < 0.01
    assert np.std(values) < 1.15 * np.std(plain)


@pytest.mark.slow
@pytest.mark.parametrize("assisted", [True, False])
def test_the_interval_covers(assisted):
    """Of 400 samples of 40, some 95 % have an interval with the true mIoU; it is narrower with what is expected."""
    truth, expected, stratum = population(5)
    design = make_design(list(map(str, stratum)), expected.union.sum(axis=1), expected.union.sum(axis=1), 40)
    inside, halves = 0, []
    for seed in range(400):
        audited = np.flatnonzero(drawn(design, np.random.default_rng(seed).random(200)))
        found = estimate(expected, design.stratum, audited, truth.of(audited), assisted=assisted).miou
        inside += found.low <= true_iou(truth).mean() <= found.high
        halves.append(found.half)
    assert 0.92 <= inside / 400 <= 0.985
    assert (np.mean(halves) < 0.045) == assisted


@pytest.mark.slow
def test_the_interval_covers_with_points_in_place_of_masks():
    """Twenty points an image: what they do not know of an image is in the interval."""
    random = np.random.default_rng(0)
    n, pixels, count = 150, 400, 20
    truth = np.zeros((n, 2, 2))
    at = np.zeros((n, pixels, 2, 2))
    for k in range(n):
        true = random.random(pixels) < random.uniform(0.2, 0.6)
        mask = true ^ (random.random(pixels) < random.beta(1, 6))
        ids = np.arange(2) == 1
        is_true, is_mask = true[:, None] == ids, mask[:, None] == ids
        at[k] = np.stack([is_true & is_mask, is_true | is_mask], axis=1) * float(pixels)
        truth[k] = at[k].mean(axis=0)
    whole = Areas(truth[:, 0], truth[:, 1])
    inside, narrow = 0, 0
    for _ in range(300):
        audited = random.permutation(n)[:30]
        chosen = np.stack([at[k][random.integers(0, pixels, count)] for k in audited])
        answered = chosen.mean(axis=1)
        owner = np.repeat(np.arange(30), count)
        every = chosen.reshape(-1, 2, 2)
        points = Points(owner, Areas(every[:, 0], every[:, 1]))
        zero, stratum = Areas(np.zeros((n, 2)), np.zeros((n, 2))), np.zeros(n, dtype=np.int64)
        found = estimate(zero, stratum, audited, Areas(answered[:, 0], answered[:, 1]), points=points).miou
        without = estimate(zero, stratum, audited, Areas(answered[:, 0], answered[:, 1])).miou
        inside += found.low <= true_iou(whole).mean() <= found.high
        narrow += without.half < found.half
    assert 0.92 <= inside / 300 <= 0.985
    assert narrow == 300


def test_a_class_with_few_audited_images_has_no_interval():
    """Below ten there is a value; a class that no audited image has is left out of the mean."""
    truth, expected, stratum = population(6)
    rare = Areas(
        *(np.column_stack([a, np.r_[np.full(5, 9.0), np.zeros(195)]]) for a in (truth.intersection, truth.union))
    )
    guess = Areas(*(np.column_stack([a, np.zeros(200)]) for a in (expected.intersection, expected.union)))
    audited = np.arange(0, 200, 4)
    found = estimate(guess, 0 * stratum, audited, rare.of(audited))
    assert found.iou[3].value == 1
    assert np.isnan(found.iou[3].low)
    assert found.iou[3].images == 2
    without = estimate(guess, 0 * stratum, np.arange(5, 200, 4), rare.of(np.arange(5, 200, 4)))
    assert np.isnan(without.iou[3].value)
    assert without.miou.value == pytest.approx(np.mean([each.value for each in without.iou[:3]]))


def test_how_many_more():
    """With that many more, the half width is the one that was asked for; a wider one needs none."""
    truth, expected, stratum = population(7)
    audited = np.random.default_rng(0).permutation(200)[:40]
    error = estimate(expected, 0 * stratum, audited, truth.of(audited)).error
    more = error.more_for(0.02)
    assert more is not None
    assert 0 < more < 160
    assert error.half_with(1 + more / 40) == pytest.approx(0.02, abs=0.001)
    assert error.more_for(0.5) == 0
    assert error.more_for(1e-9) in (159, 160)


def test_neighbours_are_joined_until_two_images_were_audited():
    """Strata that nobody has audited yet belong to the next one; the last to the one before."""
    stratum = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    assert joined(stratum, np.array([0, 2, 3])).tolist() == [0] * 8
    assert joined(stratum, np.array([0, 1, 4, 5])).tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    assert joined(stratum, np.arange(8)).tolist() == stratum.tolist()


def test_shapes_must_fit():
    """A bug of the caller is no estimate."""
    truth, expected, stratum = population(8)
    with pytest.raises(ShapeError):
        estimate(expected, stratum, np.array([1]), truth.of(np.array([1])))
    with pytest.raises(ShapeError):
        Areas(np.zeros((2, 3)), np.zeros((3, 2)))
