"""The layers of one image, pictures to lay over its photograph: heat and masks with a transparent background.

A URL names a layer (`cam-2`, `mask`, …), never a path; the data set and the shards name the files.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from exports._predictor import LineModel
from labelfactory.dataset.images import decode_mask
from labelfactory.dataset.prepared import ImageRecord
from labelfactory.errors import DataError, MissingError, first_line
from labelfactory.rows.scored import SCORED_IMAGES
from labelfactory.schema import BACKGROUND, VOID, Mask, labels_from_channels, palette
from labelfactory.settings.params import PARAMS_FILE
from labelfactory.settings.thresholds import read_thresholds
from labelfactory.settings.wiring import DATA, StageWiring, read_wiring
from lineage.rows_behind import row_of
from models.seeds import channels_above, scores_at_size
from pages.line_layers import layers_of_line, model_file
from reporting.pictures import mask_over, shrink

LARGEST = 1600
"""Pixels of the longer side of what is shown; larger photographs are shown smaller."""
QUALITY = 85
"""Of WebP."""
NAMES = re.compile(r"[a-z_]{1,40}(?:-[0-9]{1,3})?")
"""Names that a URL may hold; `picture` knows which of them are layers."""
HEAT_OPACITY = 0.9
STRIPE = 8
"""Pixels from one stripe of void to the next."""

Picture = NDArray[np.uint8]


def picture(
    name: str, record: ImageRecord, classes: Sequence[str], predict: Callable[[ImageRecord], Mask]
) -> tuple[bytes, str]:
    """A layer as bytes and their media type.

    Args:
        name: one that `NAMES` matches.
        record: the image.
        classes: names of class ids 1, 2, … on the page.
        predict: the model's mask of a photograph.

    Raises:
        MissingError: this layer was not made of this image.
        DataError: a file is damaged or changed.
    """
    kind, _, number = name.partition("-")
    if kind in ("photo", "plain"):
        photograph = record.photograph()
        return webp(shown(photograph) if kind == "photo" else shrink(photograph))
    if kind == "thumb":
        return webp(mask_over(shrink(record.photograph()), _mask(read_wiring().masks, record, classes)))
    layer = layers_of_line().get(kind)
    if layer is None or layer.heat != bool(number):
        raise MissingError("there is no such picture")
    if layer.heat and layer.maker is not None:
        return webp(_heat(layer.maker, int(number), record, classes))
    if layer.maker is not None:
        made = _cut if layer.maker.meta.scores.thresholds else _mask
        mask = made(layer.maker, record, classes)
    else:
        mask = predict(record) if kind == "prediction" else truth_of(record.image_id)
    return png(_coloured(_at_most(mask)))


def _heat(maker: StageWiring, class_id: int, record: ImageRecord, classes: Sequence[str]) -> Picture:
    """Heat [h, w, 4]: the hotter, the less transparent."""
    row, column = row_of(maker.noun, record, classes), maker.meta.scores.column
    channels = [int(k) for k in row["class_ids"]]
    if class_id not in channels:
        raise MissingError(f"{record.image_id}: no {maker.word} of class {class_id}", "Classes are those of its tags.")
    factor = min(1.0, LARGEST / max(record.width, record.height))
    size = (max(1, round(record.height * factor)), max(1, round(record.width * factor)))
    values = np.clip(scores_at_size(row[column][[channels.index(class_id)]], size)[0], 0, 1)
    colours = cv2.applyColorMap(np.rint(values * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    opacity = np.rint(255 * HEAT_OPACITY * np.sqrt(values)).astype(np.uint8)
    return np.dstack([colours, opacity])


def _mask(maker: StageWiring, record: ImageRecord, classes: Sequence[str]) -> Mask:
    mask: Mask = row_of(maker.noun, record, classes)[maker.meta.scores.column]
    return mask


def _cut(maker: StageWiring, record: ImageRecord, classes: Sequence[str]) -> Mask:
    """Class scores, cut at their background threshold."""
    scores, row = maker.meta.scores, row_of(maker.noun, record, classes)
    threshold = read_thresholds(DATA / scores.thresholds)["background"].value
    channels = channels_above(scores_at_size(row[scores.column], (record.height, record.width)), threshold)
    return labels_from_channels(channels, row["class_ids"])


def truth_of(image_id: str) -> Mask:
    """The true mask that `evaluate` left of an image that it scored; no page opens another.

    Raises:
        MissingError: it left none.
        DataError: its file is damaged.
    """
    try:
        truth = _stored_truth(image_id) if SCORED_IMAGES.exists() else None
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{SCORED_IMAGES}: damaged: {first_line(error)}", "Type `labelfactory run --force evaluate`."
        ) from None
    if truth is not None:
        return decode_mask(truth)
    raise MissingError(f"{image_id} was not scored", "Only images with a true mask on a list of `evaluate.lists` are.")


def _stored_truth(image_id: str) -> bytes | None:
    """The PNG of a true mask, None where the file has none of that image."""
    with pq.ParquetFile(SCORED_IMAGES, page_checksum_verification=True) as opened:
        for group in _groups_with(opened, image_id):
            ids = opened.read_row_group(group, columns=["image_id"]).column("image_id").to_pylist()
            if image_id in ids:
                stored = opened.read_row_group(group, columns=["truth"]).column("truth")[ids.index(image_id)]
                return bytes(stored.as_py()["bytes"])
    return None


def _groups_with(opened: pq.ParquetFile, image_id: str) -> Iterator[int]:
    """The row groups that may hold an image: the file is in the order of the ids."""
    for group in range(opened.num_row_groups):
        bounds = opened.metadata.row_group(group).column(0).statistics
        if bounds is None or not bounds.has_min_max or bounds.min <= image_id <= bounds.max:
            yield group


class ModelOnDisk:
    """The model on disk, loaded by the first prediction; its predictions are the line's, or made as `evaluate` makes them."""

    def __init__(self) -> None:
        self._loaded: tuple[Any, LineModel] | None = None

    def predict(self, record: ImageRecord, classes: Sequence[str]) -> Mask:
        """The mask [H, W] that the model gives a photograph.

        Args:
            record: of the photograph.
            classes: names of class ids 1, 2, … on the page.

        Raises:
            MissingError: there is no model.
            DataError: it was trained for other classes.
        """
        return self.load().predictions(("background", *classes)).of(record)[0]

    def load(self) -> LineModel:
        """The model; loaded anew where its file or params.yaml was replaced."""
        path, wiring = model_file(), read_wiring()
        try:
            stat = path.stat()
        except FileNotFoundError:
            raise MissingError(f"there is no trained {wiring.model.word}", "Type `labelfactory run`.") from None
        params = Path(PARAMS_FILE)
        stamp = stat.st_mtime_ns, stat.st_size, params.stat().st_mtime_ns if params.exists() else 0
        if self._loaded is None or self._loaded[0] != stamp:
            try:
                self._loaded = stamp, LineModel()
            except (ValueError, KeyError, TypeError, RuntimeError) as error:  # of another version, or half written
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                raise MissingError(
                    f"the {wiring.model.word} on disk cannot be loaded: {reason}", "Type `labelfactory run`."
                ) from None
        return self._loaded[1]


def shown(photograph: Picture) -> Picture:
    """A photograph [H, W, 3], made smaller where it is larger than what is shown."""
    height, width = photograph.shape[:2]
    factor = LARGEST / max(height, width)
    if factor >= 1:
        return photograph
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(photograph, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _at_most(mask: Mask) -> Mask:
    height, width = mask.shape
    factor = LARGEST / max(height, width)
    if factor >= 1:
        return mask
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def _coloured(mask: Mask) -> Picture:
    """A mask [H, W] in VOC's colours, [H, W, 4]: background transparent, void in stripes."""
    opacity = np.full(mask.shape, 255, dtype=np.uint8)
    opacity[mask == BACKGROUND] = 0
    rows, columns = np.indices(mask.shape)
    opacity[(mask == VOID) & ((rows + columns) % STRIPE >= STRIPE // 2)] = 110
    return np.dstack([palette()[mask], opacity])


def png(pixels: Picture) -> tuple[bytes, str]:
    """[H, W, 4] as a PNG."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    return encoded.tobytes(), "image/png"


def webp(pixels: Picture) -> tuple[bytes, str]:
    """[H, W, 3] or [H, W, 4] as WebP."""
    turned = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".webp", turned, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    return encoded.tobytes(), "image/webp"
