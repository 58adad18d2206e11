"""OC-CSE: who judges what, when, and what it costs."""

import pytest
import torch
import torch.nn.functional as F
from small_training import same
from tagged_pictures import SIZE, TaggedPictures, make_objective, rebuilt, targets, train_objective
from torch import Tensor

from labelfactory.errors import ParamsError
from labelfactory.settings.registry import choose
from models.cams import multiscale_cams
from models.objectives.oc_cse import OcCse, erase, erasing_mask, judgement, sample_tag

PICTURES = TaggedPictures()


def judged(epochs_done: int = 1, **options) -> OcCse:
    """An objective that has its judge, in training mode."""
    objective = make_objective("oc_cse", **options)
    for epoch in range(1, epochs_done + 1):
        objective.after_epoch(epoch, lambda size: iter(()))
    assert isinstance(objective, OcCse)
    return objective.train()


def gradients(objective: OcCse, term: Tensor) -> dict[str, Tensor]:
    """Name → gradient of each parameter that the term reaches."""
    objective.zero_grad()
    term.backward()
    return {name: p.grad for name, p in objective.named_parameters() if p.grad is not None and p.grad.any()}


def test_without_a_judge_it_learns_from_the_tags_alone():
    """The loss is that of `tags`, to the bit; the other terms are 0, so that every epoch has the same curves."""
    batch = PICTURES.batch(0, 1)
    terms = make_objective("oc_cse", area=1.0)(batch)
    expected = make_objective("tags")(batch)["tags"]
    assert list(terms) == ["tags", "erased", "area"]
    assert torch.equal(sum(terms.values()), expected)
    assert terms["erased"] == terms["area"] == 0


def test_the_judge_stays_in_evaluation_mode():
    """Its statistics are those of the time when it was made."""
    objective = judged().eval().train()
    assert objective.network.training
    assert not any(part.training for part in objective.judge.modules())


@pytest.mark.slow
def test_the_judge_is_the_network_after_its_epochs_and_learns_no_more(tmp_path):
    """Not the network of the start, not that of the end."""
    objective = make_objective("oc_cse", judge_epochs=2, epochs=4)
    at_epoch = {}
    remember = objective.after_epoch

    def after_epoch(epoch, look):
        at_epoch[epoch] = {k: v.clone() for k, v in objective.network.state_dict().items()}
        remember(epoch, look)

    objective.after_epoch = after_epoch
    train_objective(objective, tmp_path, epochs=4)
    judge = objective.judge.state_dict()
    same_as = [epoch for epoch, state in at_epoch.items() if all(torch.equal(judge[k], v) for k, v in state.items())]
    assert same_as == [2]


@pytest.mark.parametrize("freeze", [None, 1])
def test_the_judge_teaches_the_network_and_is_not_taught(freeze):
    """Its gradient passes through the erased image into the learner's last layer and backbone, also where stages are frozen."""
    objective = judged(freeze=freeze)
    reached = gradients(objective, objective(PICTURES.batch(0, 1))["erased"])
    assert "network.classifier.weight" in reached
    assert any(name.startswith("network.backbone.blocks.3") for name in reached)
    assert not any(name.startswith("judge") for name in reached)


def test_only_the_erased_class_has_a_gradient_in_the_last_layer():
    """Picture 0 has tag 0 alone: its CAM erases, the other classes' do not."""
    objective = judged()
    reached = gradients(objective, objective(PICTURES.batch(0, 5))["erased"])
    moved = reached["network.classifier.weight"].flatten(1).any(dim=1)
    assert moved.tolist() == [True, False, False]


def test_the_judge_sees_the_image_without_the_sampled_tag():
    """Put together by other means: the judge is asked for the other tag of two, and no more for the sampled."""
    objective = judged()
    batch = PICTURES.batch(1)
    torch.manual_seed(7)
    term = objective(batch)["erased"]
    torch.manual_seed(7)
    (tag,) = sample_tag(batch["target"])[0].nonzero()[0]
    (other,) = {1, 2} - {int(tag)}
    evidence = objective.network.evidence(objective.network.activation(batch["image"]))[0, tag].detach()
    mask = enlarged(evidence).relu()
    seen = 127 + (batch["image"] - 127) * (1 - mask / (mask.max() + 1e-5))
    expected = torch.zeros(3)
    expected[other] = 1
    loss = F.binary_cross_entropy_with_logits(objective.judge(seen)[0], expected)
    torch.testing.assert_close(term, 0.3 * loss, rtol=1e-4, atol=1e-5)


def enlarged(cells: Tensor) -> Tensor:
    """[33, 33] of cells [3, 3], of which cell i lies at pixel 16 i."""
    return F.interpolate(cells[None, None], (SIZE, SIZE), mode="bilinear", align_corners=True)[0, 0]


def test_an_erased_image_by_hand():
    """Evidence 2 of at most 2 takes all, 1 a half, -1 and 0 nothing; what is taken becomes grey."""
    mask = erasing_mask(torch.tensor([[[[2.0, 0.0], [-1.0, 1.0]]]]), stride=1, size=(2, 2))
    torch.testing.assert_close(mask, torch.tensor([[[[1.0, 0.0], [0.0, 0.5]]]]), rtol=0, atol=1e-5)
    image = torch.tensor([[10.0, 20.0], [30.0, 40.0]]).expand(1, 3, 2, 2)
    expected = torch.tensor([[100.0, 20.0], [30.0, 70.0]]).expand(1, 3, 2, 2)
    grey = torch.full((1, 3, 1, 1), 100.0)
    torch.testing.assert_close(erase(image, torch.tensor([[[[1.0, 0.0], [0.0, 0.5]]]]), grey), expected)


