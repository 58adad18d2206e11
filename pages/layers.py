"""The pictures of one image, each a layer over its photograph: heat and masks with a transparent background.

Layers are asked for by a name (`cam-2`, `mask`, …), never by a path; files are opened by what the data set and the shards say.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from exports._predictor import Predictor
from labelfactory.dataset.images import decode_mask
from labelfactory.dataset.prepared import ImageRecord
from labelfactory.errors import MissingError
from labelfactory.learning.checkpoints import CHECKPOINT
from labelfactory.schema import BACKGROUND, VOID, Mask, labels_from_channels, palette
from labelfactory.settings.params import PARAMS_FILE, read_yaml
from labelfactory.settings.thresholds import read_thresholds
from lineage.pixel import row_of
from models.seeds import channels_above, scores_at_size
from pages.snapshot import DATA, SCORES
from reporting.pictures import mask_over, shrink

LARGEST = 1600
"""Pixels of the longer side of what is shown; larger photographs are shown smaller."""
QUALITY = 85
"""Of WebP."""
NAMES = re.compile(r"(?:photo|thumb|plain|seed|mask|truth|prediction|(?:cam|walk)-\d{1,3})")
HEAT_OPACITY = 0.9
STRIPE = 8
"""Pixels from one stripe of void to the next."""
SEGMENTER = DATA / "segmenter" / CHECKPOINT

Picture = NDArray[np.uint8]


def picture(name: str, record: ImageRecord, predict: Callable[[ImageRecord], Mask]) -> tuple[bytes, str]:
    """A layer as bytes and their media type.

    Args:
        name: one that `NAMES` matches.
        record: the image.
        predict: the segmenter's mask of a photograph.

    Raises:
        MissingError: this layer was not made of this image.
        DataError: a file is damaged or changed.
    """
    kind, _, number = name.partition("-")
    if kind in ("photo", "plain"):
        photograph = record.photograph()
        return webp(shown(photograph) if kind == "photo" else shrink(photograph))
    if kind == "thumb":
        return webp(mask_over(shrink(record.photograph()), row_of("masks", record)["mask"]))
    if kind in ("cam", "walk"):
        return webp(_heat(kind, int(number), record))
    mask = predict(record) if kind == "prediction" else _mask(kind, record)
    return png(_coloured(_at_most(mask)))


def _heat(kind: str, class_id: int, record: ImageRecord) -> Picture:
    """Heat [h, w, 4]: the hotter, the less transparent."""
    noun, column = {"cam": ("cams", "cam"), "walk": ("walks", "scores")}[kind]
    row = row_of(noun, record)
    channels = [int(k) for k in row["class_ids"]]
    if class_id not in channels:
        raise MissingError(f"{record.image_id}: no {kind} of class {class_id}", "Classes are those of its tags.")
    factor = min(1.0, LARGEST / max(record.width, record.height))
    size = (max(1, round(record.height * factor)), max(1, round(record.width * factor)))
    values = np.clip(scores_at_size(row[column][[channels.index(class_id)]], size)[0], 0, 1)
    colours = cv2.applyColorMap(np.rint(values * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    opacity = np.rint(255 * HEAT_OPACITY * np.sqrt(values)).astype(np.uint8)
    return np.dstack([colours, opacity])


def _mask(kind: str, record: ImageRecord) -> Mask:
    if kind == "truth":
        return truth_of(record.image_id)
    if kind == "mask":
        mask: Mask = row_of("masks", record)["mask"]
        return mask
    row = row_of("cams", record)
    threshold = read_thresholds(DATA / "seed_thresholds")["background"].value
    channels = channels_above(scores_at_size(row["cam"], (record.height, record.width)), threshold)
    return labels_from_channels(channels, row["class_ids"])


def truth_of(image_id: str) -> Mask:
    """The true mask that `evaluate` left of an image that it scored; nothing else here opens one.

    Raises:
        MissingError: it left none.
    """
    if SCORES.exists():
        with pq.ParquetFile(SCORES, page_checksum_verification=True) as opened:
            for group in _groups_with(opened, image_id):
                ids = opened.read_row_group(group, columns=["image_id"]).column("image_id").to_pylist()
                if image_id in ids:
                    stored = opened.read_row_group(group, columns=["truth"]).column("truth")[ids.index(image_id)]
                    return decode_mask(stored.as_py()["bytes"])
    raise MissingError(f"{image_id} was not scored", "Only images with a true mask on a list of `evaluate.lists` are.")


def _groups_with(opened: pq.ParquetFile, image_id: str) -> Iterator[int]:
    """The row groups that may hold an image: the file is in the order of the ids."""
    for group in range(opened.num_row_groups):
        found = opened.metadata.row_group(group).column(0).statistics
        if found is None or not found.has_min_max or found.min <= image_id <= found.max:
            yield group


class Segmenter:
    """The model on disk, loaded when it is first asked; it looks at a photograph as `evaluate` does."""

    def __init__(self) -> None:
        self._loaded: tuple[Any, Predictor] | None = None

    def predict(self, record: ImageRecord) -> Mask:
        """The mask [H, W] that the model gives a photograph.

        Raises:
            MissingError: there is no model.
        """
        return self.load().predict(record.photograph())[0]

    def load(self) -> Predictor:
        """The model; loaded anew where the file was replaced."""
        try:
            stat = SEGMENTER.stat()
        except FileNotFoundError:
            raise MissingError("there is no trained segmenter", "Type `labelfactory run`.") from None
        stamp = stat.st_mtime_ns, stat.st_size
        if self._loaded is None or self._loaded[0] != stamp:
            section = read_yaml(Path(PARAMS_FILE)).get("evaluate", {})
            scales, flip = tuple(section.get("scales", (1.0,))), bool(section.get("flip", False))
            try:
                self._loaded = stamp, Predictor(SEGMENTER, scales=scales, flip=flip)
            except (ValueError, KeyError, TypeError, RuntimeError) as error:  # of another version, or half written
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                raise MissingError(
                    f"the segmenter on disk cannot be loaded: {reason}", "Type `labelfactory run`."
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
