"""Random access to the rows of a per-image output, by image: what training, scoring, exports and corrections read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelfactory.dataset.prepared import Dataset
from labelfactory.digests import digest_payload
from labelfactory.errors import ChangedMeanwhileError, DataError
from labelfactory.rows.pairing import MadeOf, made_of
from labelfactory.rows.shards import Row, RowState, ShardFolder


class RowReader:
    """The rows of one per-image output that are not quarantined.

    A stage runs after those before it, so all rows that it reads are of its data set. Whatever else reads rows names the data set.

    Args:
        folder: the output.
        dataset: only rows that belong to its photographs and classes are read; see `labelfactory.rows.pairing`.
        made_with: with a data set, only rows whose inputs say so, such as the digest of a network's weights.

    Attributes:
        states: image_id → state of its row.
        made_of: image_id → what its row was made of; with a data set only, and of `earlier` rows too.
        earlier: image_id → state of a row that does not belong to the photograph or the classes that the data set has now.

    Raises:
        DataError: a shard is damaged.
    """

    def __init__(
        self, folder: Path, dataset: Dataset | None = None, *, made_with: Mapping[str, str] | None = None
    ) -> None:
        self.folder = ShardFolder(folder)
        self._dataset = dataset
        self._positions: dict[str, tuple[int, int]] = {}
        self.states: dict[str, RowState] = {}
        self.earlier: dict[str, RowState] = {}
        self.made_of: dict[str, MadeOf] = {}
        records = {} if dataset is None else {record.image_id: record for record in dataset.records}
        for shard in self.folder.shards():
            inputs: dict[str, str] = {}
            if dataset is None:
                states = self.folder.states(shard)
            else:
                states, inputs = self.folder.states_and_inputs(shard)
            for position, (image_id, state) in enumerate(states.items()):
                if state.status != "ok" or (dataset is not None and image_id not in records):
                    continue
                belongs = True
                if dataset is not None:
                    self.made_of[image_id] = self._made_of(shard, inputs[image_id])
                    if made_with and not made_with.items() <= json.loads(inputs[image_id]).items():
                        continue
                    belongs = not self.made_of[image_id].differs(records[image_id], dataset.classes.names)
                self._positions[image_id] = (shard, position)
                (self.states if belongs else self.earlier)[image_id] = state

    def _made_of(self, shard: int, inputs: str) -> MadeOf:
        try:
            return made_of(inputs)
        except ValueError as error:
            raise self.folder.damaged(shard, str(error)) from None

    def __contains__(self, image_id: str) -> bool:
        return image_id in self.states

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
            ChangedMeanwhileError: with a data set, a run has replaced it meanwhile.
        """
        if image_id not in self.states:
            raise DataError(f"{self.folder.folder}: has no usable row for the image {image_id}", "Type `dvc repro`.")
        return self._row(image_id, self.states[image_id])

    def earlier_row(self, image_id: str) -> Row:
        """The payload of one of `earlier`, as it was made; its class ids are those of `made_of`.

        Raises:
            DataError: as for `[image_id]`.
        """
        return self._row(image_id, self.earlier[image_id])

    def _row(self, image_id: str, state: RowState) -> Row:
        row = self.folder.row(*self._positions[image_id])
        # a run goes on beside what reads for a person
        if self._dataset is not None and digest_payload(row) != state.digest:
            word = self.folder.folder.name
            problem = f"{image_id}: its row in data/{word} was replaced meanwhile"
            raise ChangedMeanwhileError(problem, "Type the command again.")
        return row
