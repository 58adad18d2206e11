"""Folders and lists whose name says what they hold: splits, photographs without a class, kinds of files."""

import re
from collections.abc import Iterable

LISTS = {
    "train": ("train", "training", "trainset", "trainingset", "traindata", "trainingdata", "trainimages", "imgtrain"),
    "val": ("val", "valid", "validation", "valset", "validset", "validationset", "validationdata", "valimages", "dev"),
    "test": ("test", "testing", "testset", "testingset", "testdata", "testimages"),
}
"""List → the names that data sets have for it, in small letters alone."""
UNLABELED = ("unlabeled", "unlabelled", "unlabeleddata", "unlabelleddata", "unsup", "unsupervised", "unassigned")
"""Photographs of which nobody said what they show."""
NEGATIVES = (
    "background",
    "backgrounds",
    "backgroundgoogle",
    "negative",
    "negatives",
    "neg",
    "none",
    "empty",
    "noclass",
    "noobject",
)
"""Photographs that show no class; `other` or `normal` may be one."""
KINDS = (
    "images",
    "imgs",
    "jpegimages",
    "labels",
    "annotations",
    "masks",
    "segmentationclass",
    "imagesets",
    "gt",
    "groundtruth",
)
"""Folders that are named after what kind of file they hold."""


def list_of(name: str) -> str:
    """The list that a name stands for: `Training`, `valid`, `test_set`; "" for any other name.

    >>> [list_of(name) for name in ("Training", "valid", "test_set", "cat")]
    ['train', 'val', 'test', '']
    """
    return next((known for known, names in LISTS.items() if _letters(name) in names), "")


def is_one_of(name: str, names: Iterable[str]) -> bool:
    """Whether a folder has one of the names above.

    >>> is_one_of("BACKGROUND_Google", NEGATIVES), is_one_of("no object", NEGATIVES), is_one_of("neg 2", NEGATIVES)
    (True, True, False)
    """
    return _letters(name) in names


def _letters(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", name.casefold())
