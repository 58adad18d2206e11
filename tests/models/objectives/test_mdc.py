"""MDC: how far a dilated block sees, and what of all blocks the map is made of."""

import pytest
import torch
from drawn_photographs import views
from objective_training import architecture, new_objective, reached

from labelfactory.errors import ParamsError
from labelfactory.settings.registry import choose
from models.classifier import classifier_from
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._maps import relative
from models.objectives.mdc import DilatedBlock


@torch.no_grad()
@pytest.mark.parametrize("rate", [1, 3, 4])
def test_evidence_of_one_place_appears_as_far_away_as_the_rate(rate):
    """At nine places of a grid of 11 × 11, with the middle among them."""
    block = DilatedBlock(2, 3, 1, rate)
    for layer in (block.dilated, block.evidence):
        torch.nn.init.ones_(layer.weight)
    features = torch.zeros(1, 2, 11, 11)
    features[0, 0, 5, 5] = 2
    lit = block(features)[0, 0].nonzero().tolist()
    assert lit == [[5 + i, 5 + j] for i in (-rate, 0, rate) for j in (-rate, 0, rate)]


@torch.no_grad()
def test_the_map_is_the_undilated_one_plus_the_mean_of_the_dilated_ones():
    """Of two blocks; the rates are found in the passport."""
    method = {"name": "mdc", "rates": [1, 2], "width": 8}
    network = new_objective(method).network.eval()
    torch.nn.init.normal_(network.classifier.weight, std=0.3)
    for block in network.blocks:
        torch.nn.init.normal_(block.evidence.weight, std=0.3)
    image = views([3])["image"]
    features = network.activation(image)
    one, other = (relative(block(features)) for block in network.blocks)
    expected = relative(network.evidence(features)) + (one + other) / 2
    torch.testing.assert_close(network.maps(image), expected)
    assert float(expected.std()) > 0
    assert not torch.allclose(one, other)
    rebuilt = classifier_from(architecture(method), network.state_dict())
    torch.testing.assert_close(rebuilt.maps(image), expected, atol=1e-4, rtol=1e-4)


def test_every_block_learns_the_tags():
    """A sum over the blocks, times the weight; the linear layer has a loss of its own."""
    objective = new_objective({"name": "mdc", "weight": 2.0}).eval()
    batch = views([0, 3])
    features = objective.network.activation(batch["image"])
    losses = [multilabel_soft_margin(b(features).mean(dim=(2, 3)), batch["target"]) for b in objective.network.blocks]
    assert len(losses) == 3
    torch.testing.assert_close(objective(batch)["dilated"], 2 * (losses[0] + losses[1] + losses[2]))
    assert reached(objective, "dilated") == {"backbone", "blocks"}
    assert reached(objective, "tags") == {"backbone", "classifier"}


def test_no_rates_are_refused():
    """There would be no mean."""
    with pytest.raises(ParamsError, match="rates"):
        choose("models.objectives", {"name": "mdc", "rates": []})
