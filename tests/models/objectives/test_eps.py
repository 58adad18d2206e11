"""EPS: which maps count as foreground, what they add up to, and what its network is beside a plain classifier."""

import pytest
import torch

from labelfactory.errors import ParamsError
from labelfactory.settings.registry import choose
from models.backbones import build_backbone
from models.cams import multiscale_cams
from models.classifier import Classifier, classifier_from
from models.objectives import Objective
from models.objectives.eps import ClassifierWithBackground, estimated_saliency

CONFIG = choose("models.objectives", "eps")
ARCHITECTURE = {
    "backbone": "tiny",
    "output_stride": 16,
    "folded": False,
    "classes": 2,
    "objective": {"name": "eps"},
}
TARGET = torch.tensor([[1.0, 0.0], [0.0, 0.0]])


def network(seed: int = 0) -> ClassifierWithBackground:
    """Two classes over the tiny backbone, heads strong enough to differ."""
    torch.manual_seed(seed)
    backbone = build_backbone("tiny", output_stride=16, state=None, pretrained=False)
    net = CONFIG.subclass_of(Objective).build_network(backbone, 2, CONFIG)
    torch.nn.init.normal_(net.classifier.weight, std=0.3)
    torch.nn.init.normal_(net.background.weight, std=0.3)
    return net


def objective(**knobs) -> Objective:
    config = choose("models.objectives", {"name": "eps", **knobs})
    return config.subclass_of(Objective)(network(), config, targets=TARGET, epochs=2)


def batch(count: int = 2, size: int = 33) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        "image": torch.rand(count, 3, size, size, generator=generator) * 255,
        "target": TARGET[:count],
        "index": torch.arange(count),
        "priors": torch.rand(count, size, size, generator=generator),
    }


# --- the estimate -----------------------------------------------------------------------------------------------------

SHARES = torch.tensor([[[[0.7, 0.6]], [[0.1, 0.1]], [[0.2, 0.3]]]])
"""Of two places: the tag's class wins both; then another class, and the background."""


@pytest.mark.parametrize(
    ("saliency", "overlap", "expected"),
    [
        (
            [1.0, 1.0],
            0.4,
            [0.7 / 4 + 0.75 * 0.8, 0.6 / 4 + 0.75 * 0.7],
        ),  # foreground: λ · map + (1 − λ)(1 − background)
        (
            [1.0, 0.0],
            0.4,
            [0.7 / 4 + 0.75 * 0.8, 0.6 / 4 + 0.75 * 0.7],
        ),  # half of the places it wins: still more than τ
        ([1.0, 0.0], 0.6, [0.75 * (1 - 0.9), 0.75 * (1 - 0.9)]),  # less than τ: background with the background's own
        ([0.45, 0.45], 0.4, [0.75 * (1 - 0.9), 0.75 * (1 - 0.9)]),  # no place is salient when it is rounded
    ],
    ids=["all salient", "half salient", "too little for τ", "nothing salient"],
)
def test_a_tag_is_foreground_where_its_map_overlaps_the_saliency(saliency, overlap, expected):
    """By hand, with λ = 1/4. The class that is no tag counts in neither."""
    made = estimated_saliency(
        SHARES, torch.tensor([[saliency]]), torch.tensor([[1.0, 0.0]]), overlap=overlap, foreground=0.25
    )
    torch.testing.assert_close(made, torch.tensor([[expected]]))


def test_without_tags_the_background_alone_explains_the_saliency():
    """λ = 1/2: half of what is not background."""
    made = estimated_saliency(SHARES, torch.ones(1, 1, 2), torch.zeros(1, 2), overlap=0.4, foreground=0.5)
    torch.testing.assert_close(made, torch.tensor([[[0.4, 0.35]]]))


def test_a_tag_that_wins_no_place_is_background():
    """As in the authors' code: its overlap is 0."""
    shares = torch.full((1, 3, 1, 2), 1 / 3)
    made = estimated_saliency(shares, torch.ones(1, 1, 2), torch.ones(1, 2), overlap=0.4, foreground=0.5)
    torch.testing.assert_close(made, torch.zeros(1, 1, 2), atol=1e-6, rtol=0)


