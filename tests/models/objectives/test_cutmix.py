"""CutMix: which boxes are pasted, what they do to the tags, and what the mean teacher expects."""

import pytest
import torch
from drawn_photographs import views
from hypothesis import given, settings
from hypothesis import strategies as st
from objective_training import new_objective, train

from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import cutmix
from models.objectives._mixing import random_boxes
from models.objectives._teacher import MeanTeacher

LEFT = torch.zeros(2, 1, 33, 33)
LEFT[..., :11] = 1  # a third of the image, and the first of its three cells


@settings(deadline=None)
@given(share=st.floats(0, 1), seed=st.integers(0, 99), height=st.integers(8, 40), width=st.integers(8, 40))
def test_a_box_is_a_rectangle_of_the_images_form_and_at_most_its_share(share, seed, height, width):
    """Cut at the borders it is smaller; its sides are at most the square root of the share, but for a pixel."""
    torch.manual_seed(seed)
    (box,) = random_boxes(torch.tensor([share]), (height, width))[0]
    rows, columns = box.amax(dim=1), box.amax(dim=0)
    assert torch.equal(box, rows[:, None] * columns)
    for line, length in ((rows, height), (columns, width)):
        assert int(line.sum()) <= share**0.5 * length + 1
        inside = line.nonzero()[:, 0]
        assert not len(inside) or int(inside[-1] - inside[0]) + 1 == len(inside)


def test_a_box_that_is_not_cut_covers_its_share():
    """A quarter of the image: the largest of many boxes, 16 of 32 pixels a side; a share of 1 is cut at most places."""
    torch.manual_seed(0)
    boxes = random_boxes(torch.full((200,), 0.25), (32, 32))
    assert float(boxes.mean(dim=(1, 2, 3)).max()) == pytest.approx(0.25, abs=0.02)
    assert float(random_boxes(torch.ones(200), (32, 32)).mean()) == pytest.approx(9 / 16, abs=0.05)


def half_mixed(monkeypatch, **knobs):
    """An objective that swaps the left thirds of two images."""
    monkeypatch.setattr(cutmix, "random_boxes", lambda shares, size: LEFT)
    monkeypatch.setattr(cutmix, "other_images", lambda count, device: torch.tensor([1, 0]))
    objective = new_objective({"name": "cutmix", "ramp": 0, **knobs}).eval()
    with torch.no_grad():
        objective.network.classifier.weight.mul_(30)
    return objective


def test_tags_mix_with_the_areas(monkeypatch):
    """A third of the image is the other's, and so is a third of the tags."""
    objective, batch = half_mixed(monkeypatch), views([0, 4])
    first, second = batch["image"]
    mixed = torch.stack([first, second])
    mixed[0, :, :, :11], mixed[1, :, :, :11] = second[:, :, :11], first[:, :, :11]
    tags = torch.tensor([[2.0, 1, 1], [1.0, 2, 2]]) / 3
    expected = multilabel_soft_margin(objective.network(mixed), tags)
    torch.testing.assert_close(objective(batch)["mixed"], expected)


@torch.no_grad()
def test_the_teacher_expects_its_own_maps_mixed(monkeypatch):
    """A network that sees single pixels is its own teacher: no distance; another teacher: the mean of squares, by hand."""
    objective, batch = half_mixed(monkeypatch), views([0, 4])
    see = lambda x: x[..., ::16, ::16].repeat(1, 32, 1, 1) / 255  # noqa: E731
    for network in (objective.network, objective.teacher.network):
        monkeypatch.setattr(network, "activation", see)
    objective.teacher.network.load_state_dict(objective.network.state_dict())
    assert float(objective(batch)["teacher"]) == pytest.approx(0, abs=1e-6)
    torch.nn.init.zeros_(objective.teacher.network.classifier.weight)  # it says one half everywhere
    mixed = batch["image"] + (batch["image"].flip(0) - batch["image"]) * LEFT
    shares = objective.network.evidence(see(mixed)).sigmoid()
    torch.testing.assert_close(objective(batch)["teacher"], (shares - 0.5).square().sum(dim=1).mean())


def test_the_teacher_averages_first_all_networks_then_with_its_decay():
    """Weights 1, 2, 3 with a decay of 0.6: 1, then 3/2, then 0.6 · 3/2 + 0.4 · 3; it has no gradient and no training mode."""
    network = new_objective("tags").network
    teacher = MeanTeacher(network).train()
    assert not any(part.training for part in teacher.modules())
    seen = []
    for value in (1.0, 2.0, 3.0):
        torch.nn.init.constant_(network.classifier.weight, value)
        network.feature_mean.fill_(value)
        teacher.follow(network, 0.6)
        seen.append(float(teacher.network.weight[0, 0]))
    assert seen == pytest.approx([1, 1.5, 2.1])
    assert float(teacher.network.feature_mean[0]) == 3
    assert not any(p.requires_grad for p in teacher.parameters())


def test_the_teacher_follows_training_alone_and_is_not_kept(tmp_path):
    """A step in evaluation mode leaves it; the network to be kept is a plain classifier."""
    objective, batch = new_objective("cutmix").train(), views([0, 4])
    objective(batch)
    assert int(objective.teacher.steps) == 1
    objective.eval()(batch)
    assert int(objective.teacher.steps) == 1
    network, _ = train(tmp_path, "cutmix", epochs=1)
    assert network.state_dict().keys() == new_objective("tags").network.state_dict().keys()
