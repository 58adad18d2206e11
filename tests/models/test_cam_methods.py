"""CAM methods one by one: against their papers, by loops and by hand. Laws that hold for all are in test_cams.py."""

import itertools
import math
from typing import Any

import pytest
import torch
from noise_cams import SHORT, C, cams, classifier, features, photograph
from torch import Tensor, nn

from labelfactory.settings.registry import choose, load_method
from models.cams import lpcam, multiscale_cams, pcm, pmm, region_cam, soft_proposal
from models.classifier import Classifier

torch.set_num_threads(1)


def grad_cam_pp_by_the_paper(activation: Tensor, weights: Tensor) -> Tensor:
    """One image, one class, arXiv:1710.11063 for Y = exp(S), S = mean over positions of w · A; loops, float64."""
    channels, height, width = activation.shape
    a = activation.double()
    score = (weights.double()[:, None, None] * a).sum() / (height * width)
    y = torch.exp(score)
    result = torch.zeros(height, width, dtype=torch.float64)
    for k in range(channels):
        slope = weights[k].double() / (height * width)  # ∂S/∂A_ij, the same at all positions
        first, second, third = y * slope, y * slope**2, y * slope**3
        w_k = 0.0
        for _ in itertools.product(range(height), range(width)):
            alpha = second / (2 * second + a[k].sum() * third)
            w_k = w_k + alpha * torch.relu(first)
        result += w_k * a[k]
    return result.relu()


def layer_cam_by_the_paper(activation: Tensor, weights: Tensor) -> Tensor:
    """One image, one class: position by position, weight = the positive part of the position's own gradient."""
    channels, height, width = activation.shape
    result = torch.zeros(height, width, dtype=torch.float64)
    for i, j in itertools.product(range(height), range(width)):
        for k in range(channels):
            gradient = float(weights[k]) / (height * width)
            result[i, j] += max(gradient, 0.0) * float(activation[k, i, j])
    return result.relu()


@pytest.mark.parametrize(
    ("method", "reference"), [("grad_cam_pp", grad_cam_pp_by_the_paper), ("layer_cam", layer_cam_by_the_paper)]
)
def test_gradient_methods_agree_with_their_papers(method: str, reference):
    """After division by the maximum, which removes the one factor that our deviation changes."""
    net, a, ids = classifier(), features(3), torch.tensor([3, 1])
    found = choose("models.cams", method).bind("activation_maps")(net, a, ids).double()
    for image, (channel, k) in itertools.product(range(2), enumerate(ids)):
        expected = reference(a[image], net.weight[k].detach())
        assert expected.max() > 0
        ours = found[image, channel]
        torch.testing.assert_close(ours / ours.max(), expected / expected.max(), rtol=1e-4, atol=1e-4)


KNOBS: Any = choose("models.cams", "pcm")


def pcm_by_loops(activation: Tensor, weights: Tensor, mean: Tensor) -> Tensor:
    """One image with its tags' weights [K, D]: place by place, float64."""
    common = mean.double() / mean.double().norm()
    places = (
        (activation.double() - (activation.double().mean(dim=(1, 2)) @ common * common)[:, None, None]).flatten(1).T
    )
    evidence = [[max(0.0, float(w.double() @ a)) for a in activation.double().flatten(1).T] for w in weights]
    highest = [max(row) for row in evidence]
    for place in range(len(places)):
        relative = [row[place] / top for row, top in zip(evidence, highest, strict=True)]
        for row, share in zip(evidence, relative, strict=True):
            row[place] *= share == max(relative)
    like = [
        [max(0.0, float(here @ there / here.norm() / there.norm())) ** KNOBS.power for there in places]
        for here in places
    ]
    maps = []
    for row, top in zip(evidence, highest, strict=True):
        for _ in range(KNOBS.rounds):
            row = [sum(a * e for a, e in zip(alike, row, strict=True)) / sum(alike) for alike in like]
        flat = torch.tensor(row, dtype=torch.float64) - min(row)
        maps.append((flat * top / flat.max()).view(activation.shape[1:]))
    return torch.stack(maps)


