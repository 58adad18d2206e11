"""What people answered of audited images: truth, as true masks are.

Only the estimate of the level, and what rates masks by it, may import this module; an import contract and a test check that.
"""

from collections.abc import Sequence

import numpy as np

from labelfactory.dataset.audits import AUDITS, RESTORE, AnsweredPoints
from labelfactory.dataset.corrections import Correction, corrected_mask
from labelfactory.errors import DataError
from labelfactory.schema import BACKGROUND, VOID, Classes, Mask

AGAIN = "Add the mask again with `labelfactory corrections add PATH --audit`."
NAMES = ("background", "void")
"""Answers that are no class."""


def audited_mask(audit: Correction, classes: Classes) -> Mask:
    """The true mask that a person drew, in the ids of `classes`: [H, W] uint8; pixels of a removed class are void.

    Raises:
        DataError: its file is missing or has changed.
    """
    try:
        return corrected_mask(audit, classes, AUDITS)
    except DataError as error:
        raise DataError(error.problem, AGAIN) from None


def audited_points(points: AnsweredPoints, classes: Classes) -> Mask:
    """The classes that a person saw at the points of an image, [P] uint8; of a removed class void.

    Raises:
        DataError: an answer is not readable.
    """
    if not all(points.answers):
        raise DataError(f"{points.image_id}: a point has no answer", RESTORE)
    return np.array([_class_id(answer, classes.names) for answer in points.answers], dtype=np.uint8)


def gone_classes(answer: Correction | AnsweredPoints, classes: Classes) -> set[str]:
    """Classes that a person saw in an image and that the data set has no longer: it may have another name for them.

    Raises:
        DataError: the file of the mask is missing or has changed.
    """
    if isinstance(answer, AnsweredPoints):
        return set(answer.answers) - {*classes.names, *NAMES, ""}
    gone = {class_id: name for class_id, name in enumerate(answer.classes, 1) if name not in classes.names}
    return {gone[k] for k in np.unique(audited_mask(answer, Classes(answer.classes))) if k in gone} if gone else set()


def _class_id(answer: str, names: Sequence[str]) -> int:
    if answer in names:
        return list(names).index(answer) + 1
    return BACKGROUND if answer == NAMES[0] else VOID
