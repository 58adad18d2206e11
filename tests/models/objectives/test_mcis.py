"""MCIS: what an image sees of its partner, and which tags are common and which its own."""

import pytest
import torch
from drawn_photographs import views
from objective_training import new_objective

from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._coattention import CoAttention
from models.objectives.mcis import mean_over


def test_co_attention_agrees_with_loops_over_places():
    """Of a grid of 2 × 3 with one of 4 places: each place takes the other's features by the soft-max of fᵀ W f'."""
    torch.manual_seed(0)
    module = CoAttention(5)
    torch.nn.init.normal_(module.match.weight)
    features, other = torch.randn(2, 5, 2, 3), torch.randn(2, 5, 2, 2)
    seen = module(features, other).flatten(2)
    for image in range(2):
        mine, theirs = features[image].flatten(1), other[image].flatten(1)
        for place in range(6):
            scores = torch.stack([module.match.weight @ mine[:, place] @ theirs[:, k] for k in range(4)])
            expected = sum(theirs[:, k] * share for k, share in enumerate(scores.softmax(dim=0)))
            torch.testing.assert_close(seen[image, :, place], expected, rtol=1e-4, atol=1e-5)


def test_a_mean_over_chosen_images_by_hand():
    """ln 2 for each class of a chosen image without evidence; none chosen: 0."""
    logits, target = torch.zeros(3, 2), torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    logits[2] = 50
    assert float(mean_over(logits, target, torch.tensor([1.0, 0, 1]))) == pytest.approx(0.6931 / 2, abs=1e-4)
    assert float(mean_over(logits, target, torch.zeros(3))) == 0


@torch.no_grad()
def test_what_both_show_is_learnt_from_what_each_sees_of_the_other():
    """Red and green beside red: the first sees the second, against red alone; what is left is green, by the gate."""
    objective, batch = new_objective("mcis").eval(), views([3, 0])
    objective.finished.fill_(2)
    torch.nn.init.normal_(objective.gate.weight, std=0.5)
    torch.nn.init.normal_(objective.shared.weight, std=0.5)
    terms = objective(batch)
    features = objective.network.activation(batch["image"])
    seen = objective.coattention(features, features.flip(0))
    red = torch.tensor([[1.0, 0, 0]]).expand(2, 3)
    torch.testing.assert_close(terms["common"], multilabel_soft_margin(objective.shared(seen).mean(dim=(2, 3)), red))
    rest = features * (1 - objective.gate(seen).sigmoid())
    expected = multilabel_soft_margin(objective.shared(rest).mean(dim=(2, 3))[:1], torch.tensor([[0.0, 1, 0]]))
    torch.testing.assert_close(terms["own"], expected)  # of the first alone: the second has no tag of its own


@torch.no_grad()
def test_own_tags_are_learnt_from_the_third_epoch_on():
    """Finished epochs 0, 1 and 2."""
    objective, found = new_objective("mcis").eval(), []
    for finished in range(3):
        objective.finished.fill_(finished)
        found.append(float(objective(views([3, 0]))["own"]) > 0)
    assert found == [False, False, True]


@torch.no_grad()
def test_images_without_a_partner_learn_their_tags_alone():
    """An image that shares no tag, and a batch of one."""
    objective = new_objective("mcis").eval()
    objective.finished.fill_(5)
    for indices in ([0], [0, 1], [6, 3]):
        terms = objective(views(indices))
        assert terms["common"] == terms["own"] == 0
        assert terms["tags"] > 0


def test_the_kept_network_is_a_plain_classifier():
    """Co-attention is for training alone; batches are pairs."""
    objective = new_objective("mcis")
    assert objective.network.state_dict().keys() == new_objective("tags").network.state_dict().keys()
    assert objective.share_multiple == 2
    objective.finished.fill_(2)
    for term in ("common", "own"):
        objective.zero_grad()
        objective(views([3, 0]))[term].backward()
        assert next(objective.network.backbone.blocks[3].parameters()).grad.any()
        assert not objective.network.classifier.weight.grad
