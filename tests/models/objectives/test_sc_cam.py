"""SC-CAM: how images are clustered, when, and what the second head learns."""

import pytest
import torch
from drawn_photographs import LONG_SIDE, TAGS, Drawings, views
from hypothesis import given, settings
from hypothesis import strategies as st
from objective_training import new_objective

from labelfactory.errors import ParamsError
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._clusters import k_means
from models.objectives.sc_cam import sub_targets


def look(long_side: int):
    """Every drawing, whole, in a batch of one."""
    examples = Drawings()
    for index in range(len(examples)):
        yield {name: value[None] for name, value in examples.whole(index, long_side).items()}


def clustering(epochs: int = 4, **knobs):
    return new_objective({"name": "sc_cam", "clusters": 2, "long_side": LONG_SIDE, **knobs}, epochs=epochs)


@settings(deadline=None)
@given(count=st.integers(1, 12), clusters=st.integers(2, 5), seed=st.integers(0, 50))
def test_a_point_lies_nearest_to_the_mean_of_its_own_cluster(count, clusters, seed):
    """Of at most as many clusters as points; the same for the same seed."""
    points = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))
    members = k_means(points, clusters, seed)
    assert int(members.max()) < min(clusters, count)
    assert torch.equal(members, k_means(points, clusters, seed))
    centres = {int(k): points[members == k].mean(dim=0) for k in members.unique()}
    for point, own in zip(points, members.tolist(), strict=True):
        distances = {k: float((point - centre).norm()) for k, centre in centres.items()}
        assert distances[own] <= min(distances.values()) + 1e-5


def test_clouds_that_lie_apart_are_the_clusters():
    """Three clouds of five points each; and points that are all the same are no error."""
    clouds = torch.cat([torch.randn(5, 2, generator=torch.Generator().manual_seed(k)) + 50 * k for k in range(3)])
    members = k_means(clouds, 3, seed=1).view(3, 5)
    assert torch.equal(members, members[:, :1].expand(3, 5))
    assert len(members[:, 0].unique()) == 3
    assert len(k_means(torch.ones(4, 2), 3, seed=0)) == 4


def test_sub_classes_by_hand():
    """Of three classes with two clusters each: tag 0 in its second, tag 2 in its first."""
    assert sub_targets(torch.tensor([[1, -1, 0]]), 2).tolist() == [[0, 1, 0, 0, 1, 0]]


def test_every_tag_gets_a_sub_class_and_nothing_else_does():
    """After the first of two epochs; the drawn second head, too, is then a new one."""
    objective = clustering(epochs=2)
    before = objective.network.sub.weight.clone()
    objective.after_epoch(1, look)
    for image, tags in enumerate(TAGS):
        tagged = objective.members[image] >= 0
        assert int(tagged.sum()) == len(tags)
    assert set(objective.members.unique().tolist()) == {-1, 0, 1}
    assert not torch.equal(before, objective.network.sub.weight)


@pytest.mark.parametrize(
    ("epochs", "rounds", "expected"), [(2, 3, [1]), (8, 3, [2, 4, 6]), (12, 1, [6]), (3, 3, [1, 2])]
)
def test_rounds_lie_evenly_in_the_training(epochs, rounds, expected):
    """Fewer of them where there are few epochs."""
    objective = clustering(epochs, rounds=rounds)
    assert objective.clustering_epochs() == expected
    for epoch in range(1, epochs + 1):
        before = objective.members.clone(), objective.network.sub.weight.clone()
        objective.after_epoch(epoch, look)
        assert torch.equal(before[1], objective.network.sub.weight) == (epoch not in expected)
    assert objective.training


@torch.no_grad()
def test_the_second_head_learns_the_sub_classes():
    """Once there are any; five times the loss, against the members of these images."""
    objective, batch = clustering(epochs=2).eval(), views([3, 6])
    assert float(objective(batch)["sub"]) == 0
    objective.after_epoch(1, look)
    objective.members[3] = torch.tensor([1, 0, -1])
    features = objective.network.activation(batch["image"])
    logits = objective.network.sub(features).mean(dim=(2, 3))
    expected = torch.tensor([[0.0, 1, 1, 0, 0, 0], [0.0] * 6])
    torch.testing.assert_close(objective(batch)["sub"], 5 * multilabel_soft_margin(logits, expected))


@torch.no_grad()
def test_a_class_shows_the_highest_of_its_sub_classes():
    """Sub-classes of one class lie side by side."""
    network = clustering().network.eval()
    image = views([3])["image"]
    every = network.sub(network.activation(image)).relu()
    expected = torch.stack([every[:, 2 * c : 2 * c + 2].amax(dim=1) for c in range(3)], dim=1)
    torch.testing.assert_close(network.maps(image), expected)


def test_a_training_of_one_epoch_is_refused():
    """It would end before images are clustered."""
    with pytest.raises(ParamsError, match="one epoch"):
        clustering(epochs=1)
