"""Spread each CAM along learned affinities.

Reads   data/cams       cam [K, h, w] float16 in [0, 1], class_ids [K] uint8
        data/affinity   AffinityNet checkpoint
Writes  data/walks      scores [K, h, w] float16 in [0, 1], class_ids [K] uint8: no background channel, its threshold is
                        chosen after the walk
Source  Ahn & Kwak, CVPR 2018, arXiv:1803.10464; without background channel as in Ahn et al., CVPR 2019,
        arXiv:1904.05044. Deviations: each class is divided by its own maximum, not by the image's; the walk is a
        polynomial, docs/decisions/0004.
"""

from typing import Literal

import numpy as np
import torch
from pydantic import Field

from labelfactory.columns import ArrayColumn
from labelfactory.examples import to_tensor
from labelfactory.params import Precision, Section
from labelfactory.per_image import PerImageStage
from labelfactory.registry import load_method, method_of
from labelfactory.shards import Row, Sample
from models.affinity._network import affinity_from, finer
from models.affinity.psa import transition_of
from models.autocast import inference_precision
from models.grids import aligned_size, grid_size, resample, resize_images, sample_at_cells

NET_STRIDE = 8
"""Of AffinityNet's features."""


class RandomWalkConfig(Section):
    """Section `random_walk` of params.yaml."""

    method: method_of("models.propagation")  # type: ignore[valid-type]
    radius: int = Field(ge=2, le=16)  # cells nearer than this are joined
    beta: float = Field(gt=0)  # element-wise power on affinities
    steps: int = Field(ge=1, le=4096)  # length of the walk
    tolerance: float = Field(gt=0, lt=1)  # chebyshev: bound on |p(x) - x^steps|
    stride: Literal[4, 8]  # of the grid that is walked on
    precision: Precision


class RandomWalk(PerImageStage[RandomWalkConfig]):
    """Walks each photograph's CAMs over its affinities."""

    reads = ("dataset", "cams", "affinity")
    writes = "walks"
    reads_rows = ("cams",)
    columns = {"scores": ArrayColumn("float16"), "class_ids": ArrayColumn("uint8")}

    def fixed(self) -> dict[str, str]:
        """AffinityNet."""
        return {"affinity": self.passport_of("affinity").weights_digest}

    def setup(self) -> None:
        """Load AffinityNet and the method."""
        state, passport = self.checkpoint_of("affinity")
        self.net = affinity_from(passport.architecture, state).to(self.device)
        self.net_stride = passport.architecture["output_stride"]
        self.walk = load_method("models.propagation", self.cfg.method).walk

    @torch.no_grad()
    def process(self, sample: Sample) -> Row:
        """Walk the CAMs of one photograph."""
        record, cam = sample.record, sample["cam"]
        target = grid_size(record.height, record.width, stride=self.cfg.stride)
        if len(cam) == 0:
            return {"scores": np.zeros((0, *target), dtype=np.float16), "class_ids": sample["class_ids"]}
        size = aligned_size(record.height, record.width, stride=self.net_stride)
        image = resize_images(to_tensor(sample.photograph())[None].to(self.device), size)
        with inference_precision(self.cfg.precision, self.device):
            features = self.net(image).float()
        if self.cfg.stride < NET_STRIDE:
            features = finer(features)
        transition = transition_of(features[0], radius=self.cfg.radius, beta=self.cfg.beta)
        seeds = sample_at_cells(
            torch.from_numpy(cam)[None].to(self.device),
            stride=self.cfg.stride,
            image_size=size,
            cells=(features.shape[-2], features.shape[-1]),
        )
        walked = self.walk(seeds[0], transition, steps=self.cfg.steps, tolerance=self.cfg.tolerance)
        scores = resample(walked[None], stride=self.cfg.stride, image_size=size, size=target)[0].clamp(min=0)
        scores = scores / scores.amax(dim=(1, 2), keepdim=True).clamp(min=1e-5)
        return {"scores": scores.cpu().numpy().astype(np.float16), "class_ids": sample["class_ids"]}


if __name__ == "__main__":
    RandomWalk.main()
