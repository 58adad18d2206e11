"""OAA: what is accumulated, and what the second head learns from it."""

import math
from typing import Any

import pytest
import torch
from drawn_photographs import BATCH, LONG_SIDE, TAGS, Drawings, views
from objective_training import architecture, new_objective, small, train
from torch import Tensor

from labelfactory.errors import ParamsError
from labelfactory.settings.registry import choose
from models.classifier import classifier_from
from models.objectives.oaa import IntegralClassifier, Oaa, integral_loss


def look(long_side: int) -> Any:
    """Every drawing, whole, in a batch of one."""
    examples = Drawings()
    for index in range(len(examples)):
        yield {name: value[None] for name, value in examples.whole(index, long_side).items()}


# --- what is accumulated


def accumulated(objective: Oaa, epochs: range) -> list[Tensor]:
    """The memory after each epoch."""
    after = []
    for epoch in epochs:
        objective.after_epoch(epoch, look)
        after.append(objective.memory.maps.clone())
    return after


def test_maps_grow_from_the_second_epoch_on():
    """Nothing after the first; later never lower than before; in [0, 1], and 1 at the highest place of what is taken in."""
    objective = new_objective("oaa", epochs=9)
    with torch.no_grad():
        objective.network.classifier.weight.abs_()
    first, second = accumulated(objective, range(1, 3))
    with torch.no_grad():
        objective.network.classifier.weight.copy_(objective.network.classifier.weight.flip(1))
    (third,) = accumulated(objective, range(3, 4))
    assert not first.any()
    assert second.any()
    assert (third >= second).all()
    assert (third > second).any()
    assert float(third.max()) <= 1
    highest = second.amax(dim=(1, 2))
    torch.testing.assert_close(highest[highest > 0], torch.ones_like(highest[highest > 0]), atol=1e-2, rtol=0)


def test_a_class_that_the_network_does_not_see_waits_until_the_maps_are_needed():
    """For K tags only the K most probable classes are taken in; at the end of the first phase the others too."""
    objective = new_objective("oaa", epochs=9)
    assert objective.start == 5
    with torch.no_grad():
        objective.network.classifier.weight.abs_()
        objective.network.classifier.weight[0].mul_(1e-3)  # red is the least probable everywhere
    maps = accumulated(objective, range(4, 6))
    tags = [(image, tag) for image, names in enumerate(TAGS) for tag in names]
    alone = [k for k, (image, _) in enumerate(tags) if TAGS[image] == ("red",)]
    other = [k for k, (image, _) in enumerate(tags) if TAGS[image] == ("green", "blue")]
    assert not maps[0][alone].any()
    assert maps[0][other].flatten(1).any(dim=1).all()
    assert maps[1][alone].flatten(1).any(dim=1).all()


def test_accumulation_leaves_mode_and_weights_as_they_are():
    """Looking is no training: no gradient, the features' mean stays."""
    objective = new_objective("oaa").train()
    before = {name: value.clone() for name, value in objective.network.state_dict().items()}
    objective.after_epoch(2, look)
    assert objective.training
    assert all(torch.equal(value, before[name]) for name, value in objective.network.state_dict().items())
    assert not objective.memory.maps.requires_grad


# --- what is learnt from it


