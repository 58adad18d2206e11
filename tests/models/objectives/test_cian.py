"""CIAN: what passes between two images, what it costs, and what is kept."""

import numpy as np
import pytest
import torch
from small_training import same
from tagged_pictures import TaggedPictures, make_objective, rebuilt, train_objective
from torch import Tensor, nn

from labelfactory.errors import ParamsError
from labelfactory.settings.registry import choose
from models.cams import multiscale_cams
from models.objectives.cian import Cian, CrossImageAffinity, completion

PICTURES = TaggedPictures()


def cian(**options) -> Cian:
    """An objective whose projection has learnt something."""
    objective = make_objective("cian", **options)
    assert isinstance(objective, Cian)
    nn.init.normal_(objective.network.affinity.out.weight, std=0.3)
    return objective


def attended(query: Tensor, places: Tensor, layers: CrossImageAffinity) -> Tensor:
    """Message to each place of one image [D, N] from the places [D, M] of another, before the projection; by loops."""
    q, k, v = (
        layer.weight[:, :, 0, 0] @ maps
        for layer, maps in zip((layers.query, layers.key, layers.value), (query, places, places), strict=True)
    )
    columns = []
    for place in range(q.shape[1]):
        weights = torch.stack([(k[:, m] @ q[:, place]).exp() for m in range(k.shape[1])])
        columns.append(sum(v[:, m] * weights[m] / weights.sum() for m in range(k.shape[1])))
    return torch.stack(columns, dim=1)


