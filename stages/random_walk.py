"""Spread class scores of each photograph along learned affinities: a teacher's if there is a teacher, else seeds or CAMs.

Reads   data/dataset           photographs of the training list
        data/cams              cam [K, h, w] float16 in [0, 1], class_ids [K] uint8
        data/seed_thresholds   thresholds of confident seeds
        data/affinity          AffinityNet checkpoint
        data/teacher           checkpoint of a segmenter, where train_teacher is enabled
Writes  data/walks             scores [K, h, w] float16 in [0, 1], class_ids [K] uint8: without a background channel, whose
                               threshold is chosen after the walk
Source  Ahn & Kwak, CVPR 2018, arXiv:1803.10464. Deviations: the start of the walk (docs/decisions/0007, 0009); the walk is
        a polynomial (docs/decisions/0004).
"""

from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from labelfactory.dataset.tensors import to_tensor
from labelfactory.devices import Precision
from labelfactory.rows.columns import ArrayColumn
from labelfactory.rows.shards import Row, Sample
from labelfactory.settings.params import Scales, Section
from labelfactory.settings.registry import method_of
from labelfactory.settings.thresholds import read_thresholds, thresholds_digest
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import main
from models.affinity._network import affinity_from, affinity_method
from models.autocast import inference_precision
from models.grids import aligned_size, grid_size, resample, resize_images, sample_at_cells
from models.propagation._transition import SparseTransition
from models.seeds import confident_seeds, of_classes, shares
from models.segmenters import predict, segmenter_from


class RandomWalkConfig(Section):
    """Section `random_walk` of params.yaml."""

    moved = dict.fromkeys(("steps", "tolerance"), "method")

    method: method_of("models.propagation") = Field(
        description="how scores spread: the plain walk as a polynomial, its single steps, or a walk of another kind"
    )  # type: ignore[valid-type]
    seeds: Literal["confident", "cam"] = Field(
        description=(
            "start of the walk without a teacher: the confident seeds of classes and background, which then "
            "compete for each cell, or the CAMs of the classes alone"
        )
    )
    teacher_scales: Scales = Field(description="scales of the photograph at a teacher's input")
    radius: int = Field(ge=2, le=16, description="cells nearer than this are joined")
    beta: float = Field(gt=0, description="power on affinities; higher values sharpen borders")
    stride: Literal[4, 8] = Field(description="pixels per cell of the walk's grid")
    precision: Precision = Field(description="of the network")


class RandomWalk(PerImageStage[RandomWalkConfig]):
    """Walks each photograph's class scores over its affinities."""

    reads = ("dataset", "cams", "seed_thresholds", "affinity", "teacher")
    writes = "walks"
    reads_rows = ("cams",)
    columns = {"scores": ArrayColumn("float16"), "class_ids": ArrayColumn("uint8")}

    @cached_property
    def taught(self) -> bool:
        """Whether a teacher was trained."""
        return self.has_checkpoint("teacher")

    def fixed(self) -> dict[str, str]:
        """AffinityNet, and the teacher or the thresholds that the start of the walk depends on."""
        digests = {"affinity": self.passport_of("affinity").weights_digest}
        if self.taught:
            return digests | {"teacher": self.passport_of("teacher").weights_digest}
        if self.cfg.seeds == "confident":
            return digests | {"thresholds": thresholds_digest(self.folder("seed_thresholds"))}
        return digests

    def setup(self) -> None:
        """Load the networks and the method."""
        state, passport = self.checkpoint_of("affinity")
        self.net = affinity_from(passport.architecture, state).to(self.device)
        self.net_stride = passport.architecture["output_stride"]
        self.affinity = affinity_method(passport.architecture)
        self.walk = self.cfg.method.bind("walk")
        thresholds = read_thresholds(self.folder("seed_thresholds"))
        self.confident = {side: thresholds[f"affinity_{side}"].value for side in ("foreground", "background")}
        if self.taught:
            state, passport = self.checkpoint_of("teacher")
            self.teacher = segmenter_from(passport.architecture, state).to(self.device)

    @torch.no_grad()
    def process(self, sample: Sample) -> Row:
        """The walk of one photograph."""
        record, ids = sample.record, sample.of("cams")["class_ids"]
        target = grid_size(record.height, record.width, stride=self.cfg.stride)
        if len(ids) == 0:
            return {"scores": np.zeros((0, *target), dtype=np.float16), "class_ids": ids}
        size = aligned_size(record.height, record.width, stride=self.net_stride)
        photograph = to_tensor(sample.photograph())[None].to(self.device)
        resized = resize_images(photograph, size)
        with inference_precision(self.cfg.precision, self.net, resized):
            features = self.net(resized).float()
        transition = self.affinity.module.transition(
            features, stride=self.cfg.stride, radius=self.cfg.radius, beta=self.cfg.beta
        )
        cam = torch.from_numpy(sample.of("cams")["cam"]).to(self.device)
        known = self._taught(photograph, ids) if self.taught else cam
        start = sample_at_cells(known[None], stride=self.cfg.stride, image_size=size, cells=transition.grid)
        walked = self._walked(start[0], transition, resized[0])
        scores = resample(walked[None], stride=self.cfg.stride, image_size=size, size=target)[0]
        return {"scores": scores.cpu().numpy().astype(np.float16), "class_ids": ids}

    def _taught(self, photograph: Tensor, ids: NDArray[np.uint8]) -> Tensor:
        """The teacher's probabilities of the background and of the tagged classes, [1 + K, H, W], summing to 1."""
        with inference_precision(self.cfg.precision, self.teacher, photograph, scale=min(self.cfg.teacher_scales)):
            probabilities = predict(self.teacher, photograph, scales=self.cfg.teacher_scales, flip=False)[0].float()
        return of_classes(probabilities, ids)

    def _walked(self, known: Tensor, transition: SparseTransition, photograph: Tensor) -> Tensor:
        """Class scores [K, h, w] in [0, 1] after the walk, of CAMs or a teacher's probabilities at the cells.

        The photograph is the network's input, [3, H, W] in [0, 255]; methods that ask for it are given it.
        """
        asked = {"photograph": photograph} if self.cfg.method.takes("walk", "photograph") else {}
        if not self.taught and self.cfg.seeds == "cam":
            walked = self.walk(known, transition, **asked).clamp(min=0)
            return walked / walked.amax(dim=(1, 2), keepdim=True).clamp(min=1e-5)
        start = known if self.taught else confident_seeds(known, **self.confident)
        return shares(self.walk(start, transition, **asked))


if __name__ == "__main__":
    main(RandomWalk)
