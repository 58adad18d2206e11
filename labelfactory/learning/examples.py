"""Training sets: photographs with tags, or with masks, read one by one from the disk."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from labelfactory.dataset.images import Photograph
from labelfactory.dataset.prepared import ImageRecord
from labelfactory.dataset.tensors import to_tensor
from labelfactory.learning.augment import choose_crop, cut_map, cut_mask, cut_photograph, jitter_colours
from labelfactory.learning.learner import Batch
from labelfactory.schema import Classes, Mask
from labelfactory.settings.params import Section

Trust = NDArray[np.uint8]


class CropSection(Section):
    """How a photograph is cropped and its colours are changed in training."""

    crop: int = Field(ge=33, le=1025, description="side of the square window, pixels; 16 n + 1 aligns the grid")
    long_side_min: int = Field(ge=32, le=4096, description="least length of the resized longer side, pixels")
    long_side_max: int = Field(ge=32, le=4096, description="greatest length of the resized longer side, pixels")
    colour_jitter: float = Field(
        ge=0, lt=1, description="brightness, contrast and saturation change by up to this share"
    )

    @model_validator(mode="after")
    def _ordered(self) -> "CropSection":
        if self.long_side_min > self.long_side_max:
            raise ValueError("long_side_min is above long_side_max")
        return self


class MaskReader(Protocol):
    """Where the masks of a training set come from."""

    def __call__(self, record: ImageRecord) -> tuple[Mask, Trust | None]:
        """The mask of a photograph, [h, w] uint8, and its trust map, [h', w'] uint8 in 0..255, or None.

        Both span the whole photograph; their sizes may differ.
        """


class MapReader(Protocol):
    """Where the maps of a training set come from, such as a prior."""

    def __call__(self, record: ImageRecord) -> NDArray[np.uint8]:
        """A map over the whole photograph, [h, w] uint8 of any size; 255 is the highest value."""


class TagExamples:
    """Photographs with tags.

    ``image`` [3, size, size] float32 in [0, 255]; ``target`` [C] float32 of 0 and 1; ``index`` int64;
    ``window`` [5] float32: top, left, height and width of the view as shares of the photograph, and 1 where it is mirrored.
    Each map under its name: [size, size] float32 in [0, 1], 0 outside the photograph.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        classes: Classes,
        view: CropSection,
        maps: Mapping[str, MapReader] | None = None,
    ) -> None:
        self.records, self.classes, self.view, self.maps = records, classes, view, dict(maps or {})

    def __len__(self) -> int:
        return len(self.records)

    @property
    def targets(self) -> Tensor:
        """[N, C] float32 of 0 and 1: the tags of every photograph."""
        return torch.from_numpy(np.stack([self.classes.multi_hot(record.tags) for record in self.records]))

    def get(self, index: int, rng: np.random.Generator) -> Batch:
        """One random crop."""
        record, view = self.records[index], self.view
        image = record.photograph()
        crop = choose_crop(image.shape[:2], size=view.crop, long_side=(view.long_side_min, view.long_side_max), rng=rng)
        pixels = jitter_colours(cut_photograph(image, crop), view.colour_jitter, rng)
        maps = {name: torch.from_numpy(cut_map(read(record), crop)) for name, read in self.maps.items()}
        return {"image": to_tensor(pixels), "window": torch.from_numpy(crop.window), **self._labels(index), **maps}

    def whole(self, index: int, long_side: int) -> Batch:
        """The whole photograph, without augmentation; no maps."""
        image = record_at_size(self.records[index], long_side)
        return {"image": to_tensor(image), **self._labels(index)}

    def _labels(self, index: int) -> Batch:
        target = torch.from_numpy(self.classes.multi_hot(self.records[index].tags))
        return {"target": target, "index": torch.tensor(index)}


def record_at_size(record: ImageRecord, long_side: int) -> Photograph:
    """A photograph whose longer side is resized to `long_side` pixels."""
    image = record.photograph()
    factor = long_side / max(image.shape[:2])
    size = tuple(max(1, round(side * factor)) for side in image.shape[1::-1])
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), dtype=np.uint8)


class MaskExamples:
    """Photographs with masks.

    ``image`` [3, size, size] float32 in [0, 255]; ``mask`` [size, size] uint8, 255 void; ``trust`` [size, size] float32
    in [0, 1], 1 where the reader gives none; ``index`` int64.
    """

    def __init__(self, records: Sequence[ImageRecord], masks: MaskReader, view: CropSection) -> None:
        self.records, self.masks, self.view = records, masks, view

    def __len__(self) -> int:
        return len(self.records)

    def get(self, index: int, rng: np.random.Generator) -> Batch:
        """One random crop."""
        record, view = self.records[index], self.view
        image = record.photograph()
        crop = choose_crop(image.shape[:2], size=view.crop, long_side=(view.long_side_min, view.long_side_max), rng=rng)
        pixels = jitter_colours(cut_photograph(image, crop), view.colour_jitter, rng)
        mask, trust = self.masks(record)
        cut_trust = np.ones((view.crop, view.crop), np.float32) if trust is None else cut_map(trust, crop)
        return {
            "image": to_tensor(pixels),
            "mask": torch.from_numpy(cut_mask(mask, crop)),
            "trust": torch.from_numpy(cut_trust),
            "index": torch.tensor(index),
        }

    def whole(self, index: int, long_side: int) -> Batch:
        """The whole photograph, without augmentation; no mask."""
        return {"image": to_tensor(record_at_size(self.records[index], long_side)), "index": torch.tensor(index)}
