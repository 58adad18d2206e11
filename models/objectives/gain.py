"""GAIN: what is left of an image outside a tag's attention must not show the tag.

Source  Li et al., CVPR 2018, arXiv:1802.10171 (its abstract was read). Attention mining: the attention A of a tag becomes a
        soft mask σ(ω (A − s)); the image times one minus the mask goes through the same network, and the probability of the
        tag there is added to the tag loss. The mask passes the gradient, so attention grows until nothing of the tag is left.
        Settings: s 0.5 is in two implementations that were read (alokwhitewolf/Guided-Attention-Inference-Network with ω 8,
        ErikStammes/EADER with ω 100); ω 10 and the weight 1 are the paper's from memory.
        Deviations: attention is the CAM, which Grad-CAM at the last features equals for this classifier, divided by its
        maximum; one tag of each image is drawn at each step (theirs: all); the first epochs learn from the tags alone, since
        the mask of a network that knows nothing keeps it from learning (the first of the two implementations starts from a
        trained classifier); masked pixels take the backbone's mean colour.
"""

import torch
from pydantic import Field
from torch import Tensor

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._erasing import erase, erasing_mask, gradients_to_images, sample_tag
from models.objectives._schedule import ScheduledObjective


class Config(MethodConfig):
    """Knobs of `gain`."""

    steepness: float = Field(default=10.0, gt=0, le=200, description="ω of the mask σ(ω (attention − threshold))")
    threshold: float = Field(default=0.5, gt=0, lt=1, description="attention at which the mask is one half")
    weight: float = Field(default=1.0, ge=0, le=100, description="weight of the tag's probability in the rest")
    start: float = Field(default=0.5, ge=0, lt=1, description="share of the epochs on tags alone")


class Gain(ScheduledObjective):
    """The tag loss, and the probability of a masked tag."""

    config: Config
    share_multiple = 0  # it draws a tag of each image

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags`` and ``mining``, which is 0 in the first epochs; images without tags count as 0 in its mean."""
        images, target = batch["image"], batch["target"]
        features = self.network.activation(images)
        tags = multilabel_soft_margin(self.network.logits(features), target)
        if not self.started(self.config.start):
            return {"tags": tags, "mining": torch.zeros_like(tags)}
        sampled = sample_tag(target)
        evidence = (self.network.evidence(features).float() * sampled[:, :, None, None]).sum(dim=1, keepdim=True)
        attention = erasing_mask(
            evidence, stride=self.network.backbone.output_stride, size=(images.shape[2], images.shape[3])
        )
        mask = soft_mask(attention, steepness=self.config.steepness, threshold=self.config.threshold)
        rest = erase(images, mask, self.network.backbone.mean)
        with gradients_to_images(self.network.backbone):
            left = (self.network(rest).float().sigmoid() * sampled).sum(dim=1)
        return {"tags": tags, "mining": self.config.weight * left.mean()}


def soft_mask(attention: Tensor, *, steepness: float, threshold: float) -> Tensor:
    """σ(steepness · (attention − threshold)), elementwise."""
    return torch.sigmoid(steepness * (attention - threshold))
