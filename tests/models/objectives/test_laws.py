"""What holds for every objective: a killed run ends in the same bits, two devices learn as one, every term is a curve, the
loss falls, the network that is kept can be built again. A new file of models/objectives is tested by its being there.
"""

import pickle
from functools import reduce
from operator import add

import pytest
import torch
from objective_training import (
    BATCH,
    CLASSES,
    STEPS,
    TAGS,
    architecture,
    new_objective,
    settings,
    tag_loss,
    train,
    views,
)
from small_training import same

from labelfactory.learning.training import write_curve
from labelfactory.settings.registry import method_names
from models.cams import multiscale_cams
from models.classifier import classifier_from

OBJECTIVES = method_names("models.objectives")
SHARING = [name for name in OBJECTIVES if new_objective(name).shares_batches]
TOLERANCE = 1e-4
"""Of losses and weights around 1 after six steps in float32: AdamW's first steps enlarge the rounding of small gradients."""

every_objective = pytest.mark.parametrize("name", OBJECTIVES)


@every_objective
def test_a_run_that_is_killed_twice_ends_in_the_same_bits(tmp_path, name):
    """In its second epoch and, resumed, in its third: the bits of the network and the curve of an undisturbed run.

    Each run starts from other random weights, so whatever the state does not bring back shows.
    """
    expected, curve = train(tmp_path / "whole", name)
    epoch_and_a_step = (STEPS + 1) * BATCH
    for seed in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "killed", name, seed=seed, killed_after=epoch_and_a_step)
    network, resumed = train(tmp_path / "killed", name, seed=2)
    assert resumed == curve
    assert same(network, expected)
    assert [row["epoch"] for row in curve] == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARING)
def test_two_devices_learn_what_one_learns_from_the_joint_batch(tmp_path, name):
    """Each term of every epoch, weights and statistics, within rounding."""
    one, expected = train(tmp_path / "one", name)
    two, curve = train(tmp_path / "two", name, devices=2)
    for row, wanted in zip(curve, expected, strict=True):
        assert row == pytest.approx(wanted, rel=TOLERANCE, abs=TOLERANCE)
    for key, tensor in one.state_dict().items():
        assert torch.allclose(tensor, two.state_dict()[key], atol=TOLERANCE), key


@every_objective
def test_the_curve_has_each_term_and_they_add_up(tmp_path, name):
    """A column a term in the CSV, where there are several; their sum is the loss."""
    _, curve = train(tmp_path, name)
    objective = new_objective(name)
    terms = objective(views([0, 3, 6, 7], objective.reads))
    columns = ["epoch", "loss", "learning_rate", *(terms if len(terms) > 1 else [])]
    write_curve(tmp_path / "curve.csv", curve)
    lines = (tmp_path / "curve.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].split(",") == columns
    assert len(lines) == 1 + len(curve)
    if len(terms) > 1:
        for row in curve:
            assert sum(row[term] for term in terms) == pytest.approx(row["loss"], abs=1e-5)


@pytest.mark.slow
@every_objective
def test_the_loss_falls_on_an_easy_set(tmp_path, name):
    """Squares of three colours: from the epoch on in which every term counts the loss falls, and the tags are learnt."""
    before = tag_loss(new_objective(name).network)
    network, curve = train(tmp_path, name, epochs=40)
    names = [key for key in curve[0] if key not in ("epoch", "loss", "learning_rate")]
    used = [key for key in names if any(row[key] != 0 for row in curve)]
    complete = [row["loss"] for row in curve if all(row[key] != 0 for key in used)]
    assert sum(complete[-3:]) < 0.9 * sum(complete[:3])
    assert float(tag_loss(network)) < 0.9 * float(before)


@every_objective
@pytest.mark.parametrize("indices", [[0], [6], [6, 3]], ids=["one", "one without tags", "one of two without tags"])
@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
def test_any_batch_has_a_finite_loss_in_float32_and_a_gradient(name, indices, bf16):
    """A batch of one, an image without tags, mixed precision; the gradient reaches the backbone."""
    objective = new_objective(name).train()
    batch = views(indices, objective.reads)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        terms = objective(batch)
    for term, value in terms.items():
        assert value.shape == (), term
        assert value.dtype == torch.float32, term
    reduce(add, terms.values()).backward()
    gradients = [p.grad for p in objective.network.backbone.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


@every_objective
def test_the_network_that_is_kept_is_built_again_and_read_out(tmp_path, name):
    """From passport and weights alone: the same logits and maps; CAMs and the network's own maps in [0, 1] for each tag, also
    where there is none.
    """
    network, _ = train(tmp_path, name)
    rebuilt = classifier_from(architecture(name), network.state_dict())
    image = views([3])["image"][0]
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(image[None]), network(image[None]))
        torch.testing.assert_close(rebuilt.maps(image[None]), network.maps(image[None]), atol=1e-4, rtol=1e-4)
    for method in ("cam", "own_maps"):
        for class_ids in ([0, 1], []):
            tags = [torch.tensor(class_ids, dtype=torch.int64)]
            maps = multiscale_cams(rebuilt, method, [image], class_ids=tags, scales=[1.0, 1.5], flip=True).maps[0]
            assert maps.shape == (len(class_ids), 9, 9)
            assert maps.isfinite().all()
            assert ((maps >= 0) & (maps <= 1)).all()


@every_objective
def test_the_networks_own_maps_of_a_mirror_image_are_mirrored(name):
    """As its CAMs are, where the network looks straight: its kernels are made symmetric."""
    network = new_objective(name).network.eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 4:
                parameter.copy_((parameter + parameter.flip(3)) / 2)
        images = views([3, 0])["image"]
        maps = network.maps(images)
        assert maps.shape == (2, len(CLASSES), 3, 3)
        torch.testing.assert_close(network.maps(images.flip(3)), maps.flip(3), atol=1e-4, rtol=1e-4)


@every_objective
def test_it_travels_to_another_process(name):
    """Several devices are a process each: an objective holds no open file and no function without a name."""
    objective = new_objective(name)
    again = pickle.loads(pickle.dumps(objective))
    assert same(again, objective)


def test_a_set_of_photographs_is_of_every_kind():
    """With no tag, one, two; each class in at least three, as objectives of pairs need; whole batches."""
    assert {len(tags) for tags in TAGS} == {0, 1, 2}
    assert all(sum(tag in tags for tags in TAGS) >= 3 for tag in CLASSES.names)
    assert len(TAGS) == STEPS * settings().batch_size
