"""A photograph of 20 megapixels through all that `random_walk` does with one: AffinityNet, transition, walk."""

import subprocess
import sys

import pytest
from workspace import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux alone"),
]

HEIGHT, WIDTH = 3872, 5168
ONE_PHOTOGRAPH = """
import resource, sys
from types import SimpleNamespace
import numpy as np
import torch
from labelfactory.settings.registry import choose
from labelfactory.stage.runner import read_sections
from models.backbones import build_backbone
from models.backbones._fold import fold_norms
from stages.random_walk import RandomWalk

class Sample:
    record = SimpleNamespace(height=int(sys.argv[1]), width=int(sys.argv[2]))

    def of(self, noun):
        cells = [-(-side // 4) for side in (self.record.height, self.record.width)]
        return {"class_ids": np.array([0, 1], np.uint8), "cam": np.random.rand(2, *cells).astype(np.float16)}

    def photograph(self):
        side = (self.record.height, self.record.width, 3)
        return np.random.default_rng(0).integers(0, 256, side, dtype=np.uint8)

cfg = read_sections()["random_walk"].model_copy(update={"stride": 4, "precision": "32-true"})
backbone = build_backbone("efficientnet_lite0", output_stride=16, state=None, pretrained=False)
fold_norms(backbone)
stage = RandomWalk(cfg)
stage.taught, stage.net_stride, stage.walk = False, 16, cfg.method.bind("walk")
stage.affinity = choose("models.affinity", {"name": "psa", "depths": [32, 64, 128], "width": 128})
stage.net = stage.affinity.bind("build")(backbone, learn_backbone=False).eval()
stage.confident = {"foreground": 0.6, "background": 0.2}
made = stage.process(Sample())
print(*made["scores"].shape, bool(np.isfinite(made["scores"]).all()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_twenty_megapixels_take_less_than_4_gb():
    """Of memory in all, libraries included, at stride 4."""
    words = [sys.executable, "-c", ONE_PHOTOGRAPH, str(HEIGHT), str(WIDTH)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    *shape, finite, kib = done.stdout.split()
    assert (shape, finite) == (["2", str(HEIGHT // 4), str(WIDTH // 4)], "True")
    assert int(kib) * 1024 < 4e9
