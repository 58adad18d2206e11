"""OC-CSE: a frozen ordinary classifier judges the image with the CAM of one class erased.

Source  Kweon et al., ICCV 2021, "Unlocking the Potential of Ordinary Classifier", and the authors' code
        (KAIST-vilab/OC-CSE; no arXiv id): binary cross-entropy of the tags, plus a weight times the judge's binary
        cross-entropy on the erased image against the remaining tags; the weight grows from 0.3 to 1.0 over 15 epochs.
        Deviations: the judge is a copy of the network after its first `judge_epochs` epochs, and training continues from
        there (theirs: two networks, the judge trained before); a CAM is divided by its own maximum (theirs: by the
        batch's); it is enlarged on the network's grid; erased pixels take the backbone's mean colour, as theirs do on
        normalised images; `area`, which their code does not have, is off by default.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from labelfactory.errors import ParamsError
from labelfactory.learning.learner import Batch, Look, Terms
from labelfactory.settings.registry import MethodConfig
from models.classifier import Classifier
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective
from models.objectives._erasing import erase, erasing_mask, sample_tag


class Config(MethodConfig):
    """Knobs of `oc_cse`."""

    judge_epochs: int = Field(
        default=1, ge=1, le=999, description="epochs on tags alone, after which the network is copied as the judge"
    )
    first_weight: float = Field(default=0.3, ge=0, le=100, description="weight of the judge's loss in its first epoch")
    last_weight: float = Field(default=1.0, ge=0, le=100, description="its weight in the last epoch; linear between")
    area: float = Field(
        default=0.0, ge=0, le=100, description="weight of the erased share of the image; 0: no such term"
    )


class OcCse(Objective):
    """The tag loss, and after `judge_epochs` epochs the judge's loss on the image with one tag erased.

    The network to be kept is a plain `Classifier`.

    Attributes:
        judge: the network as it was after `judge_epochs` epochs; in evaluation mode, without gradients. Unused before.
        finished: number of finished epochs, int64 scalar.

    Raises:
        ParamsError: the training ends before the judge is copied.
    """

    share_multiple = 0  # it draws a tag of each image
    finished: Tensor

    def __init__(self, network: Classifier, config: Any, *, targets: Tensor, epochs: int) -> None:
        super().__init__(network, config, targets=targets, epochs=epochs)
        if config.judge_epochs >= epochs:
            raise ParamsError(
                f"oc_cse.judge_epochs is {config.judge_epochs}, but the training has {epochs} epochs",
                "Set more epochs, or a lower judge_epochs.",
            )
        self.judge = copy.deepcopy(network).requires_grad_(False).eval()
        self.judge.backbone.frozen = False  # a frozen stem passes no gradient back to the erased image
        self.register_buffer("finished", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> "OcCse":
        """Set the mode; the judge stays in evaluation mode."""
        super().train(mode)
        self.judge.eval()
        return self

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags``, ``erased`` (0 while there is no judge) and, with its knob, ``area``."""
        images, target = batch["image"], batch["target"]
        features = self.network.activation(images)
        terms = {"tags": multilabel_soft_margin(self.network.logits(features), target)}
        judged = int(self.finished) - self.config.judge_epochs
        extra = ["erased", "area"] if self.config.area else ["erased"]
        if judged < 0:
            return {**terms, **{name: torch.zeros_like(terms["tags"]) for name in extra}}
        sampled = sample_tag(target)
        cams = (self.network.evidence(features).float() * sampled[:, :, None, None]).sum(dim=1, keepdim=True)
        mask = erasing_mask(cams, stride=self.network.backbone.output_stride, size=(images.shape[2], images.shape[3]))
        erased = erase(images, mask, self.judge.backbone.mean)
        terms["erased"] = self.weight(judged) * judgement(self.judge(erased), target - sampled, sampled)
        if self.config.area:
            terms["area"] = self.config.area * mask.mean()
        return terms

    def weight(self, judged: int) -> float:
        """Weight of the judge's loss in an epoch, by the number of finished epochs with a judge."""
        first, last = self.config.first_weight, self.config.last_weight
        steps = max(1, self.epochs - self.config.judge_epochs - 1)
        return float(first + (last - first) * judged / steps)

    def after_epoch(self, epoch: int, look: Look) -> None:
        """After `judge_epochs` epochs, copy the network into the judge."""
        self.finished.fill_(epoch)
        if epoch == self.config.judge_epochs:
            self.judge.load_state_dict(self.network.state_dict())


def judgement(logits: Tensor, remaining: Tensor, sampled: Tensor) -> Tensor:
    """Mean binary cross-entropy of the judge's logits [B, C] against the tags that remain; 0 for images without tags."""
    losses = F.binary_cross_entropy_with_logits(logits.float(), remaining.float(), reduction="none").mean(dim=1)
    return (losses * sampled.sum(dim=1)).mean()
