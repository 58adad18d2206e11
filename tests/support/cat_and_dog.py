"""Photographs of a cat and a dog, and edited masks of them that are read as corrections."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.schema import Classes
from sources._edited_forms import Reading
from sources.corrections import Edited, find_edited

CLASSES = Classes(("cat", "big dog"))
SIZE = (12, 16)
NAMES = ("a", "sub/b 1", "c")


def drawn(shift: int = 0) -> np.ndarray:
    """A cat on the left, a dog on the right."""
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[2 + shift : 7 + shift, 1:6] = 1
    mask[4:10, 8:15] = 2
    return mask


MINE = {name: drawn() for name in NAMES}


@pytest.fixture
def dataset(tmp_path, monkeypatch) -> Dataset:
    """Three photographs, of which one id has a slash and a blank."""
    monkeypatch.chdir(tmp_path)
    records = []
    for k, name in enumerate(NAMES):
        path = tmp_path / f"{k}.png"
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(path)
        records.append(
            ImageRecord(name, str(path), f"{k}" * 64, ("train",), ("cat", "big dog"), None, None, k, SIZE[1], SIZE[0],
                        "train", 0, "ok", "")
        )  # fmt: skip
    return Dataset(CLASSES, {}, "train", "val", 0.0, tuple(records))


def edited(path: str, dataset: Dataset, mine: Mapping[str, np.ndarray] = MINE, **how: Any) -> Edited:
    return find_edited(Path(path), dataset, lambda record: mine[record.image_id], reading=Reading(**how))
