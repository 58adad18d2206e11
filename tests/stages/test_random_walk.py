"""The walk of one photograph: every method is given what it asks for, on the grid of the affinities."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from labelfactory.rows.shards import Row
from labelfactory.settings.registry import choose, method_names
from labelfactory.stage.runner import read_sections
from models.backbones import build_backbone
from stages.random_walk import RandomWalk

HEIGHT, WIDTH, EDGE = 60, 90, 60


class Sample:
    """A photograph, green to the left and blue to the right; its class is sure at the left end, its background nowhere."""

    record = SimpleNamespace(height=HEIGHT, width=WIDTH)

    def of(self, noun: str) -> Row:
        cam = np.full((1, -(-HEIGHT // 4), -(-WIDTH // 4)), 0.4, np.float16)
        cam[:, :, :6] = 0.9
        return {"class_ids": np.array([3], np.uint8), "cam": cam}

    def photograph(self) -> np.ndarray:
        image = np.full((HEIGHT, WIDTH, 3), (40, 130, 50), np.uint8)
        image[:, EDGE:] = (60, 90, 210)
        return image


def walked(method: Any, *, seeds: str = "confident", stride: int = 8) -> np.ndarray:
    """Scores of the photograph, by a network of random weights."""
    torch.manual_seed(0)
    section = read_sections()["random_walk"]
    changes = {"method": choose("models.propagation", method), "seeds": seeds, "stride": stride, "precision": "32-true"}
    stage = RandomWalk(section.model_copy(update=changes))
    stage.taught, stage.net_stride, stage.walk = False, 16, stage.cfg.method.bind("walk")
    stage.affinity = choose("models.affinity", {"name": "psa", "depths": [8, 8, 8], "width": 16})
    backbone = build_backbone("tiny", output_stride=16, state=None, pretrained=False)
    stage.net = stage.affinity.bind("build")(backbone, learn_backbone=False).eval()
    stage.confident = {"foreground": 0.6, "background": 0.2}
    row = stage.process(Sample())
    assert row["class_ids"].tolist() == [3]
    return np.asarray(row["scores"], np.float32)


@pytest.mark.parametrize("seeds", ["confident", "cam"])
@pytest.mark.parametrize("method", method_names("models.propagation"))
def test_each_method_walks(method, seeds):
    """From seeds of class and background, and from the CAM of the class alone; scores in [0, 1], on the grid of the row."""
    scores = walked(method, seeds=seeds)
    assert scores.shape == (1, -(-HEIGHT // 8), -(-WIDTH // 8))
    assert np.isfinite(scores).all()
    assert scores.min() >= 0
    assert scores.max() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("stride", [4, 8])
def test_the_photograph_lies_on_the_grid_of_the_walk(stride):
    """Nothing of the class crosses the photograph's edge, up to the cell in which it lies; the plain walk crosses it."""
    gated = walked("region_gate", stride=stride)[0]
    cells = (np.arange(gated.shape[1]) + 0.5) * WIDTH / gated.shape[1]
    assert (gated[:, cells < EDGE - stride] > 0.9).all()
    assert (gated[:, cells > EDGE + stride] == 0).all()
    assert (walked("chebyshev", stride=stride)[0] > 0.9).all()
