"""SC-CAM: the images of each class are clustered by their features, and a second head learns the clusters as classes.

Source  Chang et al., CVPR 2020, arXiv:2008.01183, and the authors' code (Juliachang/SC-CAM): features pooled over the image
        are clustered by k-means with k = 10 for each class; an image has one sub-class for each of its tags; the loss of the
        sub-classes has weight 5 beside that of the tags. Three rounds of features, clusters and training. The map of a class
        is the highest of its sub-classes' maps, which share one maximum.
        Deviations: the rounds lie within one training, in parts of equal length after a first one on the tags alone, and the
        network goes on from round to round (theirs starts from ImageNet each time); only the second head is drawn anew, since
        clusters have other numbers then; images with several tags all keep their sub-classes; at inference all sub-classes of
        a class take part (theirs: that of the image's cluster, which a new image does not have).
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from labelfactory.errors import ParamsError
from labelfactory.learning.learner import Batch, Look, Terms
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.classifier import Classifier
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._clusters import k_means
from models.objectives._schedule import ScheduledObjective


class Config(MethodConfig):
    """Knobs of `sc_cam`."""

    clusters: int = Field(default=10, ge=2, le=100, description="sub-classes of each class")
    rounds: int = Field(default=3, ge=1, le=20, description="times that images are clustered")
    weight: float = Field(default=5.0, gt=0, le=100, description="weight of the sub-classes' loss")
    long_side: int = Field(
        default=256, ge=32, le=2048, description="longer side of the photographs that are clustered, pixels"
    )


class SubClassifier(Classifier):
    """A classifier with a head for the sub-classes of each class; its own maps are theirs.

    Args:
        backbone: gives the features.
        n_classes: number C of object classes.
        clusters: k sub-classes of each.
    """

    def __init__(self, backbone: Backbone, n_classes: int, clusters: int) -> None:
        super().__init__(backbone, n_classes)
        self.clusters = clusters
        self.sub = nn.Conv2d(backbone.head_channels, n_classes * clusters, 1, bias=False)
        nn.init.normal_(self.sub.weight, std=0.01)

    def maps(self, images: Tensor) -> Tensor:
        """The highest of each class's sub-class maps, [B, C, h, w] float32, ≥ 0."""
        evidence: Tensor = self.sub(self.activation(images))
        size = (len(images), -1, self.clusters, *evidence.shape[-2:])
        return evidence.float().relu().view(size).amax(dim=2)


class ScCam(ScheduledObjective):
    """The tag loss, and once images are clustered the loss of the sub-classes.

    Attributes:
        members: [N, C] int64, the sub-class of each image in each of its tags; −1 elsewhere and before the first round.
    """

    network: SubClassifier
    config: Config
    members: Tensor

    def __init__(self, network: Classifier, config: Any, *, targets: Tensor, epochs: int) -> None:
        super().__init__(network, config, targets=targets, epochs=epochs)
        if epochs < 2:
            raise ParamsError(
                "sc_cam clusters images after an epoch, and the training has one epoch",
                "Set train_classifier.epochs to 2 or more.",
            )
        self.register_buffer("members", torch.full(targets.shape, -1, dtype=torch.int64))

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> SubClassifier:
        """The classifier with its head for sub-classes."""
        return SubClassifier(backbone, n_classes, config.clusters)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags`` and ``sub``, which is 0 before the first round."""
        features = self.network.activation(batch["image"])
        tags = multilabel_soft_margin(self.network.logits(features), batch["target"])
        if int(self.finished) < self.clustering_epochs()[0]:
            return {"tags": tags, "sub": torch.zeros_like(tags)}
        logits = self.network.sub(features.mean(dim=(2, 3), keepdim=True)).flatten(1)
        expected = sub_targets(self.members[batch["index"]], self.config.clusters)
        return {"tags": tags, "sub": self.config.weight * multilabel_soft_margin(logits, expected)}

    def clustering_epochs(self) -> list[int]:
        """Numbers of finished epochs after which images are clustered; fewer than `rounds` in a short training."""
        parts = self.config.rounds + 1
        return sorted({max(1, self.epochs * part // parts) for part in range(1, parts)})

    def after_epoch(self, epoch: int, look: Look) -> None:
        """After some epochs, cluster the images of each class by their pooled features, and draw the second head anew."""
        super().after_epoch(epoch, look)
        if epoch not in self.clustering_epochs():
            return
        tagged, pooled = [], []
        with self.looking():
            for example in look(self.config.long_side):
                pooled.append(self.network.activation(example["image"]).float().mean(dim=(2, 3))[0].cpu())
                tagged.append(example["target"][0].cpu() > 0)
        points, tags = torch.stack(pooled), torch.stack(tagged)
        for c in range(tags.shape[1]):
            images = tags[:, c].nonzero()[:, 0]
            if len(images):
                self.members[images, c] = k_means(points[images], self.config.clusters, seed=epoch).to(
                    self.members.device
                )
        fresh = torch.empty(self.network.sub.weight.shape)
        nn.init.normal_(fresh, std=0.01, generator=torch.Generator().manual_seed(epoch))  # the same on every device
        with torch.no_grad():
            self.network.sub.weight.copy_(fresh)


def sub_targets(members: Tensor, clusters: int) -> Tensor:
    """[B, C × clusters] of 0 and 1, of members [B, C]: the sub-class of each tag; −1 stands for none."""
    places = torch.arange(clusters, device=members.device)
    return (members[:, :, None] == places).flatten(1).float()
