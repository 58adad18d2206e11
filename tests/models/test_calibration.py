"""A background threshold from the classifier's own judgement, without a true mask."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from labelfactory.errors import ShapeError
from models.calibration import NEUTRAL, Evidence, best_threshold, curve_of_j, explained_colours, masked_evidence


class Brightness(nn.Module):
    """Class 0 is what is brighter than grey, class 1 what is darker: logits from the sum over pixels."""

    def forward(self, images: Tensor) -> Tensor:
        above = (images - NEUTRAL).clamp(min=0).sum(dim=(1, 2, 3)) / 128
        below = (NEUTRAL - images).clamp(min=0).sum(dim=(1, 2, 3)) / 128
        return torch.stack([above, below], dim=1) - 6.0


IMAGE = torch.full((3, 4, 4), NEUTRAL)
IMAGE[:, :, 0] = 255.0  # the object: one bright column, 12 values of 1 above grey


def judge(columns: list[float], thresholds: list[float], class_ids: list[int] | None = None) -> Evidence:
    """Evidence for class scores that are constant down each column."""
    scores = torch.tensor(columns).expand(1, 4, 4)
    return masked_evidence(Brightness(), IMAGE, scores, class_ids or [0], thresholds, size=(4, 4))  # type: ignore[arg-type]


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def test_evidence_by_hand():
    """Everything kept; the object and its neighbour; the object alone; nothing."""
    found = judge([0.9, 0.6, 0.2, 0.2], [0.1, 0.5, 0.9, 0.95])
    assert found.kept == pytest.approx([sigmoid(6)] * 3 + [sigmoid(-6)], abs=1e-6)
    assert found.removed == pytest.approx([sigmoid(-6)] * 3 + [sigmoid(6)], abs=1e-6)
    assert found.area.tolist() == [1.0, 0.5, 0.25, 0.0]
    curve = curve_of_j([found])
    assert curve == pytest.approx(found.kept * (1 - found.removed) * (1 - found.area))
    assert curve.argmax() == 2


def test_only_the_images_own_tags_are_asked_for():
    """Class 1 sees nothing in this photograph, whatever is cut away; two tags give their mean."""
    assert judge([0.9, 0.1, 0.1, 0.1], [0.5], [1]).kept == pytest.approx([sigmoid(-6)], abs=1e-6)
    scores = torch.tensor([[0.9, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1]])[:, None].expand(2, 4, 4)
    both = masked_evidence(Brightness(), IMAGE, scores, [0, 1], [0.5], size=(4, 4))  # type: ignore[arg-type]
    assert both.kept == pytest.approx([(sigmoid(6) + sigmoid(-6)) / 2], abs=1e-6)
    assert both.area.tolist() == [0.25]


@pytest.mark.parametrize("class_ids", [[], [0, 1]])
def test_classes_and_channels_must_agree(class_ids):
    """A mix-up of channels would calibrate another class."""
    with pytest.raises(ShapeError):
        masked_evidence(Brightness(), IMAGE, torch.ones(1, 4, 4), class_ids, [0.5], size=(4, 4))  # type: ignore[arg-type]


def test_j_is_a_product_of_means_over_the_photographs():
    """Two photographs: what is enough in one and superfluous in the other is multiplied after both are averaged."""
    first = Evidence(np.array([0.2, 0.4]), np.array([0.5, 0.0]), np.array([0.5, 0.1]))
    second = Evidence(np.array([0.6, 0.0]), np.array([0.1, 0.2]), np.array([0.1, 0.1]))
    assert curve_of_j([first, second]) == pytest.approx([0.4 * 0.7 * 0.7, 0.2 * 0.9 * 0.9])
    with pytest.raises(ShapeError):
        curve_of_j([])


@given(peak=st.integers(0, 6), area=st.floats(0, 0.5))
def test_what_is_small_sufficient_and_necessary_wins(peak, area):
    """Wherever it lies."""
    kept = np.array([1.0 if k <= peak else 0.01 for k in range(7)])
    areas = np.array([1 - (1 - area) * (k + 1) / 7 for k in range(7)])
    assert curve_of_j([Evidence(kept, np.zeros(7), areas)]).argmax() == peak


def photograph(columns: list[tuple[int, int, int]]) -> Tensor:
    """[3, 20, 20 × columns]: bands of one colour each."""
    return torch.tensor(columns, dtype=torch.uint8).T[:, None].repeat_interleave(20, dim=2).expand(3, 20, -1)


def test_explained_colours_by_hand():
    """Grey 0, 0, 60, 120: mean 45, variance 2475. Sides 0, 0 | 60, 120 have means 0, 90; 0, 0, 60 | 120 have 20, 120."""
    greys = [(v, v, v) for v in (0, 0, 60, 120)]
    found = explained_colours(
        photograph(greys), torch.tensor([[[0.1] * 20 + [0.2] * 20 + [0.6] * 20 + [0.9] * 20]]), [0.05, 0.4, 0.75, 0.95]
    )
    assert found == pytest.approx([0.0, 45**2 / 2475, 0.25 * 0.75 * 100**2 / 2475, 0.0], abs=0.02)


def test_a_class_whose_colours_differ_is_explained_whole_and_one_of_the_same_colour_not_at_all():
    """Two colours, parted where they part, are all of the variance; a photograph of one colour has none."""
    sharp = torch.tensor([[[0.1] * 20 + [0.9] * 20]])
    assert explained_colours(photograph([(200, 30, 30), (30, 200, 30)]), sharp, [0.5])[0] == pytest.approx(1, abs=0.06)
    assert explained_colours(photograph([(90, 90, 90), (90, 90, 90)]), sharp, [0.5]).tolist() == [0.0]


def test_explained_colours_take_the_best_class_and_any_size():
    """Of several classes the highest score counts; a photograph smaller than the grid is compared pixel by pixel."""
    image = photograph([(0, 0, 0), (255, 255, 255)])
    both = torch.tensor([[[0.9] * 20 + [0.1] * 20], [[0.1] * 20 + [0.9] * 20]])
    assert explained_colours(image, both, [0.5]).tolist() == [0.0]  # foreground everywhere
    tiny = explained_colours(image[:, :1, 19:21], torch.tensor([[[0.1, 0.9]]]), [0.5])
    assert tiny.tolist() == [pytest.approx(1)]


@given(shift=st.integers(0, 60), factor=st.sampled_from([0.25, 0.5, 1.0]), seed=st.integers(0, 99))
def test_explained_colours_know_no_brightness_and_no_contrast(shift, factor, seed):
    """A darker, paler or mirrored photograph says the same of each threshold."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 190, (3, 24, 32), generator=generator).float()
    scores = torch.rand(2, 6, 8, generator=generator)
    thresholds = [0.3, 0.5, 0.7]
    found = explained_colours(image, scores, thresholds)
    assert ((found >= 0) & (found <= 1)).all()
    assert explained_colours(image * factor + shift, scores, thresholds) == pytest.approx(found, abs=1e-4)
    assert explained_colours(image.flip(2), scores.flip(2), thresholds) == pytest.approx(found, abs=1e-4)


def test_the_threshold_is_the_middle_of_those_that_explain_most():
    """Near the highest explained variance among the plausible ones: a high share elsewhere does not count."""
    thresholds, plausible = [0.1, 0.2, 0.3, 0.4, 0.5], np.array([0.1, 0.8, 1.0, 0.9, 0.76])
    assert best_threshold(thresholds, np.array([0.9, 0.1, 0.3, 0.298, 0.1]), plausible) == pytest.approx(0.35)
    assert best_threshold(thresholds, np.array([0.9, 0.1, 0.3, 0.2, 0.1]), plausible) == pytest.approx(0.3)
    assert best_threshold(thresholds, np.zeros(5), plausible) == pytest.approx(0.35)  # no colours: what is plausible
