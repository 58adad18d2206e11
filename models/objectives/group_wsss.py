"""Group-WSSS: images that share tags are a graph, whose class maps send each other messages for a few rounds.

Source  Li et al., AAAI 2021, arXiv:2012.05007 (its abstract was read), and the authors' code (Lixy1997/Group-WSSS). Nodes are
        an image's class maps. In each round a node gets from each other node the co-attention message (its maps where the
        soft-max of the scores of projected places says, times a gate, σ of a linear layer), the messages pass a 3×3
        convolution, and a gated recurrent unit updates the node. Graph dropout: after each round, with a probability of 0.2
        weighted by σ of the mean map, else zero where the mean map is above 0.7 of its maximum, and in both cases averaged
        with the node itself. Three rounds. The tag loss of the images themselves counts 0.4, that of the nodes after the last
        round 1.
        Deviations: groups are of up to 4 images, two pairs with a common tag (theirs: 3 images of one class), and messages
        pass between those that share a tag, as a mean (theirs: beside each other, of two); sums of the losses are means over
        images; the module is for training alone, and the kept network is a plain classifier (theirs averages the maps of both,
        in training, with accumulation: here `oaa`).
"""

from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.classifier import Classifier
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective
from models.objectives._pairs import paired_batches

GROUP = 4
"""Most images in a group: two pairs, side by side in the batch."""


class Config(MethodConfig):
    """Knobs of `group_wsss`."""

    rounds: int = Field(default=3, ge=1, le=10, description="rounds of messages")
    tags_weight: float = Field(default=0.4, ge=0, le=100, description="weight of the tag loss of the images themselves")
    weight: float = Field(default=1.0, ge=0, le=100, description="weight of the tag loss after the messages")
    drop_rate: float = Field(default=0.8, ge=0, le=1, description="probability that a round hides its strongest places")
    drop_threshold: float = Field(
        default=0.7, gt=0, le=1, description="share of the maximum above which they are hidden"
    )


class Messages(nn.Module):
    """One round: co-attention messages between class maps, and the gated update of each.

    Args:
        channels: number C of classes.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(1, channels // 2)
        self.query, self.key = nn.Conv2d(channels, narrow, 1), nn.Conv2d(channels, narrow, 1)
        self.gate = nn.Conv2d(channels, 1, 1, bias=False)
        self.fuse = nn.Conv2d(channels, channels, 3, padding=1)
        self.renew = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.candidate = nn.Conv2d(2 * channels, channels, 1)

    def attend(self, maps: Tensor, other: Tensor) -> Tensor:
        """[C, h, w] of maps [C, h, w]: the other's maps at the places that match, times the gate."""
        query, key = self.query(maps[None])[0].flatten(1), self.key(other[None])[0].flatten(1)
        weights = (key.T @ query).softmax(dim=0)  # [the other's places, places]
        seen = (other.flatten(1) @ weights).view_as(maps)
        gate: Tensor = self.gate(seen[None])[0].sigmoid()
        message: Tensor = seen * gate
        return message

    def forward(self, maps: Tensor, neighbours: Tensor) -> Tensor:
        """Updated maps [B, C, h, w] of maps [B, C, h, w]; neighbours [B, B] bool says who sends to each row."""
        updated = []
        for index, node in enumerate(maps):
            senders = neighbours[index].nonzero()[:, 0].tolist()
            if not senders:
                updated.append(node)
                continue
            message = torch.stack([self.attend(node, maps[sender]) for sender in senders]).mean(dim=0)
            updated.append(self._update(node[None], self.fuse(message[None]))[0])
        return torch.stack(updated)

    def _update(self, node: Tensor, message: Tensor) -> Tensor:
        """A gated recurrent unit, place by place."""
        update, reset = self.renew(torch.cat([message, node], dim=1)).sigmoid().chunk(2, dim=1)
        candidate = self.candidate(torch.cat([message, reset * node], dim=1)).tanh()
        renewed: Tensor = (1 - update) * node + update * candidate
        return renewed


class GroupWsss(Objective):
    """The tag losses of each image alone and after the messages of its group.

    The network to be kept is a plain `Classifier`.
    """

    config: Config
    share_multiple = 0  # it hides places at random

    def __init__(self, network: Classifier, config: Any, *, targets: Tensor, epochs: int) -> None:
        super().__init__(network, config, targets=targets, epochs=epochs)
        self.tags_of_images = targets.numpy() > 0
        self.messages = Messages(targets.shape[1])

    def groups(self, size: int, rng: np.random.Generator) -> list[list[int]]:
        """Batches of pairs that share a tag; each image in one at most."""
        return paired_batches(self.tags_of_images, size, rng)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags`` and ``group``."""
        target = batch["target"]
        features = self.network.activation(batch["image"])
        nodes = self.network.evidence(features).float()
        linked = neighbours_of(target)
        with torch.autocast(nodes.device.type, enabled=False):
            for _ in range(self.config.rounds):
                nodes = self.messages(nodes, linked)
                hides = bool(torch.rand(()) < self.config.drop_rate)
                nodes = graph_dropout(nodes, hides=hides, threshold=self.config.drop_threshold)
        return {
            "tags": self.config.tags_weight * multilabel_soft_margin(self.network.logits(features), target),
            "group": self.config.weight * multilabel_soft_margin(nodes.mean(dim=(2, 3)), target),
        }


def neighbours_of(target: Tensor) -> Tensor:
    """[B, B] bool: which other images of its group, four by four, share a tag with each image; target [B, C] of 0 and 1."""
    group = torch.arange(len(target), device=target.device) // GROUP
    others = ~torch.eye(len(target), dtype=torch.bool, device=target.device)
    return (target @ target.T > 0) & (group[:, None] == group) & others


def graph_dropout(maps: Tensor, *, hides: bool, threshold: float) -> Tensor:
    """The mean of maps [B, C, h, w] and of themselves without their strongest places, or weighted by σ of their mean map."""
    attention = maps.mean(dim=1, keepdim=True)
    if not hides:
        return (maps * attention.sigmoid() + maps) / 2
    kept = (attention < threshold * attention.amax(dim=(2, 3), keepdim=True)).to(maps.dtype)
    return (maps * kept + maps) / 2
