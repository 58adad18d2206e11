"""Adversarial erasing: where the CAMs peak is erased, and the same network must still name the tags by the rest.

Source  Wei et al., CVPR 2017, arXiv:1703.08448 (its abstract was read): a network is trained, what its heatmap marks is erased
        from the image, and the next network is trained on the rest, so that it finds other parts; the parts are put together.
        With one network for all rounds and all in one step, as Stammes et al., arXiv:2011.04626, and their code
        (ErikStammes/EADER) mask the image by a sigmoid of the map and train end to end; theirs pushes the class out of the
        rest by a second network, which here `gain` does with one.
        Deviations: the erased area gets no gradient; several tags are erased together; the CAM that is read out is the plain
        one, whose weights have learnt from both images. Threshold, rounds and weight are choices of this project.
"""

import torch
from pydantic import Field
from torch import Tensor

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective
from models.objectives._erasing import erase, erasing_mask


class Config(MethodConfig):
    """Knobs of `adversarial_erasing`."""

    threshold: float = Field(
        default=0.6, gt=0, lt=1, description="pixels whose CAM, relative to its maximum, is above this are erased"
    )
    rounds: int = Field(default=1, ge=1, le=5, description="times that what the network sees is erased")
    weight: float = Field(default=1.0, ge=0, le=100, description="weight of the tag loss of each erased image")


class AdversarialErasing(Objective):
    """The tag loss of the image, and of what is left of it when its CAMs' peaks are erased."""

    config: Config

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags`` and ``erased``, which is a mean over the rounds."""
        image, target = batch["image"], batch["target"]
        gone = torch.zeros_like(image[:, :1])
        losses: list[Tensor] = []
        for _ in range(self.config.rounds + 1):
            features = self.network.activation(erase(image, gone, self.network.backbone.mean))
            losses.append(multilabel_soft_margin(self.network.logits(features), target))
            if len(losses) <= self.config.rounds:
                gone = torch.maximum(gone, self.peaks(features.detach(), target, (image.shape[2], image.shape[3])))
        return {"tags": losses[0], "erased": self.config.weight * torch.stack(losses[1:]).mean()}

    @torch.no_grad()
    def peaks(self, features: Tensor, target: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, 1, *size] of 0 and 1: where a tag's CAM of features [B, D, h, w] is above the threshold."""
        evidence = self.network.evidence(features).float() * target[:, :, None, None]
        masks = erasing_mask(evidence, stride=self.network.backbone.output_stride, size=size)
        return (masks.amax(dim=1, keepdim=True) > self.config.threshold).float()
