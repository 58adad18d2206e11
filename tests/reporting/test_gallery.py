"""Which photographs the report shows, and what it says of empty masks."""

from types import SimpleNamespace
from typing import Any

import pytest

from stages._gallery import MaskColumns, choose, tagged_masks


class Masks:
    """Rows of masks and their quality: image_id → quality, area and source; none is read whole."""

    def __init__(self, rows: dict[str, dict[str, Any]]) -> None:
        self.rows = rows
        self.states = {image_id: SimpleNamespace(digest=image_id) for image_id in rows}

    def quality(self, image_id: str, digest: str) -> float | None:
        assert digest == image_id
        found: float | None = self.rows[image_id]["quality"]
        return found

    def values(self, name: str) -> dict[str, Any]:
        return {image_id: row[name] for image_id, row in self.rows.items()}


def row(quality: float | None, *areas: float, source: str = "refine_crf") -> dict[str, Any]:
    return {"quality": quality, "area": [1 - sum(areas), *areas], "source": source}


@pytest.fixture
def made() -> tuple[Any, Any]:
    """Columns of masks and a data set: five masks of the line, an untagged photograph, and an empty one that a person drew."""
    rows = {
        "good": row(0.9, 0.2, 0.0),
        "fair": row(0.7, 0.1, 0.1),
        "poor": row(0.4, 0.0, 0.3),
        "empty": row(0.0, 0.0, 0.0),
        "not rated": row(None, 0.3, 0.0),
        "untagged": row(1.0, 0.0, 0.0),
        "drawn": row(1.0, 0.0, 0.0, source="human"),
    }
    records = [SimpleNamespace(image_id=name, tags=() if name == "untagged" else ("cat",)) for name in rows]
    return MaskColumns(Masks(rows), Masks(rows)), SimpleNamespace(training=records)  # type: ignore[arg-type]


def test_the_empty_masks_come_first_then_the_worst(made):
    """An empty one is shown as what it is, and has no part in the order; nor has one whose quality is not known."""
    tagged = tagged_masks(*made)
    assert [image_id for image_id, found in tagged.items() if found.empty] == ["empty"]
    assert [(record.image_id, why) for record, why in choose(tagged, {}, 1)] == [
        ("empty", "shows none of its tags"),
        ("poor", "worst by quality"),
        ("fair", "median by quality"),
        ("good", "best by quality"),
    ]


def test_a_gallery_of_none_is_empty(made):
    assert choose(tagged_masks(*made), {}, 0) == []
