"""AMN: a second head learns each place's class from confident places of the CAMs, so that maps become flat over objects.

Source  Lee et al., CVPR 2022, arXiv:2203.16045 (its abstract was read), and the authors' code (gaviotas/AMN). Places whose
        CAM, relative to its maximum, is the highest and at least 0.45 are of a class, places where all are at most 0.15 are
        background, the rest is void. A head of four dilated 3×3 convolutions (rates 6, 12, 18, 24), summed, learns these
        classes by cross-entropy against smoothed labels (0.4 spread over the other classes), the mean of the mean over
        background places and the mean over other places. Image-level conditioning: features are first multiplied by a linear
        layer of the image's tags.
        Deviations: the second head is in the same network, in the later epochs of one training, beside the tag loss (theirs: a
        second network); labels are thresholded CAMs of whole photographs after the first part of the training, without CRF;
        dropout of 0.1 before the head is left out; at inference, where the tags are not known, the classes that the network
        names stand for them, and the map is the probability of a class (theirs: stretched outside of the background of the
        labels).
Memory  2 × grid² bytes per tag, in the training and in its resume.pt, as `oaa`.
"""

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from labelfactory.learning.learner import Batch, Look, Terms
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.classifier import Classifier
from models.grids import aligned_size, resample, resize_images
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._map_memory import MapMemory, cut_windows
from models.objectives._maps import relative
from models.objectives._phases import second_phase
from models.objectives._places import balanced_loss, confident_places
from models.objectives._schedule import ScheduledObjective

RATES = (6, 12, 18, 24)


class Config(MethodConfig):
    """Knobs of `amn`."""

    start: float = Field(default=0.5, gt=0, lt=1, description="share of the epochs before the second head learns")
    foreground: float = Field(default=0.45, gt=0, lt=1, description="least CAM of a place that is of a class")
    background: float = Field(default=0.15, ge=0, lt=1, description="greatest CAM of a place that is background")
    smoothing: float = Field(default=0.4, ge=0, lt=1, description="share of a label that the other classes get")
    weight: float = Field(default=1.0, gt=0, le=100, description="weight of the second head's loss")
    long_side: int = Field(
        default=384, ge=32, le=2048, description="longer side of the photographs whose CAMs are labels, pixels"
    )
    grid: int = Field(default=32, ge=4, le=128, description="cells on a side of a kept map")

    @model_validator(mode="after")
    def _ordered(self) -> "Config":
        if self.background >= self.foreground:
            raise ValueError("background must be below foreground")
        return self


class ConditionedClassifier(Classifier):
    """A classifier with a head for the class of each place, given the tags."""

    def __init__(self, backbone: Backbone, n_classes: int) -> None:
        super().__init__(backbone, n_classes)
        channels = backbone.head_channels
        self.condition = nn.Linear(n_classes, channels)
        layers = [nn.Conv2d(channels, 1 + n_classes, 3, padding=rate, dilation=rate) for rate in RATES]
        for layer in layers:
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.places = nn.ModuleList(layers)

    def place_logits(self, features: Tensor, tags: Tensor) -> Tensor:
        """[B, 1 + C, h, w] float32, the background first, of features [B, D, h, w] and tags [B, C] of 0 and 1."""
        given = features * self.condition(tags.to(self.condition.weight.dtype))[:, :, None, None].to(features.dtype)
        return torch.stack([layer(given).float() for layer in self.places]).sum(dim=0)

    def maps(self, images: Tensor) -> Tensor:
        """The probability of each class at each place, [B, C, h, w] float32, given the classes that the network names."""
        features = self.activation(images)
        logits = self.logits(features)
        named = (logits > 0) | (logits == logits.amax(dim=1, keepdim=True))
        return self.place_logits(features, named.float()).softmax(dim=1)[:, 1:]


class Amn(ScheduledObjective):
    """The tag loss, and in later epochs the loss of confident places."""

    network: ConditionedClassifier
    config: Config

    def __init__(self, network: Classifier, config: Any, *, targets: Tensor, epochs: int) -> None:
        super().__init__(network, config, targets=targets, epochs=epochs)
        self.start = second_phase(config.start, epochs, "amn's second head")
        self.memory = MapMemory(targets, config.grid)
        # each process keeps the same maps; else DDP would send them at every step
        ignored = ["memory.maps", "memory.first"]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, ignored)  # type: ignore[no-untyped-call]

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> ConditionedClassifier:
        """The classifier with its second head."""
        return ConditionedClassifier(backbone, n_classes)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags`` and ``places``; the latter is 0 in the epochs before it begins."""
        target = batch["target"]
        features = self.network.activation(batch["image"])
        tags = multilabel_soft_margin(self.network.logits(features), target)
        if int(self.finished) < self.start:
            return {"tags": tags, "places": torch.zeros_like(tags)}
        logits = self.network.place_logits(features, target)
        (_, _, *size), (_, _, *cells) = batch["image"].shape, logits.shape
        whole = self.memory.of_batch(batch["index"], target)
        cams = cut_windows(whole, batch["window"], stride=self.network.backbone.output_stride, size=size, cells=cells)
        labels = confident_places(cams, foreground=self.config.foreground, background=self.config.background)
        return {"tags": tags, "places": self.config.weight * balanced_loss(logits, labels, self.config.smoothing)}

    def after_epoch(self, epoch: int, look: Look) -> None:
        """After the first part of the training, keep the CAMs of every image."""
        super().after_epoch(epoch, look)
        if epoch != self.start:
            return
        stride, grid = self.network.backbone.output_stride, self.config.grid
        with self.looking():
            for example in look(self.config.long_side):
                class_ids = example["target"][0].nonzero()[:, 0]
                if not len(class_ids):
                    continue
                size = aligned_size(*example["image"].shape[-2:], stride=stride)
                evidence = self.network.evidence(self.network.activation(resize_images(example["image"], size)))
                cams = resample(evidence[:, class_ids].float(), stride=stride, image_size=size, size=(grid, grid))
                tags = torch.arange(len(class_ids), device=cams.device)
                self.memory.accumulate(int(example["index"]), tags, relative(cams)[0])
