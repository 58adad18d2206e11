"""ACoL and SeeNet: what a second branch sees, what it learns, and what both show."""

import pytest
import torch
from drawn_photographs import views
from objective_training import new_objective
from torch import Tensor

from labelfactory.errors import ParamsError
from labelfactory.settings.registry import choose
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._branches import attention_of
from models.objectives._maps import relative
from models.objectives.seenet import ternary


def row(*values: float) -> Tensor:
    """[1, 1, 1, w]."""
    return torch.tensor(values)[None, None, None]


def begun(name: str, **knobs):
    """An objective in its second half, whose classifier sees enough to differ between places."""
    objective = new_objective({"name": name, **knobs}, epochs=2).eval()
    objective.after_epoch(1, lambda size: iter(()))
    torch.nn.init.normal_(objective.network.classifier.weight, std=0.3)
    torch.nn.init.normal_(objective.network.branch.evidence.weight, std=0.3)
    return objective


def gradients(objective, term: str) -> set[str]:
    """The parts of the network that a term's gradient reaches."""
    objective.zero_grad()
    objective(views([0, 3]))[term].backward()
    return {n.split(".")[0] for n, p in objective.network.named_parameters() if p.grad is not None and p.grad.any()}


# --- attention


def test_attention_is_the_highest_of_the_tags_maps():
    """Each relative to its own maximum; a class that is no tag, and negative evidence, count for nothing."""
    evidence = torch.tensor([[[[4.0, 1.0, -2.0]], [[0.5, 1.0, 0.0]], [[9.0, 9.0, 9.0]]]])
    attention = attention_of(evidence, torch.tensor([[1.0, 1.0, 0.0]]))
    torch.testing.assert_close(attention, row(1.0, 1.0, 0.0), atol=1e-4, rtol=0)
    assert not attention_of(evidence, torch.zeros(1, 3)).any()


def test_acol_erases_where_attention_reaches_the_threshold():
    """By hand."""
    network = new_objective({"name": "acol", "threshold": 0.6}).network
    features = torch.tensor([[[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]]])
    expected = torch.tensor([[[[0.0, 0.0, 3.0]], [[0.0, 0.0, 6.0]]]])
    torch.testing.assert_close(network.changed(features, row(1.0, 0.6, 0.59)), expected)


def test_seenet_turns_the_background_and_erases_the_peak():
    """0 above δh, −1 below δl, 1 between and at both."""
    assert ternary(row(0.0, 0.04, 0.05, 0.8, 0.81), 0.8, 0.05).flatten().tolist() == [-1, -1, 1, 1, 0]
    network = new_objective("seenet").network
    torch.testing.assert_close(
        network.changed(torch.full((1, 2, 1, 3), 3.0), row(0.9, 0.5, 0.0))[0, 0, 0], torch.tensor([0.0, 3, -3])
    )


def test_seenets_third_branch_sees_the_background_alone():
    """Below the mean of both thresholds, here 0.425."""
    network = new_objective("seenet").network
    shown = network.background(torch.full((1, 2, 1, 3), 3.0), row(0.42, 0.43, 1.0))
    assert shown[0, 0, 0].tolist() == [3, 0, 0]


# --- losses


def test_acols_second_branch_learns_the_tags_by_what_is_left():
    """Put together by other means; its loss reaches no weight of the first branch."""
    objective, batch = new_objective("acol").eval(), views([0, 3])
    torch.nn.init.normal_(objective.network.classifier.weight, std=0.3)
    network = objective.network
    features = network.activation(batch["image"])
    cams = relative(network.evidence(features)) * batch["target"][:, :, None, None]
    left = torch.where(cams.amax(dim=1, keepdim=True) >= 0.6, 0.0, features)
    assert not torch.equal(left, features)
    expected = multilabel_soft_margin(network.branch(left).mean(dim=(2, 3)), batch["target"])
    torch.testing.assert_close(objective(batch)["complement"], expected)
    assert gradients(objective, "complement") == {"backbone", "branch"}
    assert gradients(objective, "tags") == {"backbone", "classifier"}


@torch.no_grad()
def test_seenets_background_must_show_no_tag():
    """A branch that finds every tag everywhere pays for it in the background, and one that finds none in what is left."""
    objective = begun("seenet")
    losses = {}
    for bias in (-9.0, 9.0):
        torch.nn.init.zeros_(objective.network.branch.evidence.weight)
        torch.nn.init.constant_(objective.network.branch.evidence.bias, bias)
        terms = objective(views([0]))
        losses[bias] = float(terms["background"]), float(terms["erased"])
    assert losses[-9.0] == pytest.approx((0, 3), abs=1e-2)  # one tag of three is missed
    assert losses[9.0] == pytest.approx((9, 6), abs=1e-2)  # two of three are found where they are not


def test_seenets_first_epochs_train_the_first_branch_alone():
    """Then the second and the third share their weights."""
    early = new_objective("seenet", epochs=2)
    terms = early(views([0, 3]))
    assert terms["erased"] == terms["background"] == 0
    objective = begun("seenet")
    assert gradients(objective, "erased") == gradients(objective, "background") == {"backbone", "branch"}


@torch.no_grad()
@pytest.mark.parametrize(("name", "term"), [("acol", "complement"), ("seenet", "erased"), ("seenet", "background")])
def test_a_weight_multiplies_its_term(name, term):
    """Its own alone."""
    knob = "background_weight" if term == "background" else "weight"
    torch.manual_seed(0)
    one = begun(name)
    other = begun(name, **{knob: 3.0})
    other.network.load_state_dict(one.network.state_dict())
    batch = views([0, 3])
    for key, value in one(batch).items():
        torch.testing.assert_close(other(batch)[key], (3 if key == term else 1) * value)


# --- maps


@torch.no_grad()
@pytest.mark.parametrize("name", ["acol", "seenet"])
def test_the_map_is_the_higher_of_both_branches(name):
    """Where the first names one class: that class's map says what the second sees."""
    network = begun(name).network
    images = views([0])["image"]
    features = network.activation(images)
    logits = network.logits(features)
    named = ((logits > 0) | (logits == logits.max())).float()
    second = network.branch(network.changed(features, attention_of(network.evidence(features), named)))
    expected = torch.maximum(relative(network.evidence(features)), relative(second))
    torch.testing.assert_close(network.maps(images), expected)
    assert float(expected.std()) > 0


def test_thresholds_in_the_wrong_order_are_refused():
    """There would be no place between them."""
    with pytest.raises(ParamsError, match="low must be below high"):
        choose("models.objectives", {"name": "seenet", "high": 0.3, "low": 0.3})