def test_the_loss_by_hand():
    """Logits of 0: −A log ½, a mean over positive places, and −log ½ over the others; what is not known counts for nothing."""
    attention = torch.tensor([[[[1.0, 0.5, 0.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]]])
    logits = torch.zeros(1, 2, 1, 4)
    logits[0, 0, 0, 3] = math.log(3)  # −log(1 − ¾) = log 4
    both = integral_loss(logits, attention, torch.tensor([[True, True]]))
    assert float(both) == pytest.approx(0.75 * math.log(2) + (5 * math.log(2) + math.log(4)) / 6, abs=1e-5)
    first = integral_loss(logits, attention, torch.tensor([[True, False]]))
    assert float(first) == pytest.approx(0.75 * math.log(2) + (math.log(2) + math.log(4)) / 2, abs=1e-5)
    assert float(integral_loss(logits, torch.zeros_like(attention), torch.zeros(1, 2, dtype=torch.bool))) == 0


def test_weak_attention_is_pulled_up_and_never_down():
    """A place of attention 0.1 whose probability is 0.9 already still has a gradient upwards, unlike in cross-entropy."""
    logits = torch.full((1, 1, 1, 1), math.log(9.0), requires_grad=True)
    integral_loss(logits, torch.full((1, 1, 1, 1), 0.1), torch.tensor([[True]])).backward()
    assert float(logits.grad) == pytest.approx(-0.01, abs=1e-4)


def test_attention_is_learnt_in_the_second_phase_alone():
    """Before it the term is 0 and the head has no gradient; then it reaches head and backbone, and no tag head."""
    objective = new_objective("oaa", epochs=4)
    batch = views([0, 3])
    assert float(objective(batch)["attention"].detach()) == 0
    accumulated(objective, range(1, 3))
    attention = objective(batch)["attention"]
    assert float(attention.detach()) > 0
    attention.backward()
    reached = {n.split(".")[0] for n, p in objective.network.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {"backbone", "integral"}


def test_an_image_that_has_no_map_teaches_only_what_it_does_not_show():
    """Its tagged class is not known; the weight of the loss is a factor."""
    method = choose("models.objectives", {"name": "oaa", "weight": 2.5, "long_side": LONG_SIDE})
    objective = new_objective(method, epochs=4)
    objective.finished.fill_(3)
    with torch.no_grad():
        objective.network.integral.weight.zero_()
        objective.network.integral.bias.copy_(torch.tensor([9.0, 0, 0]))  # red, the tag, would be far off
        assert float(objective(views([0]))["attention"]) == pytest.approx(2.5 * math.log(2), abs=1e-4)


def test_a_killed_run_brings_its_maps_back(tmp_path):
    """They are in resume.pt, with the number of finished epochs; the network that is kept has none of them."""
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, "oaa", epochs=4, killed_after=2 * len(TAGS) + BATCH)
    state = torch.load(tmp_path / "resume.pt", weights_only=True)["model"]
    assert state["memory.maps"].any()
    assert int(state["finished"]) == 2
    network, _ = train(tmp_path, "oaa", epochs=4)
    assert not any("memory" in name for name in network.state_dict())


def test_devices_do_not_send_each_other_the_maps():
    """The names that DDP leaves out are those of the memory's buffers."""
    objective = new_objective("oaa")
    names = {name for name, _ in objective.named_buffers() if name.startswith("memory")}
    assert set(objective._ddp_params_and_buffers_to_ignore) == names == {"memory.maps", "memory.first"}


# --- knobs and the network that is kept


@pytest.mark.parametrize("knobs", [{"integral_from": 1}, {"weight": 0}, {"grid": 3}, {"long_side": 8}])
def test_knobs_out_of_range_are_refused(knobs):
    """Before anything runs."""
    with pytest.raises(ParamsError, match=next(iter(knobs))):
        choose("models.objectives", {"name": "oaa", **knobs})


@pytest.mark.parametrize("epochs", [1, 2])
def test_too_few_epochs_are_refused_with_the_least_that_do(epochs):
    """A training without a second phase would leave the second head as it was drawn."""
    with pytest.raises(ParamsError) as caught:
        new_objective("oaa", epochs=epochs)
    assert "epochs to 3 or more" in caught.value.remedy
    assert new_objective("oaa", epochs=3).start == 2


def test_the_last_epoch_learns_attention_whatever_the_share():
    """A share of nearly 1 leaves one epoch for it."""
    method = choose("models.objectives", {"name": "oaa", "integral_from": 0.99})
    assert [new_objective(method, epochs=epochs).start for epochs in (3, 10)] == [2, 9]


def test_the_kept_network_shows_the_second_head():
    """Its own maps are those of the head for attention, and its CAMs those of the head for tags."""
    network = new_objective("oaa").network.eval()
    with torch.no_grad():
        network.integral.bias.copy_(torch.tensor([1.0, 2.0, -3.0]))
        network.integral.weight.zero_()
    rebuilt = classifier_from(architecture("oaa"), network.state_dict())
    assert isinstance(rebuilt, IntegralClassifier)
    assert rebuilt.maps(views([3])["image"]).amax(dim=(0, 2, 3)).tolist() == [1, 2, 0]
    assert small("oaa").knobs()["long_side"] == LONG_SIDE
