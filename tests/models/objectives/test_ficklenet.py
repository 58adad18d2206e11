"""FickleNet: what a choice of places leaves of the evidence, and how maps of many choices are averaged."""

import pytest
import torch
import torch.nn.functional as F
from drawn_photographs import views
from hypothesis import given, settings
from hypothesis import strategies as st
from objective_training import new_objective, reached

from labelfactory.errors import ParamsError
from labelfactory.settings.registry import choose
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._maps import relative
from models.objectives.ficklenet import FickleClassifier, chosen_evidence


def fickle(**knobs) -> FickleClassifier:
    """A network whose window sees differences between places."""
    network = new_objective({"name": "ficklenet", "window": 3, **knobs}).network.eval()
    torch.nn.init.normal_(network.window.weight, std=0.3)
    return network


WINDOWS = {window: fickle(window=window) for window in (3, 5)}


@torch.no_grad()
@settings(deadline=None, max_examples=20)
@given(height=st.integers(1, 6), width=st.integers(1, 6), window=st.sampled_from([3, 5]))
def test_with_all_places_the_window_is_a_convolution(height, width, window):
    """With zeros outside of the grid; so no offset is mistaken for another."""
    network = WINDOWS[window]
    features = torch.randn(2, network.backbone.head_channels, height, width)
    every = torch.ones(1, window, window, height, width)
    expected = F.conv2d(features, network.window.weight, padding=window // 2)
    torch.testing.assert_close(chosen_evidence(network.parts(features), every), expected, atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_the_middle_is_always_chosen_and_others_keep_the_mean():
    """Of a rate of ¾ a quarter stays, four times as much; the middle stays as it is, whatever is drawn."""
    network = fickle(rate=0.75)
    factors = network.choices(torch.rand(200, 3, 3, 4, 5, generator=torch.Generator().manual_seed(0)))
    assert (factors[:, 1, 1] == 1).all()
    around = torch.cat([factors[:, [0, 2]].flatten(), factors[:, 1, [0, 2]].flatten()])
    assert set(around.unique().tolist()) == {0, 4}
    assert float(around.mean()) == pytest.approx(1, abs=0.02)
    features = torch.randn(1, network.backbone.head_channels, 4, 5)
    alone = network.choices(torch.zeros(1, 3, 3, 4, 5))
    own = F.conv2d(features, network.window.weight[:, :, 1:2, 1:2])
    torch.testing.assert_close(chosen_evidence(network.parts(features), alone), own, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_map_is_the_mean_of_all_draws():
    """Two draws, put together by other means, with their own numbers; the same for every image and every time."""
    network, images = fickle(draws=2), views([3, 0])["image"]
    parts = network.parts(network.activation(images))
    numbers = torch.rand(3, 3, *parts.shape[-2:], generator=torch.Generator().manual_seed(0))
    one, other = (
        relative(chosen_evidence(parts, network.choices(drawn)[None])) for drawn in (numbers, numbers.flip(1, 3))
    )
    two = network.maps(images)
    torch.testing.assert_close(two, (one + other) / 2)
    assert not torch.allclose(one, other, atol=0.1)
    network.draws = 40
    many = network.maps(images)
    assert not torch.allclose(many, two, atol=0.1)
    assert (many.amax(dim=(2, 3)) > many.amin(dim=(2, 3)) + 0.05).any()
    torch.testing.assert_close(many[1:], network.maps(images[1:]), atol=1e-5, rtol=1e-5)


def test_each_step_draws_anew_and_learns_the_tags():
    """The window and the backbone; the linear layer learns from all places."""
    objective = new_objective("ficklenet").eval()
    torch.nn.init.normal_(objective.network.window.weight, std=0.3)
    batch = views([0, 3])
    torch.manual_seed(1)
    once, twice = (float(objective(batch)["chosen"].detach()) for _ in range(2))
    torch.manual_seed(1)
    assert float(objective(batch)["chosen"].detach()) == once != twice
    assert reached(objective, "chosen") == {"backbone", "window"}
    objective.network.rate = 0.0
    features = objective.network.activation(batch["image"])
    every = F.conv2d(features, objective.network.window.weight, padding=2).mean(dim=(2, 3))
    torch.testing.assert_close(objective(batch)["chosen"], multilabel_soft_margin(every, batch["target"]))


def test_a_window_without_a_middle_is_refused():
    """It would have no place that is always chosen."""
    with pytest.raises(ParamsError, match="must be odd"):
        choose("models.objectives", {"name": "ficklenet", "window": 4})
