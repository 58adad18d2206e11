"""The rows on disk of one image: its mask, and the class scores behind it, where these are the ones that it was made from.

A run that ended between two stages leaves rows that the next ones were not made from. Each row names in `inputs` the digests of
the rows and of the thresholds that it was made from.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.errors import MissingError
from labelfactory.rows.pairing import EARLIER, made_of
from labelfactory.rows.shards import Row, ShardFolder
from labelfactory.settings.thresholds import THRESHOLDS as FILE
from labelfactory.settings.thresholds import thresholds_digest
from labelfactory.settings.wiring import DATA, StageWiring, read_wiring

NAMES = ("threshold", "thresholds")
"""How rows name the thresholds that they were made with."""


@dataclass(frozen=True)
class _Found:
    """A row on disk; `reason`: PHOTOGRAPH, TAGS or CLASSES where it does not belong to the image."""

    digest: str
    inputs: Mapping[str, Any]
    reason: str
    folder: ShardFolder
    position: int


def row_of(noun: str, record: ImageRecord, classes: Sequence[str]) -> Row:
    """The payload of an image in a per-image output; only its own shard is looked into.

    Args:
        noun: of the output.
        record: the image.
        classes: names of class ids 1, 2, … in the data set.

    Raises:
        MissingError: there is no usable row of it, or it is of an earlier photograph, of earlier tags or classes.
    """
    found = _found(noun, record, classes)
    if found is not None and not found.reason:
        return found.folder.row(record.shard, found.position)
    maker = read_wiring().maker(noun)
    word = maker.word if maker else noun
    if found is not None:
        problem = f"{record.image_id}: its {word} on disk is of {EARLIER[found.reason]}"
        raise MissingError(problem, "Type `labelfactory run`, which makes it anew.")
    raise MissingError(
        f"{record.image_id} has no {word}", "It is scored only, or quarantined; see `labelfactory report`."
    )


def scores_behind(
    record: ImageRecord, classes: Sequence[str], inputs: Mapping[str, Any], *, drawn: bool
) -> list[tuple[StageWiring, Row | None]]:
    """The class scores behind a mask, in the line's order, each with the stage that makes them.

    None in the place of a row that is not on disk: there never was one, or it, or its background threshold, was made again since.

    Args:
        record: the image.
        classes: names of class ids 1, 2, … in the data set.
        inputs: of the mask's row.
        drawn: whether a person drew the mask. It was made from no row; then the rows count that the line has for the image.
    """
    wiring, masks = read_wiring(), read_wiring().masks
    behind = [maker for noun in wiring.rows_behind(masks.noun) if (maker := wiring.maker(noun))]
    chain, rows = {masks.name: inputs}, dict[str, _Found]()
    for maker in reversed(behind):
        found = _found(maker.noun, record, classes)
        named = {str(each[maker.noun]) for each in chain.values() if maker.noun in each}
        is_free = drawn and len(chain) == 1
        if found is not None and not found.reason and (named == {found.digest} or (is_free and not named)):
            chain[maker.name], rows[maker.noun] = found.inputs, found
    scored = []
    for maker in behind:
        found = rows.get(maker.noun)
        if found is not None and not _has_threshold(maker, found, chain, record, classes):
            found = None
        if maker.meta.scores.thresholds:
            scored.append((maker, found.folder.row(record.shard, found.position) if found else None))
    return scored


def stamp_behind(shard: int) -> tuple[tuple[str, int, int], ...]:
    """Size and time of the files that `scores_behind` reads for an image of a shard, and of the thresholds."""
    wiring = read_wiring()
    paths = [ShardFolder(DATA / noun).path(shard) for noun in wiring.row_outputs]
    paths += [DATA / stage.noun / FILE for stage in wiring.of_kind("thresholds")]
    there = [(path, path.stat()) for path in paths if path.exists()]
    return tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in there)


def _has_threshold(
    maker: StageWiring, row: _Found, chain: Mapping[str, Mapping[str, Any]], record: ImageRecord, classes: Sequence[str]
) -> bool:
    """Whether the background threshold on disk is the one that went with a row: by the rows in the chain of a mask that were made
    with one, else by others that were made from the row, such as the labels of a network. True where none says."""
    noun, wiring = maker.meta.scores.thresholds, read_wiring()
    users = [stage for stage in wiring.of_kind("rows") if noun and noun in stage.inputs]
    stated = [chain[stage.name] for stage in users if stage.name in chain]
    if not any(_thresholds_in(inputs) for inputs in stated):
        others = (_found(stage.noun, record, classes) for stage in users if stage.name not in chain)
        stated = [other.inputs for other in others if other and other.inputs.get(maker.noun) == row.digest]
    digests = {digest for inputs in stated for digest in _thresholds_in(inputs)}
    return not digests or digests == {thresholds_digest(DATA / noun)}


def _thresholds_in(inputs: Mapping[str, Any]) -> set[str]:
    return {str(inputs[name]) for name in NAMES if name in inputs}


def _found(noun: str, record: ImageRecord, classes: Sequence[str]) -> _Found | None:
    """The usable row of an image on disk, whether it belongs to it or not."""
    folder = ShardFolder(DATA / noun)
    states, inputs = folder.states_and_inputs(record.shard)
    for position, state in enumerate(states.values()):
        if state.image_id == record.image_id and state.status == "ok":
            text = inputs[record.image_id]
            try:
                reason = made_of(text).differs(record, classes)
            except ValueError as error:
                raise folder.damaged(record.shard, str(error)) from None
            return _Found(state.digest, json.loads(text), reason, folder, position)
    return None
