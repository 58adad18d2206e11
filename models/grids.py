"""Image sizes on which a network's grid is aligned with the image, and resampling from that grid to any other.

On a side of k × stride + 1 pixels every layer of stride 2 reads an odd side, so that cell i of the network's grid is centred
on pixel i × stride exactly and both borders are alike. On other sides the grid is shifted by up to half a cell.
Positions are those of `align_corners=False`: pixel p of a side of n covers [p / n, (p + 1) / n].
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def aligned_size(height: int, width: int, *, stride: int, scale: float = 1.0) -> tuple[int, int]:
    """The size of the form (k × stride + 1, l × stride + 1) nearest to the scaled one; k and l are at least 1.

    Images with equal aligned sizes can share a batch.

    >>> aligned_size(375, 500, stride=16)
    (369, 497)
    """
    first, second = (max(1, round((side * scale - 1) / stride)) * stride + 1 for side in (height, width))
    return first, second


def grid_size(height: int, width: int, *, stride: int) -> tuple[int, int]:
    """(ceil(height / stride), ceil(width / stride)): the size of a stored map."""
    return -(-height // stride), -(-width // stride)


def resize_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize images [B, 3, H, W] bilinearly; those that have the size already are returned as they are."""
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)


def resample(maps: Tensor, *, stride: int, image_size: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Sample a network's output bilinearly at the cells of a grid that spans the whole image.

    Args:
        maps: [B, C, h, w]; cell i is centred on pixel i × stride of the network's input.
        stride: of the maps.
        image_size: (H, W) of the network's input.
        size: of the result; equal to `image_size` for one value per pixel.

    Returns:
        [B, C, *size] of the maps' dtype. Beyond the outermost cells their values are repeated.
    """
    rows, columns = (
        _positions(maps, cells, pixels, stride, out)
        for cells, pixels, out in zip(maps.shape[-2:], image_size, size, strict=True)
    )
    grid = torch.stack((columns.expand(*size), rows[:, None].expand(*size)), dim=-1).expand(len(maps), *size, 2)
    with torch.autocast(maps.device.type, enabled=False):
        sampled = F.grid_sample(maps.float(), grid, mode="bilinear", padding_mode="border", align_corners=True)
    return sampled.to(maps.dtype)


def _positions(maps: Tensor, cells: int, pixels: int, stride: int, out: int) -> Tensor:
    """Positions of `out` cells on the maps' side in grid_sample's coordinates: −1 is the first cell, 1 the last."""
    centres = (torch.arange(out, device=maps.device, dtype=torch.float32) + 0.5) * (pixels / out) - 0.5
    return centres * (2 / (stride * max(cells - 1, 1))) - 1


def sample_at_cells(maps: Tensor, *, stride: int, image_size: tuple[int, int], cells: tuple[int, int]) -> Tensor:
    """Sample maps that span the whole image at the cells of a network's grid: the inverse of `resample`.

    Args:
        maps: [B, C, h, w] over the whole image, such as stored CAMs.
        stride: of the network's grid; cell i is centred on pixel i × stride of its input.
        image_size: (H, W) of the network's input.
        cells: (rows, columns) of the network's grid.

    Returns:
        [B, C, rows, columns] float32.
    """
    rows, columns = (
        (torch.arange(count, device=maps.device, dtype=torch.float32) * stride + 0.5) / pixels * 2 - 1
        for count, pixels in zip(cells, image_size, strict=True)
    )
    grid = torch.stack((columns.expand(*cells), rows[:, None].expand(*cells)), dim=-1).expand(len(maps), *cells, 2)
    return F.grid_sample(maps.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def enlarge(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps [B, C, h, w] that span the whole image to another size, bilinearly, as float32."""
    return F.interpolate(maps.float(), size=size, mode="bilinear", align_corners=False)
