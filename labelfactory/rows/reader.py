"""Random access to the rows of a per-image output, by image: what training and scoring read."""

from pathlib import Path
from typing import Any

from labelfactory.errors import DataError
from labelfactory.rows.shards import Row, RowState, ShardFolder


class RowReader:
    """The rows of one per-image output that are not quarantined."""

    def __init__(self, folder: Path) -> None:
        self.folder = ShardFolder(folder)
        self._positions: dict[str, tuple[int, int]] = {}
        self.states: dict[str, RowState] = {}
        for shard in self.folder.shards():
            for position, state in enumerate(self.folder.states(shard).values()):
                if state.status == "ok":
                    self._positions[state.image_id] = (shard, position)
                    self.states[state.image_id] = state

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._positions

    def values(self, name: str) -> dict[str, Any]:
        """One column of all usable rows, without the rest of their payload: image_id → value. Digests are not checked.

        Raises:
            DataError: a shard is damaged.
        """
        values: dict[str, Any] = {}
        for shard in self.folder.shards():
            values |= self.folder.values(shard, name)
        return {image_id: values[image_id] for image_id in self.states}

    def __getitem__(self, image_id: str) -> Row:
        """The payload of an image, checked against its digest.

        Raises:
            DataError: there is no usable row for it, or it is damaged.
        """
        if image_id not in self._positions:
            raise DataError(f"{self.folder.folder}: has no usable row for the image {image_id}", "Type `dvc repro`.")
        return self.folder.row(*self._positions[image_id])
