"""The quality of a mask: the IoU with its truth that its evidence lets one expect, for each class."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evidence import Floats, ratio

Evidence = Mapping[str, Any]
"""A row of `assess_masks`."""


@dataclass(frozen=True)
class Expected:
    """What is expected of a mask, for each of its K classes.

    Attributes:
        iou: [K] float32 in [0, 1], of the mask with its truth.
        intersection, union: [K] float32, shares of the image's pixels.
        model_intersection, model_union: [K] float32, the same of the model's prediction.
        counted: [K] bool, whether the class is one of the mask's quality: the background, a tag, or in the mask.
        empty: whether the mask shows none of the image's tags, though it has some.
    """

    iou: Floats
    intersection: Floats
    union: Floats
    model_intersection: Floats
    model_union: Floats
    counted: NDArray[np.bool_]
    empty: bool

    @property
    def quality(self) -> float:
        """The expected mIoU; 0 for an empty mask, which is none of what was asked for."""
        return 0.0 if self.empty else float(self.iou[self.counted].mean())


def expected(evidence: Evidence) -> Expected:
    """What the evidence on a mask lets one expect."""
    intersection, union = evidence["intersection"], evidence["union"]
    return Expected(
        iou=ratio(intersection, union),
        intersection=intersection,
        union=union,
        model_intersection=evidence["model_intersection"],
        model_union=evidence["model_union"],
        counted=_counted(evidence),
        empty=_is_empty(evidence),
    )


def drawn(evidence: Evidence) -> Expected:
    """What is known of a mask that a person drew: it is the truth, and the model's prediction is held against it."""
    area = evidence["area"]
    return Expected(
        iou=np.ones_like(area),
        intersection=area,
        union=area,
        model_intersection=evidence["common"],
        model_union=evidence["either"],
        counted=_counted(evidence),
        empty=False,
    )


def _counted(evidence: Evidence) -> NDArray[np.bool_]:
    counted: NDArray[np.bool_] = (evidence["tagged"] > 0) | (evidence["area"] > 0)
    return counted


def _is_empty(evidence: Evidence) -> bool:
    wanted = (evidence["tagged"] > 0) & (evidence["class_ids"] > 0)
    return bool(wanted.any()) and not bool((evidence["area"][wanted] > 0).any())
