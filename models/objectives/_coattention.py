"""Co-attention: what an image sees of another one, place by place."""

import torch
from torch import Tensor, nn


class CoAttention(nn.Module):
    """For each place of one image, the places of another one, weighted by how well they match.

    Args:
        channels: D of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.match = nn.Linear(channels, channels, bias=False)
        nn.init.normal_(self.match.weight, std=0.01)

    def forward(self, features: Tensor, other: Tensor) -> Tensor:
        """[B, D, h, w]: of the other's features [B, D, h', w'], for each place of features [B, D, h, w]."""
        places, others = features.float().flatten(2), other.float().flatten(2)
        with torch.autocast(features.device.type, enabled=False):
            scores = torch.bmm(self.match(places.transpose(1, 2)), others)  # [B, places, the other's places]
            return torch.bmm(others, scores.softmax(dim=2).transpose(1, 2)).view_as(features)
