"""SPG: which places guide, what guides which branch, and what the branches learn."""

import math

import pytest
import torch
from drawn_photographs import views
from objective_training import later, new_objective, reached

from labelfactory.errors import ParamsError
from labelfactory.settings.registry import choose
from models.objectives.spg import guidance, guided_loss, label_attention


def test_attention_is_stretched_and_of_tags_alone():
    """The highest of two tags' maps, each from its lowest to its highest place; an image without tags has none."""
    evidence = torch.tensor([[[[-2.0, 0.0, 2.0]], [[4.0, 3.0, 0.0]], [[9.0, 9.0, 0.0]]]])
    expected = torch.tensor([[[[1.0, 0.75, 1.0]]]])
    torch.testing.assert_close(label_attention(evidence, torch.tensor([[1.0, 1.0, 0.0]])), expected)
    assert not label_attention(evidence, torch.zeros(1, 3)).any()


def test_sure_places_guide_and_others_are_void():
    """Above 0.7 object, below 0.05 background; both bounds themselves are void. Where all are below, above 0.7 of the highest;
    an image without tags has no object.
    """
    attention = torch.tensor([[0.0, 0.04, 0.05, 0.5, 0.7, 0.71], [0.04, 0.3, 0.2, 0.4, 0.28, 0.29]])[:, None, None]
    labels = guidance(attention, 0.7, 0.05, torch.tensor([True, True]))
    assert labels[:, 0, 0].tolist() == [[0, 0, -1, -1, -1, 1], [0, 1, -1, 1, -1, 1]]
    assert guidance(attention, 0.7, 0.05, torch.tensor([False, True]))[0, 0, 0].tolist() == [0, 0, *[-1] * 4]


def test_the_loss_by_hand():
    """A mean over the places that are not void; none is 0."""
    logits = torch.tensor([[[[0.0, math.log(3), 99.0]]]])
    labels = torch.tensor([[[[1.0, 0.0, -1.0]]]])
    assert float(guided_loss(logits, labels)) == pytest.approx((math.log(2) + math.log(4)) / 2, abs=1e-5)
    assert float(guided_loss(logits, torch.full_like(labels, -1))) == 0


def test_the_first_branch_learns_the_cam_and_the_next_ones_learn_from_branches(monkeypatch):
    """The chain, seen at the loss: the deeper branch's labels are the CAM's, the earlier one's are the deeper's, the last one's
    are those of the mean of both.
    """
    objective, batch, seen = later(new_objective("spg"), 3).eval(), views([0, 3]), []
    torch.nn.init.normal_(objective.network.classifier.weight, std=0.3)
    torch.nn.init.normal_(objective.shared[2].weight, std=0.5)
    monkeypatch.setattr("models.objectives.spg.guided_loss", lambda *pair: seen.append(pair) or guided_loss(*pair))
    objective(batch)
    both = torch.tensor([True, True])
    (deeper, of_cam), (earlier, of_deeper), (_, of_both) = seen
    cams = objective.network.evidence(objective.network.activation(batch["image"]))
    assert torch.equal(of_cam, guidance(label_attention(cams, batch["target"]), 0.7, 0.05, both))
    assert torch.equal(of_deeper, guidance(deeper.sigmoid(), 0.5, 0.05, both))
    assert torch.equal(of_both, guidance((deeper.sigmoid() + earlier.sigmoid()) / 2, 0.7, 0.1, both))
    assert len({tuple(labels.flatten().tolist()) for labels in (of_cam, of_deeper, of_both)}) == 3


def test_branches_learn_after_the_first_epochs_and_teach_the_backbone():
    """Not the linear layer, whose map guides; an image without tags is all background."""
    early = new_objective("spg", epochs=4)(views([0, 3]))
    assert early["deeper"] == early["earlier"] == early["last"] == 0
    objective = later(new_objective("spg", epochs=4), 1)
    torch.nn.init.normal_(objective.network.classifier.weight, std=0.3)
    assert reached(objective, "deeper") == {"backbone", "deeper", "shared"}
    torch.nn.init.constant_(objective.shared[2].bias, 9.0)
    assert reached(objective, "earlier") == {"backbone", "earlier", "shared"}
    assert reached(objective, "last") == {"backbone", "last"}
    torch.nn.init.constant_(objective.shared[2].weight, 0.0)
    assert float(objective(views([6]))["deeper"].detach()) == pytest.approx(9, abs=1e-2)


def test_thresholds_in_the_wrong_order_are_refused():
    """There would be no place between them."""
    with pytest.raises(ParamsError, match="low must be below high"):
        choose("models.objectives", {"name": "spg", "high": 0.3, "low": 0.3})
