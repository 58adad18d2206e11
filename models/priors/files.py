"""Maps that another program made: one grey image per photograph, such as the output of a saliency network.

The file of a photograph is data/import/maps/<folder>/<image id><suffix>; an id with slashes lies in subfolders. The row's key
covers the file's bytes, so a changed file makes that row again and no other. What the maps were made from is not known
here: `supervision` has to name every kind of label that touched them.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from labelfactory.errors import DataError
from labelfactory.settings.registry import MethodConfig
from models.grids import grid_size

STRIDE = 4
"""A finer map than every fourth pixel of the photograph is reduced to that."""


class Config(MethodConfig):
    """Knobs of `files`."""

    folder: str = Field(default=".", description="folder of the maps, below data/import/maps")
    suffix: str = Field(default=".png", pattern=r"^\.[A-Za-z0-9]{1,8}$", description="of the files' names")
    supervision: tuple[str, ...] = Field(
        default=("saliency",), description="kinds of labels that touched the maps; [] if none did"
    )
    missing: Literal["quarantine", "zeros"] = Field(
        default="quarantine",
        description="a photograph without a file is set aside, or has a map of zeros: nothing stands out",
    )

    @field_validator("folder")
    @classmethod
    def _below(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{value!r} leads out of data/import/maps")
        return value

    @field_validator("supervision")
    @classmethod
    def _one_word_each(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not kind or len(kind.split()) != 1 for kind in value):
            raise ValueError(f"a kind of label is one word, such as saliency or masks, not {list(value)}")
        return value


def source_of(
    image_id: str, *, folder: str, suffix: str, supervision: Sequence[str], missing: str
) -> PurePosixPath | None:
    """The file of a photograph's map, below data/import/maps. The reader refuses a name that leads out of there."""
    return PurePosixPath(folder, f"{image_id}{suffix}")


def prior_map(
    photograph: NDArray[np.uint8],
    source: NDArray[np.uint8] | None,
    *,
    folder: str,
    suffix: str,
    supervision: Sequence[str],
    missing: str,
) -> NDArray[np.uint8]:
    """The map of a photograph [H, W, 3], [h, w] uint8 with h at most ⌈H / 4⌉ and w at most ⌈W / 4⌉.

    Args:
        photograph: its size alone is used.
        source: the file's grey values [h', w'] uint8 over the whole upright photograph, of any size; None without a file.
        folder, suffix, supervision, missing: the knobs.

    Raises:
        DataError: there is no file, or its map is upright where the photograph lies, or the other way round.
    """
    height, width = photograph.shape[:2]
    grid = grid_size(height, width, stride=STRIDE)
    if source is None:
        if missing == "quarantine":
            raise DataError("there is no map for it", "Add the file, or set make_priors.method.missing: zeros.")
        return np.zeros(grid, dtype=np.uint8)
    rows, columns = source.shape
    if (rows - columns) * (height - width) < 0:
        raise DataError(f"its map is {columns}×{rows} pixels, the photograph {width}×{height}: turn the map")
    if rows <= grid[0] and columns <= grid[1]:
        return source
    size = (min(columns, grid[1]), min(rows, grid[0]))
    return np.asarray(cv2.resize(source, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
