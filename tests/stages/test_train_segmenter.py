"""What the segmenter's checkpoint tells beside its weights: the distance of a picture from what was learnt."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from exportable import tiny_segmenter

from exports._predictor import Predictor
from labelfactory.learning.checkpoints import load_checkpoint, save_checkpoint
from labelfactory.settings.closure import code_of
from models.distance import LEAST, TEXT, Distance
from sources.demo import render_image
from stages import train_segmenter
from stages.train_segmenter import TrainSegmenter


@dataclass(frozen=True)
class Record:
    """A drawn picture that notes that it was read."""

    number: int
    read: list[int]

    def photograph(self) -> np.ndarray:
        self.read.append(self.number)
        return render_image(self.number, 0)[0]


@pytest.fixture
def segmenter(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    return tiny_segmenter(tmp_path)


def texts(segmenter: Path, count: int) -> tuple[dict[str, str], list[int]]:
    """What a stage of so many photographs writes after the training of this net, and which of them it read."""
    read: list[int] = []
    stage = TrainSegmenter(None)
    stage.records = [Record(k, read) for k in range(count)]
    net = Predictor(segmenter).net
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    written = stage.texts(net)
    assert all(torch.equal(weight, before[name]) for name, weight in net.state_dict().items())
    return written, read


def test_the_distance_is_measured_on_a_sample(segmenter, monkeypatch):
    """Spread over all photographs, each read once; the weights stay, and a second time gives the same text."""
    monkeypatch.setattr(train_segmenter, "SAMPLE", 24)
    written, read = texts(segmenter, 60)
    assert len(read) == len(set(read)) == 24
    assert (min(read), max(read)) == (0, 59)
    assert Distance.from_text(written[TEXT]).photographs == 24
    assert texts(segmenter, 60)[0] == written


def test_few_photographs_tell_nothing(segmenter):
    """None is read, and the checkpoint is as one of an older version."""
    assert texts(segmenter, LEAST - 1) == ({}, [])


def test_the_key_holds_how_it_is_measured():
    """A network that was trained before the distance, or with another one, is trained again."""
    assert "models/distance.py" in code_of("stages.train_segmenter")
    assert "models/distance.py" not in code_of("stages.train_teacher")


def test_the_weights_digest_is_that_without_it(segmenter, tmp_path):
    """All that was made with the weights stays: keys cite their digest alone."""
    state, stamped = load_checkpoint(segmenter)
    assert save_checkpoint(tmp_path / "c", state, stamped, {TEXT: "{}"}).weights_digest == stamped.weights_digest
