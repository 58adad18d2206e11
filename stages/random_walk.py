"""Spread each seed along learned affinities.

Reads   data/dataset           photographs of the training list
        data/cams              cam [K, h, w] float16 in [0, 1], class_ids [K] uint8
        data/seed_thresholds   what a confident seed is
        data/affinity          AffinityNet checkpoint
Writes  data/walks             scores [K, h, w] float16 in [0, 1], class_ids [K] uint8: no background channel, its
                               threshold is chosen after the walk
Source  Ahn & Kwak, CVPR 2018, arXiv:1803.10464. Deviations: what walks (docs/decisions/0007); the walk is a polynomial
        (docs/decisions/0004).
"""

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from labelfactory.columns import ArrayColumn
from labelfactory.examples import to_tensor
from labelfactory.params import Precision, Section
from labelfactory.per_image import PerImageStage
from labelfactory.registry import load_method, method_of
from labelfactory.shards import Row, Sample
from labelfactory.thresholds import read_thresholds, thresholds_digest
from models.affinity._network import affinity_from, finer
from models.affinity.psa import transition_of
from models.autocast import inference_precision
from models.grids import aligned_size, grid_size, resample, resize_images, sample_at_cells
from models.propagation._transition import SparseTransition
from models.seeds import confident_seeds, shares

NET_STRIDE = 8
"""Of AffinityNet's features."""


class RandomWalkConfig(Section):
    """Section `random_walk` of params.yaml."""

    method: method_of("models.propagation")  # type: ignore[valid-type]
    seeds: Literal["confident", "cam"]  # classes and background walk and compete, or the CAMs alone
    radius: int = Field(ge=2, le=16)  # cells nearer than this are joined
    beta: float = Field(gt=0)  # element-wise power on affinities
    steps: int = Field(ge=1, le=4096)  # length of the walk
    tolerance: float = Field(gt=0, lt=1)  # chebyshev: bound on |p(x) - x^steps|
    stride: Literal[4, 8]  # of the grid that is walked on
    precision: Precision


class RandomWalk(PerImageStage[RandomWalkConfig]):
    """Walks each photograph's CAMs over its affinities."""

    reads = ("dataset", "cams", "seed_thresholds", "affinity")
    writes = "walks"
    reads_rows = ("cams",)
    columns = {"scores": ArrayColumn("float16"), "class_ids": ArrayColumn("uint8")}

    def fixed(self) -> dict[str, str]:
        """AffinityNet and the thresholds."""
        thresholds = {"thresholds": thresholds_digest(self.folder("seed_thresholds"))}
        affinity = {"affinity": self.passport_of("affinity").weights_digest}
        return affinity | (thresholds if self.cfg.seeds == "confident" else {})

    def setup(self) -> None:
        """Load AffinityNet and the method."""
        state, passport = self.checkpoint_of("affinity")
        self.net = affinity_from(passport.architecture, state).to(self.device)
        self.net_stride = passport.architecture["output_stride"]
        self.walk = load_method("models.propagation", self.cfg.method).walk
        self.thresholds = read_thresholds(self.folder("seed_thresholds"))

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
        walked = self._walked(seeds[0], transition)
        scores = resample(walked[None], stride=self.cfg.stride, image_size=size, size=target)[0]
        return {"scores": scores.cpu().numpy().astype(np.float16), "class_ids": sample["class_ids"]}

    def _walked(self, cam: Tensor, transition: SparseTransition) -> Tensor:
        """Class scores [K, h, w] in [0, 1] after the walk."""
        if self.cfg.seeds == "confident":
            high, low = (self.thresholds[f"affinity_{side}"].value for side in ("foreground", "background"))
            start = confident_seeds(cam, foreground=high, background=low)
            return shares(self.walk(start, transition, steps=self.cfg.steps, tolerance=self.cfg.tolerance))
        walked = self.walk(cam, transition, steps=self.cfg.steps, tolerance=self.cfg.tolerance).clamp(min=0)
        return walked / walked.amax(dim=(1, 2), keepdim=True).clamp(min=1e-5)


if __name__ == "__main__":
    RandomWalk.main()
