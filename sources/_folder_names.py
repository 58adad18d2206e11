"""Folders and lists whose name says what they hold: splits, photographs without a class, kinds of files."""

import re
from collections.abc import Iterable

LISTS = {
    "train": ("train", "training", "trainset"),
    "val": ("val", "valid", "validation", "valset", "dev"),
    "test": ("test", "testing", "testset"),
}
"""List → the words that data sets have for it."""
FILLERS = ("set", "data", "dataset", "images", "image", "imgs", "img", "photos", "seg", "split")
"""Words that say nothing beside such a word: seg_train, test_set, images_val."""
UNLABELED = ("unlabeled", "unlabelled", "unsup", "unsupervised", "unassigned", "pred", "predict", "prediction")
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
    """The list that a name stands for: `Training`, `valid`, `seg_test`, `train2017`; "" for any other name.

    >>> [list_of(name) for name in ("Training", "valid", "seg_test", "train2017", "train station", "cat")]
    ['train', 'val', 'test', 'train', '', '']
    """
    word = _word(name)
    return next((known for known, names in LISTS.items() if word in names), "")


def is_unlabeled(name: str) -> bool:
    """Whether a folder holds photographs of which nobody said what they show."""
    return _word(name) in UNLABELED


def is_one_of(name: str, names: Iterable[str]) -> bool:
    """Whether a folder has one of the names above.

    >>> is_one_of("BACKGROUND_Google", NEGATIVES), is_one_of("no object", NEGATIVES), is_one_of("neg 2", NEGATIVES)
    (True, True, False)
    """
    return _letters(name) in names


def _word(name: str) -> str:
    """The word of a name without numbers and fillers; "" if there are several."""
    if not re.fullmatch(r"[\w -]+", name):
        return ""
    words = [word for word in re.findall(r"[^\W\d_]+", name.casefold()) if word not in FILLERS]
    return words[0] if len(words) == 1 else ""


def _letters(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", name.casefold())
