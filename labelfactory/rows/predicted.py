"""Predictions of a network that were made before: rows of its present weights, with the same settings, of the same photograph.

Scores, exports and pages ask here, and predict what has no such row. So settings, weights or photographs that have changed since
the last run cost time and never give the mask of before.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.digests import digest_payload
from labelfactory.rows.pairing import TAGS, MadeOf, made_of
from labelfactory.rows.shards import Row, ShardFolder
from labelfactory.settings.wiring import DATA, read_wiring

INFERENCE = "inference"
"""Name of the settings with which the line runs a segmenter: in the inputs of its predictions, and in what was measured."""


class _Place(NamedTuple):
    """Where a row lies in its shard, and what it was made of."""

    position: int
    digest: str
    made_of: MadeOf


class PredictedRows:
    """The predictions of a network as it is now; none where no stage predicts with it.

    Args:
        network: the noun of its output.
        weights: digest of its weights.
        inference: digest of the settings with which it would be run.
        classes: names of class ids 1, 2, … in the data set.
    """

    def __init__(self, network: str, *, weights: str, inference: str, classes: Sequence[str]) -> None:
        maker = read_wiring().predicting(network)
        self._folder = ShardFolder(DATA / maker.noun) if maker is not None else None
        self._made_with = {network: weights, INFERENCE: inference}
        self._classes = classes
        self._last: tuple[int, dict[str, _Place]] | None = None

    def row(self, record: ImageRecord) -> Row | None:
        """The prediction of a photograph, checked against its digest; None where there is none.

        Raises:
            DataError: the shard is damaged.
        """
        if self._folder is None:
            return None
        place = self._places(self._folder, record.shard).get(record.image_id)
        if place is None or place.made_of.differs(record, self._classes) not in ("", TAGS):  # no network looks at tags
            return None
        row = self._folder.row(record.shard, place.position)
        return row if digest_payload(row) == place.digest else None  # else a run has replaced the shard meanwhile

    def _places(self, folder: ShardFolder, shard: int) -> dict[str, _Place]:
        """The rows of the network in a shard by image; the last shard is remembered."""
        if self._last is None or self._last[0] != shard:
            states, inputs = folder.states_and_inputs(shard)
            try:
                places = {
                    image_id: _Place(position, state.digest, made_of(inputs[image_id]))
                    for position, (image_id, state) in enumerate(states.items())
                    if state.status == "ok" and self._made_with.items() <= json.loads(inputs[image_id]).items()
                }
            except (ValueError, AttributeError, TypeError, RecursionError):
                raise folder.damaged(shard, "its inputs are not readable") from None
            self._last = shard, places
        return self._last[1]
