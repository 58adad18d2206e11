"""Which photographs the report shows, and what it says of empty masks."""

from types import SimpleNamespace
from typing import Any

import pytest

from stages._gallery import MaskColumns, choose, tagged_masks


class Masks:
    """Rows of masks: image_id → agreement, area and source; none is read whole."""

    def __init__(self, rows: dict[str, dict[str, Any]]) -> None:
        self.rows = rows

    def values(self, name: str) -> dict[str, Any]:
        return {image_id: row[name] for image_id, row in self.rows.items()}


def row(agreement: float, *areas: float, source: str = "refine_crf") -> dict[str, Any]:
    return {"agreement": agreement, "area": [1 - sum(areas), *areas], "source": source}


@pytest.fixture
def made() -> tuple[Any, Any]:
    """Columns of masks and a data set: four masks of the line, an untagged photograph, and an empty one that a person drew."""
    rows = {
        "good": row(0.9, 0.2, 0.0),
        "fair": row(0.7, 0.1, 0.1),
        "poor": row(0.4, 0.0, 0.3),
        "empty": row(1.0, 0.0, 0.0),
        "untagged": row(1.0, 0.0, 0.0),
        "drawn": row(1.0, 0.0, 0.0, source="human"),
    }
    records = [SimpleNamespace(image_id=name, tags=() if name == "untagged" else ("cat",)) for name in rows]
    return MaskColumns(Masks(rows)), SimpleNamespace(training=records)  # type: ignore[arg-type]


def test_an_empty_mask_is_not_the_best(made):
    """Walk and CRF agree perfectly on nothing: such a mask is shown as what it is, and has no part in the order."""
    tagged = tagged_masks(*made)
    assert [image_id for image_id, found in tagged.items() if found.empty] == ["empty"]
    assert [(record.image_id, why) for record, why in choose(tagged, {}, 1)] == [
        ("empty", "shows none of its tags"),
        ("good", "best by agreement"),
        ("fair", "median by agreement"),
        ("poor", "worst by agreement"),
    ]


def test_a_gallery_of_none_is_empty(made):
    assert choose(tagged_masks(*made), {}, 0) == []