def test_an_estimate_is_a_saliency():
    """In [0, 1] for any maps, and mirrored where all is."""
    shares = torch.randn(3, 6, 4, 5, generator=torch.Generator().manual_seed(0)).mul(3).softmax(dim=1)
    saliency = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1))
    target = torch.tensor([[1.0, 0, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    knobs = {"overlap": 0.4, "foreground": 0.5}
    made = estimated_saliency(shares, saliency, target, **knobs)
    assert float(made.min()) >= 0
    assert float(made.max()) <= 1
    mirrored = estimated_saliency(shares.flip(3), saliency.flip(2), target, **knobs)
    torch.testing.assert_close(mirrored.flip(2), made)


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_squared_error_at_the_cells_of_the_grid():
    """A constant prior, whatever lies between cells: mean of the squares beside the estimate of the maps."""
    learner, given = objective().eval(), batch()
    given["priors"] = torch.full_like(given["priors"], 0.75)
    with torch.no_grad():
        terms = learner(given)
        shares = learner.network.shares(learner.network.activation(given["image"]))
        flat = torch.full((2, 3, 3), 0.75)
        estimate = estimated_saliency(shares, flat, TARGET, overlap=0.4, foreground=0.5)
    torch.testing.assert_close(terms["saliency"], (estimate - flat).square().mean())
    assert set(terms) == {"tags", "saliency"}


def test_the_prior_is_read_where_the_cells_look():
    """A prior that is high in the pixels of one cell alone moves the loss; one that is high between cells does not."""
    learner, given = objective().eval(), batch()
    losses = []
    for top in (None, 16, 8):  # a crop of 33 has cells at the pixels 0, 16, 32
        given["priors"] = torch.zeros_like(given["priors"])
        if top is not None:
            given["priors"][:, top - 1 : top + 2, 15:18] = 1
        with torch.no_grad():
            losses.append(float(learner(given)["saliency"]))
    assert losses[1] != losses[0]
    assert losses[2] == losses[0]


def test_a_perfect_explanation_costs_nothing():
    """Where the tag wins all and the prior is 1 everywhere, and where the background wins all and the prior is 0."""
    learner, given = objective().eval(), batch(1)
    for strength, prior in ((60.0, 1.0), (-60.0, 0.0)):
        with torch.no_grad():
            features = learner.network.activation(given["image"])
            for layer, sign in ((learner.network.classifier, 1), (learner.network.background, -1)):
                layer.weight.zero_()
                layer.weight[0, :, 0, 0] = sign * strength / features.abs().mean()
            given["priors"] = torch.full_like(given["priors"], prior)
            assert float(learner(given)["saliency"]) < 1e-3


def test_the_saliency_reaches_the_background_and_the_tags_do_not():
    """The background has no tag; the overlap that chooses a map passes no gradient, its share does."""
    for term, reaches in (("tags", False), ("saliency", True)):
        learner = objective().train()
        learner(batch())[term].backward()
        gradient = learner.network.background.weight.grad
        assert (gradient is not None and bool(gradient.any())) is reaches, term
        assert next(learner.network.backbone.parameters()).grad.any(), term
        assert learner.network.classifier.weight.grad.any(), term


def test_its_weight_counts_for_the_saliency_alone():
    """Twice the weight, twice the term."""
    with torch.no_grad():
        once, twice = (objective(weight=weight).eval()(batch()) for weight in (1.0, 2.0))
    torch.testing.assert_close(twice["saliency"], 2 * once["saliency"])
    torch.testing.assert_close(twice["tags"], once["tags"])


def test_the_estimate_is_in_float32_under_mixed_precision():
    """Sums over maps and the squared error; the features alone are in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        terms = objective().train()(batch())
    assert all(term.dtype == torch.float32 and bool(term.isfinite()) for term in terms.values())


# --- the network ------------------------------------------------------------------------------------------------------


def test_the_network_is_a_classifier_with_one_map_more():
    """Logits, weights and CAMs are those of a plain classifier with the same weights; its own maps are shares of each place."""
    net = network().eval()
    plain = Classifier(net.backbone, 2).eval()
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("background")})
    images = batch()["image"]
    with torch.no_grad():
        torch.testing.assert_close(net(images), plain(images))
        maps, shares = net.maps(images), net.shares(net.activation(images))
    assert net.weight.shape == (2, 96)
    assert maps.shape == (2, 2, 3, 3)
    torch.testing.assert_close(maps, shares[:, :2])
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(2, 3, 3))
    ids = [torch.tensor([0, 1])] * 2
    cams = [multiscale_cams(one, "cam", images, class_ids=ids, scales=[1.0], flip=True) for one in (net, plain)]
    torch.testing.assert_close(cams[0], cams[1])


def test_what_is_kept_is_built_again_and_read_out():
    """From architecture and state: the same maps, the background's weights included; K = 0 is legal."""
    net = network().eval()
    rebuilt = classifier_from(ARCHITECTURE, net.state_dict())
    images = batch()["image"]
    assert isinstance(rebuilt, ClassifierWithBackground)
    with torch.no_grad():
        torch.testing.assert_close(rebuilt.maps(images), net.maps(images), atol=1e-4, rtol=1e-4)
    ids = [torch.tensor([1]), torch.tensor([], dtype=torch.int64)]
    for method in ("cam", "own_maps"):
        maps = multiscale_cams(rebuilt, method, images, class_ids=ids, scales=[1.0, 1.5], flip=True)
        assert [each.shape for each in maps] == [(1, 9, 9), (0, 9, 9)]
        assert all(bool(((each >= 0) & (each <= 1)).all()) for each in maps)


def test_it_learns_from_priors_and_says_so():
    """The stage reads the rows that `reads` names; the rows bring their own supervision."""
    kind = CONFIG.subclass_of(Objective)
    assert kind.reads == ("priors",)
    assert kind.supervision == frozenset()


@pytest.mark.parametrize(("knob", "value"), [("overlap", 1.0), ("overlap", -0.1), ("foreground", 1.1), ("weight", -1)])
def test_knobs_out_of_range_are_refused(knob, value):
    """Before anything runs."""
    with pytest.raises(ParamsError, match=knob):
        choose("models.objectives", {"name": "eps", knob: value})


@pytest.mark.slow
def test_it_learns_where_a_square_is():
    """A bright square in a corner, the prior on it: after some steps the tag's map is highest there."""
    learner = objective().train()
    optimizer = torch.optim.Adam(learner.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        images, priors = torch.rand(8, 3, 65, 65, generator=generator) * 60, torch.zeros(8, 65, 65)
        target = torch.tensor([[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 4)
        for k in range(8):
            row, column = torch.randint(0, 33, (2,), generator=generator).tolist()
            images[k, k // 4 * 2, row : row + 32, column : column + 32] = 255
            priors[k, row : row + 32, column : column + 32] = 1
        optimizer.zero_grad()
        sum(learner({"image": images, "target": target, "priors": priors}).values()).backward()
        optimizer.step()
    image = torch.full((1, 3, 65, 65), 30.0)
    image[0, 0, :33, :33] = 255
    with torch.no_grad():
        maps = learner.eval().network.maps(image)[0]
    assert float(maps[0, :2, :2].mean()) > float(maps[0, 3:, 3:].mean()) + 0.3
    assert float(maps[0].mean()) > float(maps[1].mean())