def test_pcm_spreads_evidence_over_places_that_look_alike():
    """As loops over all pairs of places say; of two tags, a place starts with the stronger alone."""
    net, a, ids = classifier(), features(4), torch.tensor([1, 3])
    found = choose("models.cams", "pcm").bind("activation_maps")(net, a, ids)
    for image in range(2):
        expected = pcm_by_loops(a[image], net.weight[ids].detach(), net.feature_mean)
        assert (expected.amax(dim=(1, 2)) > 0).all()
        torch.testing.assert_close(found[image].double(), expected, rtol=1e-3, atol=1e-4)
    alone = choose("models.cams", "pcm").bind("activation_maps")(net, a, ids[:1])
    assert not torch.allclose(alone[:, 0], found[:, 0], atol=1e-2)


def test_pcm_looks_at_a_fine_grid_in_halves():
    """Where the same features fill blocks of four places, nothing is lost by it."""
    coarse = features(6)
    fine = nn.functional.interpolate(coarse, scale_factor=2, mode="nearest")
    ids = torch.arange(C)
    limited = {"rounds": 3, "power": 2, "most_places": coarse[0, 0].numel()}
    whole, halved = (pcm.activation_maps(classifier(), places, ids, **limited) for places in (coarse, fine))
    smooth = nn.functional.interpolate(whole, scale_factor=2, mode="bilinear")
    highest = whole.amax(dim=(2, 3), keepdim=True) / smooth.amax(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(halved, smooth * highest, rtol=1e-3, atol=1e-3)


def walk_by_the_paper(activation: Tensor, reach: float, steps: int) -> Tensor:
    """The proposal [h, w] of one image, its sum 1: a walk from equal shares, place by place, float64."""
    _, height, width = activation.shape
    places = list(itertools.product(range(height), range(width)))
    weight = torch.zeros(len(places), len(places), dtype=torch.float64)
    for (u, (i, j)), (v, (p, q)) in itertools.product(enumerate(places), repeat=2):
        apart = ((i - p) ** 2 + (j - q) ** 2) / (2 * (reach * max(height, width)) ** 2)
        weight[u, v] = (activation[:, i, j].double() - activation[:, p, q].double()).norm() * math.exp(-apart)
    share = torch.full((len(places),), 1 / len(places), dtype=torch.float64)
    for _ in range(steps):
        share = torch.stack([(weight[u] / weight.sum(dim=0) * share).sum() for u in range(len(places))])
    return share.view(height, width)


@pytest.mark.parametrize("reach", [0.15, 0.6])
def test_a_soft_proposal_is_where_the_walk_ends(reach: float):
    """The paper's walk, 60 steps of it, times the CAM."""
    net, a, ids = classifier(), features(8), torch.tensor([2, 0])
    knobs = {"name": "soft_proposal", "reach": reach}
    found = choose("models.cams", knobs).bind("activation_maps")(net, a, ids)
    plain = load_method("models.cams", "cam").activation_maps(net, a, ids)
    for image in range(2):
        end = walk_by_the_paper(a[image], reach, steps=60)
        torch.testing.assert_close(walk_by_the_paper(a[image], reach, steps=61), end)
        torch.testing.assert_close(found[image], (plain[image] * end * end.numel()).float(), rtol=1e-4, atol=1e-5)


def test_a_place_unlike_all_others_is_half_of_the_proposal():
    """Every step between other places has the weight 0, so each second step ends in it; like places have equal shares."""
    a = torch.full((3, 4, 5), 0.7)
    a[:, 1, 3] = 2
    proposal = soft_proposal.proposal_map(a, 1e3, 800)
    others = torch.ones(4, 5, dtype=torch.bool)
    others[1, 3] = False
    torch.testing.assert_close(proposal[1, 3], torch.tensor(20 / 2))
    torch.testing.assert_close(proposal[others], torch.full((19,), 20 / 2 / 19))


def test_where_all_places_are_alike_a_soft_proposal_is_one():
    """So the map is the CAM, also on a grid that is halved."""
    for most in (16, 800):
        assert torch.equal(soft_proposal.proposal_map(torch.full((96, 9, 7), 0.3), 0.15, most), torch.ones(9, 7))


def test_a_soft_proposal_has_one_unit_at_every_scale():
    """Its mean is 1 on any grid; twice as fine a grid with the same features moves no place by more than a tenth."""
    coarse = features(5)[0]
    fine = coarse.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    small, large = (soft_proposal.proposal_map(x, 0.5, 800) for x in (coarse, fine))
    assert float(small.mean()) == pytest.approx(1, abs=1e-5)
    assert float(large.mean()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(nn.functional.avg_pool2d(large[None], 2)[0], small, rtol=0.1, atol=0)
    halved = soft_proposal.proposal_map(fine, 0.5, coarse[0].numel())
    assert float((halved.mean() - 1).abs()) < 0.05


class Pixels(nn.Module):
    """A stand-in backbone: its features are the image's first channel at every 16th pixel."""

    head_channels, output_stride = 1, 16

    def forward(self, images: Tensor):
        return type("Features", (), {"c5": images[:, :1, ::16, ::16]})

    def head(self, c5: Tensor) -> Tensor:
        return c5


def climbed(weights: list[float], **knobs) -> list[float]:
    """AdvCAM of class 0 at the four cells of a photograph with the values 200, 10, 20 and 30 there, 0 and 255 elsewhere."""
    net = Classifier(Pixels(), len(weights))
    with torch.no_grad():
        net.classifier.weight.copy_(torch.tensor(weights).view(-1, 1, 1, 1))
    image = torch.zeros(1, 3, 17, 17)
    image[:, 0, ::16, ::16] = torch.tensor([[200.0, 10.0], [20.0, 30.0]])
    image[:, 1, 5, 5] = 255
    read_out = choose("models.cams", {"name": "adv_cam", "step": 4, **knobs}).bind("image_maps")
    return read_out(net, image, torch.tensor([0])).flatten().tolist()


def test_adv_cam_climbs_until_the_restraint_holds_what_is_prominent():
    """By hand. Alone, all four cells have the gradient 1/4 and rise by 4 a step. With a restraint of 1 the prominent cell,
    having risen, has the gradient 1/4 − 1: it falls by 4, while the others rise by a third of 4."""
    free = climbed([1.0], iterations=3, restraint=0)
    assert free == pytest.approx([204, 14, 24, 34])
    held = climbed([1.0], iterations=3, restraint=1)
    assert held == pytest.approx([(200 + 204 + 200) / 3, *(x + (0 + 4 + 4 + 4 / 3) / 3 for x in (10, 20, 30))])
    all_prominent = climbed([1.0], iterations=3, restraint=1, prominence=0)
    assert all_prominent == pytest.approx([x + (0 + 4 + 0) / 3 for x in (200, 10, 20, 30)])


def test_no_pixel_of_adv_cam_leaves_the_photographs_range():
    """By hand: in steps of 40 the brightest cell stops at 255, the brightest value of the photograph."""
    found = climbed([1.0], iterations=4, restraint=0, step=40)
    assert found == pytest.approx([(200 + 240 + 255 + 255) / 4, 10 + 60, 20 + 60, 30 + 60])


def test_adv_cam_descends_the_other_classes():
    """By hand: where another class has twice the weight at the same cells, all cells fall."""
    assert climbed([1.0, 2.0], iterations=2, restraint=0) == pytest.approx([198, 8, 18, 28])
    assert climbed([1.0, 2.0], iterations=6, restraint=0) == pytest.approx([190, (10 + 6 + 2) / 6, 10, 20])


def test_adv_cam_of_the_photograph_alone_is_cam():
    """One iteration changes nothing."""
    image, every = photograph(70, 53), torch.arange(C)
    alone: Any = {"name": "adv_cam", "iterations": 1}
    once, plain, more = (
        multiscale_cams(classifier(), method, image[None], class_ids=[every], scales=[1.0], flip=True)[0]
        for method in (alone, "cam", SHORT["adv_cam"])
    )
    torch.testing.assert_close(once, plain, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(more, plain, atol=1e-2)


def test_adv_cam_leaves_the_photograph_and_the_classifier_as_they_are():
    """No pixel is changed in place, no gradient is left behind."""
    image, net = photograph(50, 60), classifier()
    before = image.clone()
    cams([image], [[1]], "adv_cam")
    assert torch.equal(image, before)
    assert all(weight.grad is None for weight in net.parameters())


def region_cam_by_loops(image: Tensor, class_id: int, power: int) -> Tensor:
    """One image of at most 800 places: stage by stage and place by place, float64."""
    net = classifier()
    stages = net.backbone(image[None])
    features = net.backbone.head(stages.c5)
    for stage in stages:
        stage.retain_grad()
    net.logits(features)[0, class_id].backward()
    plain = torch.einsum("d,dhw->hw", net.weight[class_id], features[0]).relu()
    informed = [(plain, features[0])] + [(stage.grad[0].clamp(min=0).sum(dim=0), stage[0]) for stage in stages]
    net.zero_grad()
    height, width = plain.shape
    total = torch.zeros(height * width, dtype=torch.float64)
    for information, vectors in informed:
        per_place = nn.functional.adaptive_avg_pool2d(information[None].detach().double(), (height, width)).flatten()
        places = nn.functional.adaptive_avg_pool2d(vectors.detach().double(), (height, width)).flatten(1).T
        places = places - places.mean(dim=0)
        like = [[max(0.0, float(a @ b / a.norm() / b.norm())) ** power for b in places] for a in places]
        mean = [sum(w * float(x) for w, x in zip(row, per_place, strict=True)) / sum(row) for row in like]
        rise = torch.tensor(mean, dtype=torch.float64) - min(mean)
        if rise.max() > 1e-3 * per_place.max():
            total += rise / rise.max()
    return (total / total.max() * plain.max().detach()).view(height, width)


@pytest.mark.parametrize("power", [1, 4])
def test_region_cam_spreads_the_gradients_of_each_stage_over_like_places(power: int):
    """As loops over stages and pairs of places say, for an image whose stages have grids of 25 × 33 to 7 × 9 cells."""
    image, ids = photograph(97, 129, 2), torch.tensor([3, 1])
    knobs = {"name": "region_cam", "power": power}
    found = choose("models.cams", knobs).bind("image_maps")(classifier(), image[None], ids)
    for channel, k in enumerate(ids.tolist()):
        expected = region_cam_by_loops(image, k, power)
        assert expected.max() > 0
        torch.testing.assert_close(found[0, channel].double(), expected, rtol=1e-3, atol=1e-3)


def test_information_at_one_place_reaches_those_that_look_alike():
    """By hand: of two kinds of places, one place of the first kind has all information; then each of its kind has it."""
    vectors = torch.ones(2, 3, 4)
    vectors[0, :, 2:] = -1
    information = torch.zeros(1, 3, 4)
    information[0, 1, 1] = 5
    expected = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(1, 3, 4)
    torch.testing.assert_close(region_cam._spread(information, vectors, (3, 4), 2), expected)


def test_a_stage_whose_gradients_are_the_same_everywhere_tells_nothing():
    """As the last one's are behind average pooling; rounding is not stretched to a map."""
    even = torch.full((1, 5, 6), 0.3) + torch.linspace(0, 1e-6, 30).view(1, 5, 6)
    assert region_cam._spread(even, features()[0], (5, 6), 2).amax() < 0.01


def parts() -> tuple[Classifier, Tensor]:
    """Two classes; a photograph of four kinds of places, two of each, whose mean is 0: head, leg, meadow and sky.

    Class 0 sees heads and a little of legs; meadow may be of either class; sky is surely of class 1.
    """
    net = Classifier(Pixels(), 2)
    net.classifier = nn.Conv2d(3, 2, 1, bias=False)
    with torch.no_grad():
        net.classifier.weight.copy_(torch.tensor([[1.0, 0.4, 0.0], [-1.0, 0.0, 0.0]]).view(2, 3, 1, 1))
    head, leg, meadow, sky = [3.0, 0, 0], [0.0, 6, 0], [0.0, -3, 3], [-3.0, -3, -3]
    return net, torch.tensor([[head, leg, meadow, sky], [head, leg, meadow, sky]]).permute(2, 0, 1)[None]


def prototypes_of_parts(**knobs) -> list[float]:
    """The map of class 0 at head, leg, meadow and sky, as shares of its maximum."""
    net, places = parts()
    read_out = choose("models.cams", {"name": "lpcam", **knobs}).bind("activation_maps")
    result = read_out(net, places, torch.tensor([0]))[0, 0]
    assert torch.equal(result[0], result[1])
    assert float(result.max()) == pytest.approx(3)  # the CAM's: 3 at heads, 2.4 at legs
    return (result[0] / result.max()).tolist()


def test_lpcam_is_likeness_to_prototypes_less_that_to_contexts():
    """By hand. Heads (softmax of 3, −3: 0.998) and legs (of 2.4, 0: 0.917) are prototypes; the others are clustered as
    meadow (of −1.2, 0: 0.231), a context, and sky (of −4.2, 3: 0.001), none."""
    head = (1 + 0) / 2 - 0
    leg = (0 + 1) / 2 - (-1 / math.sqrt(2))
    assert prototypes_of_parts() == pytest.approx([head / leg, 1, 0, 0], abs=1e-5)
    assert prototypes_of_parts(unlikely=0.5) == pytest.approx([1, 1, 0, 0], abs=1e-5)  # no context left


def test_lpcam_takes_the_surest_centre_where_none_is_sure():
    """By hand: with 0.9985 as the bar heads alone are left, whose likeness to all but heads is 0 or below it."""
    assert prototypes_of_parts(sure=0.9985, unlikely=0.9984) == pytest.approx([1, 0, 0, 0], abs=1e-5)


def test_lpcam_has_one_cluster_for_what_looks_alike():
    """Twelve clusters of two kinds of places are two; one cluster is the mean of both."""
    places = torch.tensor([[2.0, 0], [4, 0], [0, 1], [0, 3]])
    evidence = torch.tensor([0.1, 0.2, 0.3, 0.4])
    assert lpcam._centres(places, evidence, 12, 10).tolist() == [[0, 2], [3, 0]]
    assert lpcam._centres(places, evidence, 1, 10).tolist() == [[1.5, 1]]


def test_a_class_without_evidence_has_an_empty_lpcam():
    """There is nothing to cluster."""
    net, places = parts()
    read_out = choose("models.cams", "lpcam").bind("activation_maps")
    assert read_out(net, -places.abs() * torch.tensor([1.0, 1, 0]).view(3, 1, 1), torch.tensor([0])).amax() == 0


class TwoChannels(Pixels):
    """A stand-in backbone with two features, the image's first channels, and no layer that could learn."""

    head_channels, taps = 2, (0, 1, 2, 3)

    def forward(self, images: Tensor):
        return type("Features", (), {"c5": images[:, :2, ::16, ::16]})

    def freeze(self, depth: int) -> None:
        assert depth == 2


def learnt(**knobs) -> list[float]:
    """RIB of class 0 at four cells: one of 10 in the first channel, two of 1 in the second, which has half the weight."""
    net = Classifier(TwoChannels(), 2)
    with torch.no_grad():
        net.classifier.weight.copy_(torch.tensor([[1.0, 0.5], [3.0, 3.0]])[:, :, None, None])
    image = torch.zeros(1, 3, 17, 17)
    image[0, 0, 0, 0], image[0, 1, 0, 16], image[0, 1, 16, 0] = 10, 1, 1
    read_out = choose("models.cams", {"name": "rib", "step": 0.1, **knobs}).bind("image_maps")
    return read_out(net, image, torch.tensor([0])).flatten().tolist()


def test_rib_raises_the_evidence_of_places_that_tell_less():
    """By hand. The cell of 10 is above 0.4 of the maximum, so only the second channel's weight has a gradient. A step is a tenth
    of the length of both classes' weights, √19.25 at first; the second of three is (⅔) ** 0.9 of that."""
    first = 0.1 * math.sqrt(1 + 0.5**2 + 9 + 9)
    second = 0.1 * math.sqrt(1 + (0.5 + first) ** 2 + 9 + 9) * (2 / 3) ** 0.9
    assert learnt(iterations=1) == pytest.approx([10, 0.5, 0.5, 0])
    assert learnt(iterations=2) == pytest.approx([10, 0.5 + first / 2, 0.5 + first / 2, 0])
    assert learnt(iterations=3)[:2] == pytest.approx([10, 0.5 + (first + first + second) / 3])


def test_rib_ends_at_its_margin_and_before_it_lights_everything():
    """By hand: the first logit is ¼; three of four cells are above 0.04 of the maximum, so that the second CAM is the last."""
    assert learnt(iterations=5, margin=0.2) == pytest.approx([10, 0.5, 0.5, 0])
    assert learnt(iterations=5, spread=0.04) == pytest.approx(learnt(iterations=2))
    assert learnt(iterations=5)[1] > learnt(iterations=2)[1] + 0.1


def test_rib_leaves_the_classifier_as_it_is():
    """Its weights and its mode; and of one iteration it is the CAM."""
    image, net, every = photograph(50, 60), classifier(), torch.arange(C)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    alone: Any = {"name": "rib", "iterations": 1}
    once, plain, more = (
        multiscale_cams(net, method, image[None], class_ids=[every], scales=[1.0], flip=True)[0]
        for method in (alone, "cam", SHORT["rib"])
    )
    torch.testing.assert_close(once, plain, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(more, plain, atol=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(weight.grad is None for weight in net.parameters())


def test_pmm_raises_the_weak_places_of_an_uneven_cam():
    """By hand, of 1, ½, 0.04 and 0: the mean of the two above 0.05 is ¾ and the deviation ¼, so ½ becomes ½ ** (1 − 0.3 / 3);
    a CAM that is the same everywhere stays."""
    found = pmm.smoothed(torch.tensor([[[[1.0, 0.5, 0.04, 0.0]]]]), 0.3, 0.05)
    torch.testing.assert_close(found, torch.tensor([[[[1.0, 0.5**0.9, 0.0, 0.0]]]]))
    even = torch.full((1, 1, 2, 2), 0.7)
    torch.testing.assert_close(pmm.smoothed(even, 0.3, 0.05), even)


def test_pmm_gives_a_place_to_the_tag_for_which_it_is_the_larger_share():
    """By hand: of a tag that claims three places of 1 and one that claims a single place of 0.6, the common place goes to the
    second, whose all it is; places that neither claims, and those that one alone does, stay."""
    maps = torch.tensor([[[[1.0, 1.0, 1.0, 0.2]], [[0.6, 0.1, 0.0, 0.1]]]])
    left = pmm.given_to(maps, maps >= 0.3)
    assert left[0, :, 0].tolist() == [[False, True, True, True], [True, False, False, True]]


def test_pmm_has_the_height_of_the_cam():
    """And the CAM's zeros; with one tag nothing competes."""
    net, a, ids = classifier(), features(9), torch.tensor([2])
    plain = load_method("models.cams", "cam").activation_maps(net, a, ids)
    found = choose("models.cams", "pmm").bind("activation_maps")(net, a, ids)
    torch.testing.assert_close(found.amax(dim=(2, 3)), plain.amax(dim=(2, 3)))
    inside = plain > 0.05 * plain.amax(dim=(2, 3), keepdim=True)
    assert torch.equal(found > 0, inside)
    assert (found[inside] >= plain[inside] - 1e-4).all()


@pytest.mark.parametrize("method", ["adv_cam", "region_cam"])
def test_methods_that_ask_for_gradients_leave_the_network_as_it_was(method):
    """Weights that learn do so again, those that are frozen stay so, and none has got a gradient; also when it fails."""
    net = classifier()
    frozen = next(net.parameters())
    frozen.requires_grad_(False)
    try:
        cams([photograph(33, 33)], [[0]], method)
        with pytest.raises(IndexError):
            cams([photograph(33, 33)], [[99]], method)
        assert [weight.requires_grad for weight in net.parameters()] == [
            False,
            *[True] * (len(list(net.parameters())) - 1),
        ]
        assert all(weight.grad is None for weight in net.parameters())
    finally:
        frozen.requires_grad_(True)
