"""VWE: which words an image shows, and how features are pooled."""

import pytest
import torch
from drawn_photographs import views
from objective_training import new_objective
from torch.nn.functional import multilabel_soft_margin_loss

from models.objectives.vwe import encode, hybrid_pool


def test_a_place_is_its_nearest_word_by_angle():
    """Three words at right angles, one opposite: two places, whatever their lengths, show the first and the second."""
    words = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])
    features = torch.tensor([[5.0, 0.0], [0.0, 3.0], [0.1, 0.0]])[None, :, None]
    histogram, shown = encode(features, words)
    assert shown.tolist() == [[1, 1, 0, 0]]
    cosines = torch.nn.functional.normalize(features[0, :, 0].T, dim=1) @ torch.tensor(
        [[1.0, 0, 0, -1], [0, 1, 0, 0], [0, 0, 1, 0]]
    )
    torch.testing.assert_close(histogram[0], cosines.softmax(dim=1).sum(dim=0))
    assert float(histogram.sum()) == pytest.approx(2)


def test_pooling_mixes_the_mean_and_maxima_of_parts():
    """A grid of 4 × 4 with one place lit: mean 1/16 twice, maxima 1, 1/4 and 1/16; the mean of five."""
    features = torch.zeros(1, 1, 4, 4)
    features[0, 0, 1, 2] = 1
    assert float(hybrid_pool(features)) == pytest.approx((2 / 16 + 1 + 1 / 4 + 1 / 16) / 5)
    assert float(hybrid_pool(torch.full((1, 1, 3, 5), 0.7))) == pytest.approx(0.7)


@pytest.mark.parametrize("size", [(3, 5), (7, 4), (9, 9)])
def test_pooling_sees_no_side(size):
    """A mirrored image has the same pooled features."""
    features = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(hybrid_pool(features.flip(3)), hybrid_pool(features))


def test_each_loss_moves_its_own_part():
    """The histogram moves the words and not the features; the words' labels move the features and not the words."""
    objective, reached = new_objective("vwe"), {}
    for term in ("tags", "histogram", "words"):
        objective.zero_grad()
        objective(views([0, 3]))[term].backward()
        moved = [n for n, p in objective.named_parameters() if p.grad is not None and p.grad.any()]
        reached[term] = {".".join(name.split(".")[:2]).removesuffix(".weight") for name in moved}
    assert reached["tags"] == {"network.backbone", "network.classifier"}
    assert reached["histogram"] == {"words", "tags_of_words"}
    assert reached["words"] == {"network.backbone", "words_of_features"}


@torch.no_grad()
def test_the_words_that_an_image_shows_are_its_labels():
    """Put together by other means, from the mean of the features."""
    objective, batch = new_objective({"name": "vwe", "words": 7, "words_weight": 2.0}).eval(), views([0, 3])
    features = objective.network.activation(batch["image"])
    _, shown = encode(features, objective.words)
    expected = multilabel_soft_margin_loss(objective.words_of_features(features.mean(dim=(2, 3))), shown)
    torch.testing.assert_close(objective(batch)["words"], 2 * expected)


@torch.no_grad()
def test_the_kept_network_pools_so_too():
    """Its logits are those of hybrid pooling; its CAMs are plain."""
    network = new_objective("vwe").network.eval()
    features = network.activation(views([3])["image"])
    expected = hybrid_pool(features)[:, :, 0, 0] @ network.weight.T
    torch.testing.assert_close(network.logits(features), expected)
    assert not torch.allclose(network.logits(features), network.evidence(features).mean(dim=(2, 3)))
