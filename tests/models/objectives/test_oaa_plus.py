"""OAA+: which pixels are hidden, when, and which maps say so."""

import pytest
import torch
from drawn_photographs import TAGS, Drawings, views
from objective_training import new_objective

from models.objectives.oaa_plus import OaaPlus


def look(long_side: int):
    """Every drawing, whole, in a batch of one."""
    examples = Drawings()
    for index in range(len(examples)):
        yield {name: value[None] for name, value in examples.whole(index, long_side).items()}


def marked(**knobs) -> OaaPlus:
    """An objective whose newest map of image 0 marks the left half by 0.7 and the rest by 0.5."""
    objective = new_objective({"name": "oaa_plus", "grid": 4, **knobs}, epochs=9)
    maps = torch.full((1, 4, 4), 0.5)
    maps[..., :2] = 0.7
    objective.newest.replace(0, torch.tensor([0]), maps)
    return objective


def whole_view(index: int):
    """A view of the whole photograph, as large as the network's input."""
    batch = views([index])
    return {**batch, "window": torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0]])}


def test_what_the_newest_map_marks_is_hidden():
    """Above 0.6: the left half, pixel by pixel; a mirrored view has it on the right; another image keeps all."""
    objective, batch = marked(drop_rate=1.0), whole_view(0)
    hidden = objective.hidden(batch)[0, 0]
    assert hidden[:, :14].all()
    assert not hidden[:, 19:].any()
    batch["window"][0, 4] = 1
    assert torch.equal(objective.hidden(batch)[0, 0], hidden.flip(1))
    assert not objective.hidden(whole_view(1)).any()
    assert not marked(drop_rate=0.0).hidden(whole_view(0)).any()


def test_half_of_the_images_are_hidden_by_chance():
    """Each by itself, drawn at each step."""
    objective, batch = marked(), whole_view(0)
    torch.manual_seed(0)
    many = {name: value.expand(200, *value.shape[1:]) for name, value in batch.items()}
    share = objective.hidden(many).flatten(1).any(dim=1).float().mean()
    assert 0.4 < float(share) < 0.6


@torch.no_grad()
def test_the_loss_is_of_the_image_with_grey_there_until_attention_is_learnt():
    """Then of the whole image, as in `oaa`."""
    objective, batch = marked(drop_rate=1.0), whole_view(0)
    grey = torch.where(objective.hidden(batch) > 0, objective.network.backbone.mean, batch["image"])
    plain = new_objective({"name": "oaa", "grid": 4}, epochs=9)
    assert not torch.equal(grey, batch["image"])
    torch.testing.assert_close(objective(batch)["tags"], plain({**batch, "image": grey})["tags"])
    objective.finished.fill_(objective.start)
    torch.testing.assert_close(objective(batch)["tags"], plain(batch)["tags"])


def test_the_newest_map_is_the_last_one_and_no_maximum():
    """As the memory after the first accumulation; then it follows the network, and the memory only grows."""
    objective = new_objective({"name": "oaa_plus", "long_side": 49}, epochs=9)
    with torch.no_grad():
        objective.network.classifier.weight.abs_()
    objective.after_epoch(2, look)
    first = objective.memory.maps.clone()
    assert torch.equal(objective.newest.maps, first)
    with torch.no_grad():
        objective.network.classifier.weight.copy_(objective.network.classifier.weight.flip(1))
    objective.after_epoch(3, look)
    assert (objective.newest.maps < objective.memory.maps).any()
    assert torch.equal(torch.maximum(first, objective.newest.maps), objective.memory.maps)
    assert len(first) == sum(len(tags) for tags in TAGS)


@pytest.mark.parametrize("knobs", [{"drop_rate": 1.5}, {"drop_threshold": 1.0}])
def test_knobs_out_of_range_are_refused(knobs):
    """Before anything runs."""
    with pytest.raises(Exception, match=next(iter(knobs))):
        new_objective({"name": "oaa_plus", **knobs})