def test_each_cam_is_divided_by_its_own_maximum():
    """What shares the batch changes no mask."""
    cams = torch.tensor([[[[1.0, 0.5], [0.0, 0.0]]], [[[100.0, 0.0], [0.0, 0.0]]]])
    together = erasing_mask(cams, stride=1, size=(2, 2))
    assert torch.equal(together[:1], erasing_mask(cams[:1], stride=1, size=(2, 2)))
    assert together[0].max() > 0.99


def test_a_judgement_by_hand():
    """Logits 0 cost ln 2 each; an image without tags costs nothing and counts in the mean."""
    remaining, sampled = targets([[1], [], [0]]), targets([[0], [], [2]])
    half = judgement(torch.zeros(3, 3), remaining, sampled)
    torch.testing.assert_close(half, torch.tensor(2 / 3 * 0.6931472))
    agreed = judgement((remaining * 2 - 1) * 100, remaining, sampled)
    assert agreed < 1e-30
    assert judgement(sampled * 30, remaining, sampled) > 3  # the judge still sees what was erased, and misses the rest


def test_one_tag_of_each_image_is_sampled():
    """One of its own, each of them in time, and the same for the same seed; none of an image without tags."""
    target = PICTURES.targets
    torch.manual_seed(3)
    draws = torch.stack([sample_tag(target) for _ in range(40)])
    assert torch.equal(draws.sum(dim=2), (target.sum(dim=1) > 0).float().expand(40, -1))
    assert torch.equal(draws.amax(dim=0), target)
    torch.manual_seed(3)
    assert torch.equal(sample_tag(target), draws[0])


def test_an_image_without_tags_is_not_erased():
    """The term is 0, without a gradient, also for a batch of one; the tags are learnt from it all the same."""
    objective = judged(area=1.0)
    terms = objective(PICTURES.batch(2))
    assert terms["erased"] == terms["area"] == 0
    assert terms["tags"] > 0
    assert not gradients(objective, terms["erased"])


@pytest.mark.parametrize(("done", "weight"), [(1, 0.3), (2, 0.65), (3, 1.0)])
def test_the_weight_grows_from_the_first_judged_epoch_to_the_last(done, weight):
    """Of 4 epochs the first makes the judge."""
    batch = PICTURES.batch(0)
    terms = judged(done, epochs=4)(batch)
    single = judged(done, epochs=4, first_weight=1.0, last_weight=1.0)(batch)
    torch.testing.assert_close(terms["erased"], weight * single["erased"])


def test_the_area_is_the_mean_of_the_mask():
    """Twice the weight, twice the term; it falls along its gradient."""
    batch = PICTURES.batch(0)
    objective = judged(area=1.0)
    area = objective(batch)["area"]
    torch.testing.assert_close(judged(area=2.0)(batch)["area"], 2 * area)
    assert 0 < area < 1
    assert "network.classifier.weight" in gradients(objective, area)
    assert "area" not in judged()(batch)


def test_a_mirrored_cam_erases_in_mirror_image():
    """Enlarged on the network's grid, nothing leans to a side."""
    cams = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    mask = erasing_mask(cams, stride=16, size=(SIZE, SIZE))
    torch.testing.assert_close(erasing_mask(cams.flip(3), stride=16, size=(SIZE, SIZE)), mask.flip(3))
    assert mask.min() == 0


def test_half_precision_leaves_the_losses_in_float32():
    """As on a GPU."""
    objective = judged(area=1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = objective(PICTURES.batch(0, 1, 2))
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())


@pytest.mark.slow
@pytest.mark.parametrize("killed_in", [4, 7])
def test_a_killed_training_ends_in_the_same_bits(tmp_path, killed_in):
    """Killed in the epoch that has just got its judge, and in the one after."""
    (tmp_path / "whole").mkdir()
    expected, curve = train_objective(make_objective("oc_cse", epochs=4), tmp_path / "whole", epochs=4)
    with pytest.raises(KeyboardInterrupt):
        train_objective(make_objective("oc_cse", epochs=4), tmp_path, killed_in=killed_in, epochs=4)
    resumed, again = train_objective(make_objective("oc_cse", epochs=4, seed=1), tmp_path, epochs=4)
    assert same(resumed, expected)
    assert again == curve
    assert [row["erased"] > 0 for row in curve] == [False, True, True, True]


@pytest.mark.slow
def test_the_kept_network_is_a_classifier_that_every_read_out_knows(tmp_path):
    """Rebuilt from its weights it gives the same maps; they are in [0, 1], one a tag."""
    network, _ = train_objective(make_objective("oc_cse"), tmp_path)
    image, ids = PICTURES.batch(1)["image"][0], torch.tensor([1, 2])
    for method in ("cam", "own_maps"):
        maps = [
            multiscale_cams(net, method, [image], class_ids=[ids], scales=(1.0,), flip=True)[0]
            for net in (network, rebuilt("oc_cse", network))
        ]
        assert maps[0].shape == (2, 9, 9)
        torch.testing.assert_close(maps[1], maps[0], rtol=0, atol=1e-4)
        assert 0 <= maps[0].min() <= maps[0].max() <= 1


@pytest.mark.parametrize(
    "wrong", [{"judge_epochs": 0}, {"first_weight": -0.1}, {"last_weight": 101}, {"area": -1}, {"arae": 1}]
)
def test_knobs_out_of_range_are_refused(wrong):
    """Before anything runs."""
    with pytest.raises(ParamsError):
        choose("models.objectives", {"name": "oc_cse", **wrong})


def test_a_training_that_ends_before_its_judge_is_refused():
    """Rather than trained by tags alone under another name."""
    with pytest.raises(ParamsError, match=r"judge_epochs is 3, but the training has 3"):
        make_objective("oc_cse", judge_epochs=3, epochs=3)
