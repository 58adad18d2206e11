"""The same photographs for all contenders, with the masks that each made of them: half of them most disputed, half by chance."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from flows.tournaments.jobs import Course
from flows.tournaments.nodes import Node
from flows.tournaments.rounds import Tournament
from flows.tournaments.standings import Standing
from labelfactory.dataset.images import decode_mask
from labelfactory.dataset.prepared import IMAGES, Dataset, ImageRecord, read_dataset
from labelfactory.digests import digest_bytes
from labelfactory.errors import UserError
from labelfactory.rows.reader import RowReader
from labelfactory.rows.scored import SCORED_IMAGES
from labelfactory.schema import Mask, labels_from_channels
from labelfactory.settings.thresholds import read_thresholds
from labelfactory.settings.wiring import DATA, read_wiring
from models.seeds import channels_above, scores_at_size
from reporting.content import ContenderMask, ContestedPhotograph

PHOTOGRAPHS = 12
DISPUTED, BY_CHANCE = "most disputed", "by chance"


def gallery_of(tournament: Tournament) -> list[ContestedPhotograph]:
    """The photographs of the baseline's first run, with the masks of all contenders whose first run is of the same photographs.

    A photograph or a row that cannot be read is left out: the report does not wait for it.
    """
    course = tournament.course
    first = _first_node(tournament.baseline)
    if first is None:
        return []
    nodes = {s.name: node for s in tournament.standings.values() if (node := _first_node(s)) is not None}
    nodes = {name: node for name, node in nodes.items() if node.selection == first.selection}
    dataset = read_dataset(_folder(first, "dataset") / IMAGES.name)
    records = {record.image_id: record for record in dataset.on_list(course.scored)}
    scores = {name: _scores(node, course) for name, node in nodes.items()}
    made = {name: _Masks(node, course, dataset) for name, node in nodes.items()}
    truths = _truths(first, chosen := _choose(records, scores))
    found = []
    for image_id, why in chosen.items():
        try:
            photograph = records[image_id].photograph()
        except UserError:
            continue
        masks = {
            name: ContenderMask(mask, scores[name].get(image_id))
            for name, own in made.items()
            if (mask := own.of(records[image_id])) is not None
        }
        found.append(ContestedPhotograph(image_id, photograph, masks, truths.get(image_id), why))
    return found


def _first_node(standing: Standing) -> Node | None:
    """Of its first run, if that is done."""
    return next((standing.jobs[seed].node for seed in standing.runs), None)


def _folder(last: Node, noun: str) -> Path:
    """Where a node behind the last one has its output."""
    wiring = read_wiring()
    return next(node.folder / DATA / noun for node in last.chain if wiring[node.stage].noun == noun)


def _choose(records: Mapping[str, ImageRecord], scores: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """Id → why: those with the widest spread of the contenders' mIoU, where there are scores, then others by their ids."""
    spread = {
        image_id: max(known) - min(known)
        for image_id in records
        if len(known := [own[image_id] for own in scores.values() if image_id in own]) > 1
    }
    disputed = sorted((i for i in spread if spread[i] > 0), key=lambda i: (-spread[i], i))[: PHOTOGRAPHS // 2]
    others = sorted(records, key=lambda image_id: digest_bytes(image_id.encode("utf-8", "surrogatepass")))
    tagged = [image_id for image_id in others if records[image_id].tags and image_id not in disputed]
    chosen = dict.fromkeys(disputed, DISPUTED)
    return chosen | dict.fromkeys(tagged[: PHOTOGRAPHS - len(disputed)], BY_CHANCE)


def _scores(node: Node, course: Course) -> dict[str, float]:
    """Image id → mIoU of a contender's mask."""
    path = node.folder / SCORED_IMAGES
    if not path.exists() or course.until not in pq.read_schema(path).names:
        return {}
    table = pq.read_table(path, columns=["image_id", course.until])
    pairs = zip(table["image_id"].to_pylist(), table[course.until].to_pylist(), strict=True)
    return {image_id: value for image_id, value in pairs if value is not None}


def _truths(node: Node, chosen: Mapping[str, str]) -> dict[str, Mask]:
    """The true masks as `evaluate` scored them, of some images."""
    path = node.folder / SCORED_IMAGES
    if not path.exists():
        return {}
    table = pq.read_table(path, columns=["image_id", "truth"], filters=[("image_id", "in", list(chosen))])
    pairs = zip(table["image_id"].to_pylist(), table["truth"].to_pylist(), strict=True)
    return {image_id: decode_mask(stored["bytes"]) for image_id, stored in pairs}


class _Masks:
    """The masks of one contender, at its own thresholds."""

    def __init__(self, node: Node, course: Course, dataset: Dataset) -> None:
        step, wiring = course.step, read_wiring()
        self._column = step.meta.scores.column or "mask"
        predicting = wiring.predicting(step.noun) if step.meta.kind == "network" else step
        noun = predicting.noun if predicting else step.noun
        self._rows = RowReader(_folder(node, noun), dataset)
        thresholds = step.meta.scores.thresholds
        self._threshold = read_thresholds(_folder(node, thresholds))["background"].value if thresholds else None

    def of(self, record: ImageRecord) -> NDArray[Any] | None:
        """The mask of one image, [H, W] uint8 class ids, 255 void; None where it has none."""
        try:
            if record.image_id not in self._rows:
                return None
            row = self._rows[record.image_id]
        except UserError:
            return None
        if self._threshold is None:
            return np.asarray(row[self._column])
        scores = scores_at_size(row[self._column], (record.height, record.width))
        return labels_from_channels(channels_above(scores, self._threshold), row["class_ids"])
