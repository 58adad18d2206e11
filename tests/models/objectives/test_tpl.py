"""TPL: when the first network is kept, what it hides from the second, and what both show."""

import pytest
import torch
from drawn_photographs import views
from objective_training import architecture, later, new_objective, reached

from labelfactory.errors import ParamsError
from models.classifier import classifier_from
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._branches import attention_of
from models.objectives._maps import relative


def second_phase(**knobs):
    """An objective in the second of two epochs; its second network has moved on from the first one."""
    objective = new_objective({"name": "tpl", **knobs}, epochs=2)
    torch.nn.init.normal_(objective.network.classifier.weight, std=0.3)
    later(objective, 1)
    torch.nn.init.normal_(objective.network.classifier.weight, std=0.3)
    return objective


def test_features_are_hidden_where_the_first_network_reaches_the_threshold():
    """By hand: of the tag, whose evidence is 5, 3 and 2.9; another class hides nothing."""
    network = new_objective("tpl").network
    seen = torch.tensor([[[[5.0, 3.0, 2.9]], [[0.0, 0.0, 9.0]]]])
    rest = network.rest(torch.full((1, 2, 1, 3), 7.0), seen, torch.tensor([[1.0, 0.0]]))
    assert rest[0, :, 0].tolist() == [[0, 7, 7]] * 2  # 3 / (5 + 10⁻⁵) lies below 0.6
    assert network.rest(torch.ones(1, 2, 1, 3), seen * 1.0001, torch.tensor([[0.0, 1.0]]))[0, 0, 0].tolist() == [
        1,
        1,
        0,
    ]


def test_the_first_network_is_kept_as_it_was_after_the_first_phase():
    """Before, it is not used; then no step reaches it, nor its batch norm."""
    early = new_objective("tpl", epochs=2)
    assert early(views([0]))["rest"] == 0
    objective = second_phase()
    kept = {name: value.clone() for name, value in objective.network.first.state_dict().items()}
    assert not torch.equal(kept["classifier.weight"], objective.network.classifier.weight)
    torch.testing.assert_close(kept["backbone.stem_conv.0.0.weight"], objective.network.backbone.stem_conv[0][0].weight)
    objective.train()
    assert not objective.network.first.training
    assert reached(objective, "rest") == {"backbone", "classifier"}
    later(objective, 2)
    now = objective.network.first.state_dict()
    assert all(torch.equal(value, now[name]) for name, value in kept.items())


@torch.no_grad()
def test_the_second_network_learns_the_tags_by_the_rest():
    """Put together by other means."""
    objective, batch = second_phase().eval(), views([0, 3])
    network = objective.network
    cams = network.first.evidence(network.first.activation(batch["image"]))
    seen = attention_of(cams, batch["target"])
    left = torch.where(seen < 0.6, network.activation(batch["image"]), 0.0)
    terms = objective(batch)
    torch.testing.assert_close(terms["rest"], multilabel_soft_margin(network.logits(left), batch["target"]))
    torch.testing.assert_close(terms["tags"], multilabel_soft_margin(network(batch["image"]), batch["target"]))
    assert float(terms["rest"]) != pytest.approx(float(terms["tags"]), abs=1e-4)


@torch.no_grad()
def test_the_map_is_the_mean_of_both_networks():
    """What the first one names says what is hidden from the second; both are found in the weights that are kept."""
    network, image = second_phase().network.eval(), views([0])["image"]
    logits = network.first(image)
    named = ((logits > 0) | (logits == logits.max())).float()
    seen = network.first.evidence(network.first.activation(image))
    second = network.evidence(network.rest(network.activation(image), seen, named))
    expected = (relative(seen) + relative(second)) / 2
    torch.testing.assert_close(network.maps(image), expected)
    assert float(expected.std()) > 0
    rebuilt = classifier_from(architecture("tpl"), network.state_dict())
    torch.testing.assert_close(rebuilt.maps(image), expected, atol=1e-4, rtol=1e-4)


def test_a_training_without_a_second_phase_is_refused():
    """The network would have no second part."""
    with pytest.raises(ParamsError, match="the training has 1 epochs"):
        new_objective("tpl", epochs=1)
