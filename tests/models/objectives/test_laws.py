"""What holds for every objective: a killed run ends in the same bits, two devices learn as one, every term is a curve, the
loss falls. A new file of models/objectives is tested by its being there.
"""

import pickle

import pytest
import torch
from drawn_photographs import BATCH, CLASSES, STEPS, TAGS, views
from objective_training import new_objective, settings, tag_loss, train
from small_training import same

from labelfactory.learning.learner import Learner
from labelfactory.learning.ranks import training_devices
from labelfactory.learning.training import write_curve
from labelfactory.settings.registry import method_names

OBJECTIVES = method_names("models.objectives")
SHARING = [name for name in OBJECTIVES if new_objective(name).share_multiple]
TOLERANCE = 1e-4
"""Of losses and weights around 1 after six steps in float32: AdamW's first steps enlarge the rounding of small gradients."""

every_objective = pytest.mark.parametrize("name", OBJECTIVES)


@pytest.mark.slow
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


@pytest.mark.parametrize("name", SHARING)
def test_an_objective_travels_to_another_process(name):
    """It is pickled for each device: it holds no open file and no function without a name."""
    objective = new_objective(name)
    assert same(pickle.loads(pickle.dumps(objective)), objective)


def test_what_cannot_share_a_batch_trains_on_one_device(tmp_path, monkeypatch, capsys):
    """However many there are, and says nothing of several."""
    monkeypatch.setattr(Learner, "share_multiple", 0)
    train(tmp_path, "tags", devices=2, epochs=1)
    assert "devices share" not in capsys.readouterr().err
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.setenv("LABELFACTORY_DEVICES", "2")
    assert [training_devices(BATCH, multiple) for multiple in (1, 0)] == [2, 1]


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
    """Squares of three colours: the tags are learnt, by the term and by the network; another term may grow, as its weight does."""
    before = tag_loss(new_objective(name).network)
    network, curve = train(tmp_path, name, epochs=40)
    tags = [row.get("tags", row["loss"]) for row in curve]
    assert sum(tags[-3:]) < 0.9 * sum(tags[:3])
    assert float(tag_loss(network)) < 0.9 * float(before)


def test_a_set_of_photographs_is_of_every_kind():
    """With no tag, one, two; each class in at least three, as objectives of pairs need; whole batches."""
    assert {len(tags) for tags in TAGS} == {0, 1, 2}
    assert all(sum(tag in tags for tags in TAGS) >= 3 for tag in CLASSES.names)
    assert len(TAGS) == STEPS * settings().batch_size
