"""The quality of rows, read from the rows of the stage that rates them: of a row as it is now, never of one before it."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from labelfactory.dataset.prepared import Dataset
from labelfactory.rows.reader import RowReader
from labelfactory.settings.wiring import DATA, read_wiring

QUALITY = "quality"
"""The column of the quality itself."""
OF = "mask_digest"
"""The column that says which row was rated, by its digest."""


class RatedRows:
    """The quality of an output's rows; none where no stage rates them, or it has not run yet.

    Args:
        noun: of the output, such as masks.
        dataset: only rows of its photographs and classes count.

    Raises:
        DataError: a shard is damaged.
    """

    def __init__(self, noun: str, dataset: Dataset | None = None) -> None:
        maker = read_wiring().rating(noun)
        folder = DATA / maker.noun if maker is not None else None
        self._rows = RowReader(folder, dataset) if folder is not None and folder.exists() else None

    @cached_property
    def _rated(self) -> Mapping[str, tuple[str, float]]:
        if self._rows is None:
            return {}
        digests, values = self._rows.values(OF), self._rows.values(QUALITY)
        return {image_id: (digests[image_id], float(value)) for image_id, value in values.items()}

    def quality(self, image_id: str, digest: str) -> float | None:
        """The quality of a row, in [0, 1]; None where the row of that digest was not rated."""
        of, value = self._rated.get(image_id, ("", 0.0))
        return value if of == digest else None

    def values(self, name: str) -> Mapping[str, Any]:
        """Another column of all ratings, image_id → value; empty where there is none. `quality` says whether one is of a row."""
        return self._rows.values(name) if self._rows is not None else {}
