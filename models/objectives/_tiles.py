"""An image cut into tiles whose grids fit together again.

On a side of n × k × stride + 1 pixels, n tiles of k × stride + 1 pixels share their outermost row of pixels and so their outermost
cells: every cell of the whole grid is a cell of a tile, centred on the same pixel.
"""

import torch
from torch import Tensor


def tileable_size(height: int, width: int, *, stride: int, pieces: int) -> tuple[int, int]:
    """The size nearest to (height, width) that `pieces` tiles a side fill, at least one step of the grid each."""
    step = stride * pieces
    first, second = (max(1, round((side - 1) / step)) * step + 1 for side in (height, width))
    return first, second


def cut_tiles(images: Tensor, pieces: int) -> Tensor:
    """[pieces² × B, C, h, w] of images [B, C, H, W] of a `tileable_size`: row after row of tiles, of each all images."""
    height, width = ((side - 1) // pieces for side in images.shape[-2:])
    return torch.cat(
        [
            images[..., row * height : (row + 1) * height + 1, column * width : (column + 1) * width + 1]
            for row in range(pieces)
            for column in range(pieces)
        ]
    )


def join_tiles(tiles: Tensor, pieces: int) -> Tensor:
    """Maps [B, C, H, W] of maps [pieces² × B, C, h, w] of tiles; a cell of several tiles takes their mean."""
    count, _, height, width = tiles.shape
    size = ((height - 1) * pieces + 1, (width - 1) * pieces + 1)
    sums = tiles.new_zeros(count // pieces**2, tiles.shape[1], *size)
    times = tiles.new_zeros(size)
    for place, tile in enumerate(tiles.chunk(pieces**2)):
        row, column = place // pieces * (height - 1), place % pieces * (width - 1)
        window = (..., slice(row, row + height), slice(column, column + width))
        sums[window] += tile
        times[window] += 1
    return sums / times