def test_messages_agree_with_loops_over_places():
    """Features that are alike in blocks of 2 × 2, of which half the grid loses nothing."""
    torch.manual_seed(0)
    module = CrossImageAffinity(5, 3)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    coarse = torch.randn(2, 5, 2, 3)
    fine = nn.functional.interpolate(coarse, scale_factor=2, mode="nearest")
    alone, joined = module(fine, torch.tensor([1, 0]))
    out = module.out.weight[:, :, 0, 0]
    for image, other in ((0, 1), (1, 0)):
        own, from_other = (attended(fine[image].flatten(1), coarse[k].flatten(1), module) for k in (image, other))
        torch.testing.assert_close(alone[image].flatten(1), out @ own, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(joined[image].flatten(1), out @ torch.maximum(own, from_other), rtol=1e-4, atol=1e-5)


def test_a_message_by_hand():
    """A query of ln 3 meets keys 1 and 0: weights 3/4 and 1/4 of values 8 and 4; a query of 0 takes halves. Twice that."""
    module = CrossImageAffinity(2, 1)
    for layer, weights in ((module.query, (1, 0)), (module.key, (1, 0)), (module.value, (0, 1)), (module.out, (0, 2))):
        layer.weight.data = torch.tensor(weights, dtype=torch.float32).view(layer.weight.shape)
    asks = torch.tensor([[np.log(3), 0, 0, 0], [0, 0, 0, 0]], dtype=torch.float32)
    gives = torch.tensor([[1, 0, 0, 0], [8, 8, 4, 4]], dtype=torch.float32)
    alone, joined = module(torch.stack([asks, gives])[:, :, None], torch.tensor([1, 0]))
    assert not alone[0].any()
    torch.testing.assert_close(joined[0, :, 0], torch.tensor([[0.0, 0, 0, 0], [14, 12, 12, 12]]))


@pytest.mark.parametrize("cells", [1, 2, 3, 4, 5])
def test_mirrored_features_give_mirrored_messages(cells):
    """Also on grids with an even number of cells, where halving could lean to a side."""
    torch.manual_seed(cells)
    module = CrossImageAffinity(4, 2)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    features, swap = torch.randn(2, 4, 3, cells), torch.tensor([1, 0])
    for straight, mirrored in zip(module(features, swap), module(features.flip(3), swap), strict=True):
        torch.testing.assert_close(mirrored.flip(3), straight, rtol=1e-4, atol=1e-5)


def test_it_starts_as_the_classifier_without_the_module():
    """The projection is zero: the tags' loss is that of `tags`, the other's help changes nothing, and yet it can learn."""
    batch = PICTURES.batch(0, 5)
    objective, plain = make_objective("cian"), make_objective("tags")
    plain.network.load_state_dict(objective.network.state_dict(), strict=False)
    terms = objective(batch)
    assert list(terms) == ["tags", "cross", "completion"]
    assert torch.equal(terms["tags"], plain(batch)["tags"])
    assert torch.equal(terms["cross"], terms["tags"])
    assert terms["completion"] == 0
    sum(terms.values()).backward()
    assert objective.network.affinity.out.weight.grad.any()


def test_an_image_without_a_partner_helps_itself():
    """A batch of one, and one whose images share no tag: `cross` is `tags`, nothing is to be completed."""
    for batch in (PICTURES.batch(0), PICTURES.batch(2), PICTURES.batch(0, 2, 4)):
        terms = cian()(batch)
        assert torch.equal(terms["cross"], terms["tags"])
        assert terms["completion"] == 0
    terms = cian()(PICTURES.batch(0, 5))
    assert terms["cross"] != terms["tags"]
    assert terms["completion"] > 0


def test_the_order_within_a_pair_changes_nothing():
    """Both take part alike."""
    for terms in zip(cian()(PICTURES.batch(0, 5)).values(), cian()(PICTURES.batch(5, 0)).values(), strict=True):
        torch.testing.assert_close(*terms, rtol=1e-4, atol=1e-5)


def test_a_completion_by_hand():
    """Maps relative to their maxima: 1, 1/2, 0, 0 against 1, 1, 1/4, 0; a class that is no tag does not count."""
    evidence = torch.tensor([[[[4.0, 2.0], [-3.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]]])
    complete = torch.tensor([[[[8.0, 8.0], [2.0, -1.0]], [[0.0, 9.0], [9.0, 9.0]]]])
    value = completion(evidence, complete, torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(value, torch.tensor((0.5 + 0.25) / 4), rtol=1e-4, atol=1e-5)
    assert completion(evidence, complete, torch.zeros(1, 2)) == 0


def test_completion_pulls_the_map_alone_towards_the_other():
    """The helped map is a goal: it gets no gradient, so neither does the partner as the source of the message."""
    objective = cian()
    affinity, seen = objective.network.affinity, {}
    attend = affinity.forward

    def watched(features, partner=None):
        seen["alone"], seen["joined"] = attend(features, partner)
        for message in seen.values():
            message.retain_grad()
        return seen["alone"], seen["joined"]

    affinity.forward = watched
    objective(PICTURES.batch(0, 5))["completion"].backward()
    assert seen["alone"].grad.any()
    assert seen["joined"].grad is None


def test_the_partner_learns_from_the_other_tags_loss():
    """Keys and values of the module, and the backbone, from `cross`."""
    objective = cian()
    objective(PICTURES.batch(0, 5))["cross"].backward()
    for layer in (objective.network.affinity.query, objective.network.affinity.key, objective.network.affinity.value):
        assert layer.weight.grad.any()
    assert next(objective.network.backbone.parameters()).grad.any()


def test_half_precision_leaves_the_losses_in_float32():
    """As on a GPU."""
    objective = cian()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = objective(PICTURES.batch(0, 5, 2))
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())


def test_weights_and_width():
    """Each weight multiplies its own term; the width is a share of the channels."""
    batch = PICTURES.batch(0, 5)
    one, other = (cian(**knobs)(batch) for knobs in ({}, {"cross_weight": 0.5, "completion_weight": 3.0}))
    for name, factor in (("tags", 1.0), ("cross", 0.5), ("completion", 3.0)):
        torch.testing.assert_close(other[name], factor * one[name])
    assert cian(width=0.25).network.affinity.query.weight.shape == (24, 96, 1, 1)


def test_the_features_mean_is_that_of_images_alone():
    """As at inference."""
    objective = cian()
    objective(PICTURES.batch(0, 5))
    trained = objective.network.feature_mean.clone()
    objective.network.feature_mean.zero_()
    objective.network.activation(PICTURES.batch(0, 5)["image"])
    torch.testing.assert_close(objective.network.feature_mean, trained)


@pytest.mark.slow
def test_a_killed_training_ends_in_the_same_bits(tmp_path):
    """Killed within its second epoch; images meet their partners again."""
    (tmp_path / "whole").mkdir()
    expected, curve = train_objective(make_objective("cian"), tmp_path / "whole", epochs=2)
    with pytest.raises(KeyboardInterrupt):
        train_objective(make_objective("cian"), tmp_path, killed_in=4, epochs=2)
    resumed, again = train_objective(make_objective("cian", seed=1), tmp_path, epochs=2)
    assert same(resumed, expected)
    assert again == curve
    assert curve[-1]["completion"] > 0


@pytest.mark.slow
def test_the_kept_network_is_a_classifier_that_every_read_out_knows(tmp_path):
    """Rebuilt from its weights it gives the same maps, of its own width; an image needs no partner."""
    network, _ = train_objective(make_objective("cian", width=0.25), tmp_path, epochs=1)
    nn.init.normal_(network.affinity.out.weight, std=0.3)
    image, ids = PICTURES.batch(1)["image"][0], torch.tensor([1, 2])
    for method in ("cam", "own_maps", "pcm"):
        maps = [
            multiscale_cams(net, method, [image], class_ids=[ids], scales=(1.0,), flip=True)[0]
            for net in (network, rebuilt("cian", network, width=0.25))
        ]
        assert maps[0].shape == (2, 9, 9)
        torch.testing.assert_close(maps[1], maps[0], rtol=0, atol=1e-4)
        assert 0 <= maps[0].min() <= maps[0].max() <= 1


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"width": 1.5}, {"cross_weight": -1}, {"completion_weight": 101}, {"widht": 0.5}]
)
def test_knobs_out_of_range_are_refused(wrong):
    """Before anything runs."""
    with pytest.raises(ParamsError):
        choose("models.objectives", {"name": "cian", **wrong})
