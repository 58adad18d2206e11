"""A map for each tag of each training image, kept between epochs, and the part of it in a view."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MapMemory(nn.Module):
    """Maps over whole photographs in [0, 1], 0 at the start; of tagged classes alone, as float16.

    They take 2 × grid² bytes per tag: 30.7 MB for 10,000 images of 1.5 tags and a grid of 32.

    Args:
        targets: [N, C] of 0 and 1, the tags of every training image.
        grid: cells on a side of each map.
    """

    maps: Tensor
    """[number of tags, grid, grid] float16, image after image, their tags in the order of the classes."""
    first: Tensor
    """[N] int64: index of each image's first map; follows from the tags."""

    def __init__(self, targets: Tensor, grid: int) -> None:
        super().__init__()
        self.grid = grid
        tags = targets.sum(dim=1).long()
        self.register_buffer("maps", torch.zeros(int(tags.sum()), grid, grid, dtype=torch.float16))
        self.register_buffer("first", tags.cumsum(0) - tags, persistent=False)

    def accumulate(self, index: int, tags: Tensor, maps: Tensor) -> None:
        """Replace maps by their element-wise maximum with new ones.

        Args:
            index: of the image.
            tags: [K] int64, indices of the image's own tags, from 0.
            maps: [K, grid, grid] in [0, 1].
        """
        rows = self.first[index] + tags
        self.maps[rows] = torch.maximum(self.maps[rows], maps.to(self.maps.dtype))

    def replace(self, index: int, tags: Tensor, maps: Tensor) -> None:
        """Replace maps by new ones; arguments as of `accumulate`."""
        self.maps[self.first[index] + tags] = maps.to(self.maps.dtype)

    def of_image(self, index: int, tags: int) -> Tensor:
        """The maps [tags, grid, grid] float16 of an image with `tags` tags."""
        first = int(self.first[index])
        return self.maps[first : first + tags]

    def of_batch(self, index: Tensor, target: Tensor) -> Tensor:
        """The maps [B, C, grid, grid] float32 of images index [B] with tags target [B, C]; 0 where a class is not tagged."""
        out = torch.zeros(*target.shape, self.grid, self.grid, device=self.maps.device)
        image, tag = target.nonzero(as_tuple=True)
        within = (target.long().cumsum(dim=1) - 1)[image, tag]
        out[image, tag] = self.maps[self.first[index[image]] + within].float()
        return out


def cut_windows(maps: Tensor, windows: Tensor, *, stride: int, size: Sequence[int], cells: Sequence[int]) -> Tensor:
    """The part of maps in each view, at the cells of the network's grid.

    Args:
        maps: [B, C, g, g] over whole photographs.
        windows: [B, 5]: top, left, height and width of the view as shares of the photograph, and 1 where it is mirrored.
        stride: of the network; cell i is centred on pixel i × stride of the view.
        size: (H, W) of the view.
        cells: (rows, columns) of the network's grid.

    Returns:
        [B, C, rows, columns] float32, bilinear; 0 outside the photograph.
    """
    top, left, height, width, mirrored = windows.float().unbind(dim=1)
    rows, columns = (
        ((torch.arange(count, device=maps.device, dtype=torch.float32) * stride + 0.5) / pixels).expand(
            len(maps), count
        )
        for count, pixels in zip(cells, size, strict=True)
    )
    columns = torch.where(mirrored[:, None] > 0.5, 1 - columns, columns)
    y = (top[:, None] + rows * height[:, None])[:, :, None].expand(-1, *cells)
    x = (left[:, None] + columns * width[:, None])[:, None, :].expand(-1, *cells)
    inside = (y >= 0) & (y <= 1) & (x >= 0) & (x <= 1)
    with torch.autocast(maps.device.type, enabled=False):
        grid = torch.stack((x, y), dim=-1) * 2 - 1
        sampled = F.grid_sample(maps.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled * inside[:, None]
