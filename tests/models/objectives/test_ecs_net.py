"""ECS-Net: which CAMs are united, and that the head learns them of the whole image."""

import math

import pytest
import torch
from drawn_photographs import views
from objective_training import later, new_objective, reached
from single_pixels import red, see_pixels

from labelfactory.errors import ParamsError
from labelfactory.settings.registry import choose
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._places import balanced_loss, confident_places
from models.objectives.ecs_net import united_cams


def seeing_pixels(**knobs):
    """An objective in its second half, whose network sees single pixels; its evidence of red is how red they are, less ⅓."""
    return see_pixels(later(new_objective({"name": "ecs_net", **knobs}, epochs=2), 1).eval())


def test_two_cams_are_united_by_hand():
    """The higher of both, each relative to its maximum; the second counts for what is still named there alone."""
    whole = torch.tensor([[[[8.0, 4.0, 0.0]], [[0.0, 0.0, 0.0]]]])
    erased = torch.tensor([[[[0.0, 1.0, 2.0]], [[0.0, 5.0, 0.0]]]])
    united = united_cams(whole, erased, torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(united, torch.tensor([[[[1.0, 0.5, 1.0]], [[0.0, 0.0, 0.0]]]]), atol=1e-4, rtol=0)
    assert torch.equal(united_cams(whole, erased, torch.zeros(1, 2))[0, 0, 0] > 0, torch.tensor([True, True, False]))


@torch.no_grad()
@pytest.mark.parametrize("named", [True, False])
def test_places_that_only_the_erased_image_shows_become_labels(monkeypatch, named):
    """Red 200, 80 and 0: the first column is erased to grey; the second, void by itself (0.4), is the peak of what is left, and
    an object if red is still named there, which a green channel decides.
    """
    objective, seen = seeing_pixels(), []
    monkeypatch.setattr(
        "models.objectives.ecs_net.balanced_loss",
        lambda logits, labels, _: seen.append((logits, labels)) or logits.sum(),
    )
    image = red(200, 80, 0)
    image[:, 1, :, 24:] = 0 if named else 255
    objective({"image": image, "target": torch.tensor([[1.0, 0, 0]])})
    ((logits, labels),) = seen
    assert labels[0].tolist() == [[1, 1 if named else -1, 0]] * 3
    torch.testing.assert_close(logits, objective.network.places(objective.network.activation(image)))


def test_the_head_learns_the_whole_image_and_the_linear_layer_the_rest_too():
    """After the first half; the labels have no gradient."""
    early = new_objective("ecs_net", epochs=2)(views([0]))
    assert early["places"] == early["erased"] == 0
    objective, batch = later(new_objective("ecs_net", epochs=2), 1).eval(), views([0, 3])
    torch.nn.init.normal_(objective.network.classifier.weight, std=0.3)
    assert reached(objective, "places") == {"backbone", "places"}
    assert reached(objective, "erased") == {"backbone", "classifier"}
    terms = {name: float(term.detach()) for name, term in objective(batch).items()}
    assert terms["erased"] != 0.5 * terms["tags"]
    logits = objective.network.places(objective.network.activation(batch["image"]))
    nothing = torch.full_like(logits[:, 0], -1, dtype=torch.int64)
    assert float(balanced_loss(logits, nothing, 0.0).detach()) == 0 < terms["places"]


@torch.no_grad()
def test_an_image_without_tags_is_background():
    """Everywhere: with an even head, half of ln 4, since there is no place of an object."""
    objective = later(new_objective("ecs_net", epochs=2), 1).eval()
    torch.nn.init.zeros_(objective.network.places.weight)
    batch = views([6])
    assert float(objective(batch)["places"]) == pytest.approx(math.log(4) / 2, abs=1e-5)
    assert not confident_places(torch.zeros(1, 3, 2, 2), foreground=0.45, background=0.15).any()
    torch.testing.assert_close(
        objective(batch)["tags"], multilabel_soft_margin(objective.network(batch["image"]), batch["target"])
    )


def test_thresholds_in_the_wrong_order_are_refused():
    """There would be no place between them."""
    with pytest.raises(ParamsError, match="background must be below foreground"):
        choose("models.objectives", {"name": "ecs_net", "background": 0.5})
