"""Pictures of the gallery: heat and masks over the photograph, small, as data URIs."""

import base64
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from labelfactory.errors import ShapeError
from labelfactory.schema import BACKGROUND, VOID, palette
from reporting.content import Tile

MAX_WIDTH, MAX_HEIGHT = 360, 480
"""Pixels of a picture on the page; smaller photographs stay as they are."""

QUALITY = 82
"""Of WebP: thin contours stay clean."""

CLASS_OPACITY = 0.55

SMOOTH = 2
"""Masks are drawn so many times larger, then shrunk: contours without steps."""

Picture = NDArray[np.uint8]


def draw_tile(photograph: NDArray[Any], tile: Tile) -> str:
    """A tile as a data URI.

    Args:
        photograph: [H, W, 3] uint8 RGB, what heat and masks are drawn over.
        tile: what to draw.

    Raises:
        ShapeError: the photograph or the tile's pixels are not what their kind says.
    """
    if tile.kind == "photograph":
        return data_uri(shrink(tile.pixels))
    if tile.pixels.ndim != 2 or not tile.pixels.size:
        raise ShapeError(f"{tile.kind} {tile.caption!r} is {tile.pixels.shape}, not [H, W]")
    if tile.kind == "heat":
        return data_uri(heat_over(shrink(photograph), tile.pixels))
    return data_uri(mask_over(shrink(photograph), tile.pixels))


def shrink(photograph: NDArray[Any], width: int = MAX_WIDTH, height: int = MAX_HEIGHT) -> Picture:
    """The photograph [H, W, 3] uint8 within `width` × `height`, by default the page's; never larger than it was.

    Raises:
        ShapeError: not [H, W, 3] uint8.
    """
    if photograph.ndim != 3 or photograph.shape[2] != 3 or photograph.dtype != np.uint8 or not photograph.size:
        raise ShapeError(f"a photograph is [H, W, 3] uint8, not {photograph.shape} {photograph.dtype}")
    rows, columns = photograph.shape[:2]
    factor = min(1.0, width / columns, height / rows)
    size = (max(1, round(columns * factor)), max(1, round(rows * factor)))
    return np.asarray(cv2.resize(photograph, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def heat_over(photograph: Picture, heat: NDArray[Any]) -> Picture:
    """Heat [h, w] in [0, 1] over a greyed photograph [H, W, 3]: the hotter, the less of the photograph is left."""
    height, width = photograph.shape[:2]
    values = np.clip(np.nan_to_num(heat.astype(np.float32)), 0, 1)
    sized = np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR))
    colours = cv2.applyColorMap(np.rint(sized * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    opacity = 0.8 * np.sqrt(sized)[:, :, None]
    return _rounded(_greyed(photograph) * (1 - opacity) + colours * opacity)


def mask_over(photograph: Picture, mask: NDArray[Any]) -> Picture:
    """A mask [h, w] of class ids over the photograph [H, W, 3]: VOC's colours, contours, void hatched, background greyed."""
    height, width = photograph.shape[:2]
    fine = (SMOOTH * width, SMOOTH * height)
    labels = cv2.resize(mask.astype(np.uint8), fine, interpolation=cv2.INTER_NEAREST)
    photograph = np.asarray(cv2.resize(photograph, fine, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    colours = palette()[labels].astype(np.float32)
    is_class = (labels != BACKGROUND) & (labels != VOID)
    picture = _greyed(photograph)
    picture[is_class] = photograph[is_class] * (1 - CLASS_OPACITY) + colours[is_class] * CLASS_OPACITY
    rows, columns = np.indices(labels.shape)
    stripe = np.where((rows + columns) % (8 * SMOOTH) < 4 * SMOOTH, 0.85, 0.45)[:, :, None]
    is_void = labels == VOID
    picture[is_void] = (picture * (1 - stripe) + colours * stripe)[is_void]
    inside, outside = _edges(labels, SMOOTH), _edges(is_class.astype(np.uint8), SMOOTH)
    picture[inside & is_class] = colours[inside & is_class]
    picture[outside & (labels == BACKGROUND)] = 255  # a white line outside keeps dark colours legible
    return _rounded(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))


def data_uri(picture: Picture) -> str:
    """An [H, W, 3] uint8 RGB picture as a WebP data URI."""
    _, encoded = cv2.imencode(".webp", picture[:, :, ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def shares(mask: NDArray[Any]) -> dict[int, float]:
    """The share of a mask's pixels of each class id but the background, largest first, void last."""
    counts = np.bincount(mask.astype(np.uint8).ravel(), minlength=256)
    present = [int(i) for i in np.flatnonzero(counts) if i != BACKGROUND]
    present.sort(key=lambda i: (i == VOID, -counts[i]))
    return {i: float(counts[i] / mask.size) for i in present}


def _greyed(photograph: Picture) -> NDArray[np.float32]:
    """A pale grey version, [H, W, 3] float32, that leaves colour to what is drawn over it."""
    grey = cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY)[:, :, None].astype(np.float32)
    return np.asarray(0.75 * grey + 0.15 * photograph + 18, dtype=np.float32)


def _edges(labels: NDArray[Any], reach: int) -> NDArray[np.bool_]:
    """Where another class lies within `reach` pixels, [H, W]."""
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return np.asarray(cv2.dilate(labels, kernel) != cv2.erode(labels, kernel))


def _rounded(picture: NDArray[Any]) -> Picture:
    return np.asarray(np.clip(np.rint(picture), 0, 255), dtype=np.uint8)
