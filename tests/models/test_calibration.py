"""A background threshold from the classifier's own judgement, without a true mask."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from labelfactory.errors import ShapeError
from models.calibration import NEUTRAL, Evidence, best_threshold, masked_evidence


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
    best, curve = best_threshold([0.1, 0.5, 0.9, 0.95], [found])
    assert curve == pytest.approx(found.kept * (1 - found.removed) * (1 - found.area))
    assert best == pytest.approx(0.9)


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


def test_the_threshold_is_near_the_peak_over_all_photographs():
    """One photograph for 0.2 and two that weigh more for 0.6."""
    thresholds = [0.2, 0.4, 0.6, 0.8]
    weak = Evidence(np.array([0.3, 0.1, 0.1, 0.0]), np.zeros(4), np.zeros(4))
    strong = Evidence(np.array([0.1, 0.5, 0.9, 0.2]), np.zeros(4), np.zeros(4))
    best, curve = best_threshold(thresholds, [weak, strong, strong])
    assert best == pytest.approx(0.6)
    assert curve == pytest.approx([(0.5) / 3, 1.1 / 3, 1.9 / 3, 0.4 / 3])


@given(peak=st.integers(0, 6), area=st.floats(0, 0.5))
def test_what_is_small_sufficient_and_necessary_wins(peak, area):
    """Wherever it lies, and never outside the candidates."""
    thresholds = [round(0.1 * k, 1) for k in range(1, 8)]
    kept = np.array([1.0 if k <= peak else 0.01 for k in range(7)])
    areas = np.array([1 - (1 - area) * (k + 1) / 7 for k in range(7)])
    best, _ = best_threshold(thresholds, [Evidence(kept, np.zeros(7), areas)])
    assert best == pytest.approx(thresholds[peak])


def test_the_threshold_lies_above_the_middle_of_the_peak():
    """Halfway from the mean of all within 5 % of it to the highest within 10 %."""
    evidence = Evidence(np.array([0.1, 0.5, 0.97, 1.0, 0.92, 0.3]), np.zeros(6), np.zeros(6))
    best, _ = best_threshold([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [evidence])
    assert best == pytest.approx((0.35 + 0.5) / 2)


def test_no_photograph_no_threshold():
    """The mean of nothing is no number."""
    with pytest.raises(ShapeError):
        best_threshold([0.5], [])
