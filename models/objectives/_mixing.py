"""Two images of a batch made one: blended, or a box of one pasted into the other."""

import torch
from torch import Tensor


def other_images(count: int, device: torch.device) -> Tensor:
    """A random order [count] int64 of a batch; an image may meet itself."""
    return torch.randperm(count).to(device)


def beta_shares(count: int, alpha: float, device: torch.device) -> Tensor:
    """[count] float32 in [0, 1], each drawn from Beta(alpha, alpha)."""
    return torch.distributions.Beta(alpha, alpha).sample((count,)).to(device)


def random_boxes(shares: Tensor, size: tuple[int, int]) -> Tensor:
    """A box in each image, of its form, at a random place, cut at the borders.

    Args:
        shares: [B] of the image that a box covers before it is cut.
        size: (H, W) of the images.

    Returns:
        [B, 1, H, W] float32, 1 in the box.
    """
    sides = []
    for length in size:
        pixels = torch.arange(length, device=shares.device)
        half = (shares.sqrt() * length / 2)[:, None]
        centre = (torch.rand(len(shares)).to(shares.device) * length)[:, None]
        sides.append(((pixels + 0.5 - centre).abs() < half).float())
    return sides[0][:, None, :, None] * sides[1][:, None, None, :]
