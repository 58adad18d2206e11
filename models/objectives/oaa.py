"""OAA: CAMs move during training; each image accumulates the maximum of its CAMs, and a second head is trained to give it.

Source  Jiang et al., ICCV 2019 ("Integral Object Mining via Online Attention Accumulation"), and its longer form in
        TPAMI 2021, neither on arXiv; the authors' code. After every epoch but the first: the CAM of each tag,
        divided by its maximum, enters the element-wise maximum if the class is among the image's K most probable for K tags;
        a tag that never is has its CAM accumulated at the end. Integral attention: −A log σ(F), a mean over positions where
        the accumulated A is positive, and −log(1 − σ(F)), a mean over the others, of all classes. Maps are read out as
        ReLU(F).
        Deviations: a second head of the same network, in the later epochs of the same training, in place of a second
        network; the tag loss continues beside it, and so does accumulation. CAMs are those of whole photographs after an
        epoch, not of the training views, which the authors neither crop nor mirror; positions outside the photograph count
        as without object. The authors' drop layer is left out.
Memory  2 × grid² bytes per tag: 30.7 MB for 10,000 images of 1.5 tags, in the training and in its resume.pt, not in the
        checkpoint.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from labelfactory.errors import ParamsError
from labelfactory.learning.learner import Batch, Look, Terms
from labelfactory.learning.ranks import joint_mean
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.classifier import Classifier
from models.grids import aligned_size, resample, resize_images
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective
from models.objectives._map_memory import MapMemory, cut_windows

POSITIVE = 1e-3
"""Accumulated attention above this counts as positive, as in the authors' code."""
EPSILON = 1e-5


class Config(MethodConfig):
    """Knobs of `oaa`."""

    accumulate_from: int = Field(
        default=2, ge=1, description="first epoch after which CAMs are accumulated; earlier ones are noise"
    )
    integral_from: float = Field(
        default=0.5, ge=0, lt=1, description="share of the epochs before the attention loss begins"
    )
    weight: float = Field(default=1.0, gt=0, description="weight of the attention loss beside the tag loss")
    long_side: int = Field(
        default=384, ge=32, le=2048, description="longer side of the photographs whose CAMs are accumulated, pixels"
    )
    grid: int = Field(default=32, ge=4, le=128, description="cells on a side of an accumulated map")


class IntegralClassifier(Classifier):
    """A classifier with a head for the accumulated attention, which gives its own maps."""

    def __init__(self, backbone: Backbone, n_classes: int) -> None:
        super().__init__(backbone, n_classes)
        self.integral = nn.Conv2d(backbone.head_channels, n_classes, 1)
        nn.init.normal_(self.integral.weight, std=0.01)
        nn.init.zeros_(self.integral.bias)  # type: ignore[arg-type]

    def maps(self, images: Tensor) -> Tensor:
        """The integral attention [B, C, h, w] float32, ≥ 0."""
        attention: Tensor = self.integral(self.activation(images))
        return attention.float().relu()


class Oaa(Objective):
    """The tag loss, and in later epochs the attention loss."""

    network: IntegralClassifier
    config: Config
    finished: Tensor
    """[] int64: number of finished epochs."""

    def __init__(self, network: Classifier, config: Any, *, targets: Tensor, epochs: int) -> None:
        super().__init__(network, config, targets=targets, epochs=epochs)
        self.start = max(config.accumulate_from, min(math.ceil(config.integral_from * epochs), epochs - 1))
        if self.start >= epochs:
            raise ParamsError(
                f"oaa's attention loss begins after epoch {self.start}, but the training has {epochs} epochs",
                f"Set train_classifier.epochs to {self.start + 1} or more.",
            )
        self.memory = MapMemory(targets, config.grid)
        self.register_buffer("finished", torch.zeros((), dtype=torch.int64))
        # each process accumulates the same maps; else DDP would send them at every step
        ignored = ["memory.maps", "memory.first"]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, ignored)  # type: ignore[no-untyped-call]

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> IntegralClassifier:
        """The classifier with its second head."""
        return IntegralClassifier(backbone, n_classes)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags`` and ``attention``; the latter is 0 in the epochs before it begins."""
        features = self.network.activation(batch["image"])
        tags = multilabel_soft_margin(self.network.logits(features), batch["target"])
        if int(self.finished) < self.start:
            return {"tags": tags, "attention": torch.zeros_like(tags)}
        logits = self.network.integral(features).float()
        whole = self.memory.of_batch(batch["index"], batch["target"])
        (_, _, *size), (_, _, *cells) = batch["image"].shape, logits.shape
        stride = self.network.backbone.output_stride
        attention = cut_windows(whole, batch["window"], stride=stride, size=size, cells=cells)
        known = (batch["target"] < 0.5) | (whole.amax(dim=(2, 3)) > 0)
        return {"tags": tags, "attention": self.config.weight * integral_loss(logits, attention, known)}

    def after_epoch(self, epoch: int, look: Look) -> None:
        """Accumulate the CAMs of every image."""
        self.finished.fill_(epoch)
        if epoch < self.config.accumulate_from:
            return
        with self.looking():
            for example in look(self.config.long_side):
                self._accumulate(example, fill=epoch >= self.start)

    def _accumulate(self, example: Batch, *, fill: bool) -> None:
        """Accumulate the CAMs of an image's tags among its most probable classes; with `fill`, also of tags without a map."""
        class_ids = example["target"][0].nonzero()[:, 0]
        if not len(class_ids):
            return
        stride, grid = self.network.backbone.output_stride, self.config.grid
        size = aligned_size(*example["image"].shape[-2:], stride=stride)
        image = resize_images(example["image"], size)
        features = self.network.activation(image)
        evidence = self.network.evidence(features)[:, class_ids].float().relu()
        cams = resample(evidence, stride=stride, image_size=size, size=(grid, grid))[0]
        index = int(example["index"])
        shown = torch.isin(class_ids, self.network.logits(features)[0].topk(len(class_ids)).indices)
        if fill:
            shown |= ~self.memory.of_image(index, len(class_ids)).flatten(1).any(dim=1)
        highest = cams.amax(dim=(1, 2), keepdim=True)
        self.take_in(index, shown.nonzero()[:, 0], (cams / (highest + EPSILON))[shown])

    def take_in(self, index: int, tags: Tensor, maps: Tensor) -> None:
        """Keep maps [K, grid, grid] in [0, 1] of some of an image's own tags [K]."""
        self.memory.accumulate(index, tags, maps)


def integral_loss(logits: Tensor, attention: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy against soft attention, without the term that would lower weak attention.

    Args:
        logits: [B, C, h, w] float32.
        attention: [B, C, h, w] in [0, 1].
        known: [B, C] bool; others do not count among the negatives.

    Returns:
        A scalar: a mean over positive positions plus a mean over the others, of the joint batch where devices share one.
    """
    positive, negative = attention > POSITIVE, (attention <= POSITIVE) & known[:, :, None, None]
    losses = (-attention * F.logsigmoid(logits), positive), (F.softplus(logits), negative)
    means = [(loss * mask).sum() / joint_mean(mask.sum().float()).clamp(min=EPSILON) for loss, mask in losses]
    return means[0] + means[1]
