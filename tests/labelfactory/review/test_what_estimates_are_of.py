"""Estimates and expected figures belong to the masks, the model and the answers that they were made from, and to no others."""

import json
import os

import numpy as np
import pytest
from reviewed import SIZE, audited, made, sampled

from labelfactory.dataset.level_record import LEVEL, answers_digest, in_points, read_level, sentence
from labelfactory.dataset.prepared import read_dataset
from labelfactory.review import estimate
from labelfactory.review.areas import expected_areas
from labelfactory.stage.level_now import present_levels

__all__ = ["made"]

pytestmark = pytest.mark.slow  # they type commands over ninety images


def test_after_masks_have_changed_the_old_estimate_is_of_other_digests(made, labelfactory):
    """The kept one is unknown then; a new one is computed from the same answers."""
    audited(made, labelfactory)
    labelfactory("review", "estimate")
    old = read_level()
    assert set(present_levels(old)) == {"masks", "model"}
    assert sentence(old, present_levels(old)).startswith(
        "Estimated mIoU on train from 40 audited images (95 % interval, seed 0): masks"
    )
    image_id = sampled()[0]
    made.masks[image_id] = made.truth[image_id].copy()
    made.write()
    assert set(present_levels(old)) == {"model"}
    assert sentence(old, {}) == (
        "The level of the masks is ± unknown: masks or answers changed since. Type `labelfactory review estimate`."
    )
    labelfactory("review", "estimate")
    assert read_level().estimates["masks"].miou.value > old.estimates["masks"].miou.value
    assert "no image was audited" in sentence(None, {})
    assert in_points(None) == "± unknown"


def test_predictions_of_an_earlier_model_are_not_the_level_of_the_one_on_disk(made, labelfactory):
    """After `labelfactory run train_segmenter` alone: nothing is said of the model until its predictions are there."""
    audited(made, labelfactory, 20)
    labelfactory("review", "estimate")
    assert set(present_levels(read_level())) == {"masks", "model"}
    made.train(seed=7)
    assert set(present_levels(read_level())) == {"masks"}
    labelfactory("review", "estimate")
    assert set(read_level().estimates) == {"masks"}
    made.write()
    labelfactory("review", "estimate")
    assert set(read_level().estimates) == {"masks", "model"}


def test_expected_areas_of_earlier_masks_are_none(made):
    """Between new masks and their rating."""
    dataset = read_dataset()
    assert expected_areas(dataset.records, dataset).known == len(made.masks)
    made.masks["i000"] = np.full(SIZE, 1, np.uint8)
    made.write()
    assert expected_areas(dataset.records, dataset).known == len(made.masks) - 1


def test_an_estimate_of_earlier_answers_is_unknown(made, labelfactory):
    """Answers that came since are not in it."""
    ids = audited(made, labelfactory, 20)
    labelfactory("review", "estimate")
    assert present_levels(read_level())
    made.truth[ids[0]][5:] = 0
    labelfactory("corrections", "add", str(made.draw(ids[0], folder="again")), "--audit")
    assert present_levels(read_level()) == {}
    labelfactory("review", "estimate")
    assert present_levels(read_level())


def test_an_edited_estimate_is_none(made, labelfactory):
    """A figure that somebody changed is shown nowhere."""
    audited(made, labelfactory, 20)
    labelfactory("review", "estimate")
    kept = json.loads(LEVEL.read_text())
    kept["record"]["estimates"]["masks"]["miou"]["value"] = 0.99
    LEVEL.write_text(json.dumps(kept))
    assert read_level() is None


def test_qualities_are_fitted_to_audited_images(made, labelfactory):
    """Expected IoUs that are all too low are moved up, and `quality` says by how much they were off."""
    made.write_quality(bias=-0.3)
    audited(made, labelfactory)
    labelfactory("review", "estimate")
    refit = read_level().refit
    assert refit.images >= 30
    assert refit.error < refit.error_without / 2
    shown = labelfactory("quality")
    assert f"quality was {100 * refit.error_without:.1f} points off" in " ".join(shown.split())
    masks = json.loads(labelfactory("quality", "--json"))
    assert all(mask["fitted_quality"] > mask["quality"] for mask in masks if 0 < mask["quality"] < 0.7)
    made.write_quality(bias=-0.2)
    assert "fitted_quality" not in labelfactory("quality", "--json")  # fitted to other figures


def test_a_pipe_among_the_answers_is_waited_for_by_nobody(tmp_path):
    """The report and every export ask whether the estimate is still of these answers."""
    before = answers_digest(tmp_path)
    os.mkfifo(tmp_path / "points.parquet")
    assert answers_digest(tmp_path) == before


def test_masks_that_a_run_makes_while_an_estimate_is_computed(made, labelfactory, monkeypatch):
    """The figure would be of the masks that were read, and named after those that came since."""
    audited(made, labelfactory)
    measured = estimate._measured

    def beside_a_run(*args):
        found = measured(*args)
        first = next(iter(made.masks))
        made.masks[first] = 1 - np.minimum(made.masks[first], 1)
        made.write()
        return found

    with monkeypatch.context() as patched:
        patched.setattr(estimate, "_measured", beside_a_run)
        assert "were changed while the estimate was computed" in labelfactory("review", "estimate", code=2)
    assert not LEVEL.exists()
    labelfactory("review", "estimate")
    assert set(present_levels(read_level())) == {"masks", "model"}
