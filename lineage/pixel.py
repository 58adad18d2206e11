"""Why a pixel has its class: the score of each class in the CAM, the walk and the CRF at that pixel, and which step decided.

CAM and walk are read from the shards. Of the CRF only the winner is stored, so it is run again on the photograph, and its
mask is compared with the stored one.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfactory.dataset.corrections import HUMAN
from labelfactory.dataset.prepared import Dataset, ImageRecord, read_dataset
from labelfactory.errors import DataError, MissingError, did_you_mean
from labelfactory.rows.shards import Row
from labelfactory.schema import BACKGROUND, VOID, Mask
from labelfactory.settings.params import PARAMS_FILE, read_yaml
from labelfactory.settings.thresholds import read_thresholds, thresholds_digest
from labelfactory.settings.wiring import DATA, StageWiring, read_wiring
from labelfactory.stage.runner import stage_class
from lineage.ledger_rows import shard_rows
from lineage.rows_behind import row_of, scores_behind
from models.refinement import refined
from models.seeds import channels_above, scores_at_size

Answer = dict[str, Any]
AGAIN = "made again or deleted since the mask; `labelfactory run` makes the mask anew"
"""What is said of a row that the mask was not made from."""


def audit_pixel(image_id: str, x: int, y: int) -> Answer:
    """Why the mask of an image has its class at column x, row y, both from 0.

    Raises:
        MissingError: no such image, or no mask of it on disk.
        DataError: the pixel lies outside the photograph.
    """
    dataset = read_dataset(DATA / "dataset" / "images.parquet")
    return PixelAudit(_record(dataset, image_id), dataset.classes.with_background).at(x, y)


class PixelAudit:
    """Explains the mask of one image, read once, at one pixel after another.

    Args:
        record: the image.
        names: of the classes, the background first.

    Raises:
        MissingError: there is no mask of it on disk.
    """

    def __init__(self, record: ImageRecord, names: tuple[str, ...]) -> None:
        self.record, self.names = record, names
        self.maker = read_wiring().masks
        self.row, self.origin = row_of(self.maker.noun, record, names[1:]), _origin(record)
        self.source = str(self.origin["source"])
        drawn = self.source == HUMAN
        self.scored = scores_behind(record, names[1:], self.origin["inputs"], drawn=drawn)
        """The rows of class scores behind the mask, in the line's order; None where that row is not on disk any more."""
        self.thresholds = {
            maker.noun: read_thresholds(DATA / maker.meta.scores.thresholds)["background"].value
            for maker, row in self.scored
            if row is not None
        }

    def at(self, x: int, y: int) -> Answer:
        """Why the class at column x, row y.

        Raises:
            DataError: the pixel lies outside the photograph.
        """
        record, names = self.record, self.names
        if not (0 <= x < record.width and 0 <= y < record.height):
            raise DataError(
                f"{record.image_id} is {record.width} × {record.height} pixels; ({x}, {y}) lies outside",
                f"x runs from 0 to {record.width - 1}, y from 0 to {record.height - 1}.",
            )
        decided, size = int(self.row["mask"][y, x]), (record.height, record.width)
        steps: list[Answer] = [
            {"step": maker.word, "note": AGAIN}
            if row is None
            else _thresholded(maker, row, self.thresholds[maker.noun], names, size, (x, y))
            for maker, row in self.scored
            if row is not None or self.source != HUMAN  # a person's mask stands even where the line could make none
        ]
        if self.source == HUMAN:
            steps.append({"step": HUMAN, "winner": _name(decided, names), "source": HUMAN})
        else:
            steps.append(self._crf(x, y))
        return {
            "image_id": record.image_id,
            "x": x,
            "y": y,
            "width": record.width,
            "height": record.height,
            "class": _name(decided, names),
            "class_id": decided,
            "tags": list(record.tags),
            "steps": steps,
            "because": _because([(step["step"], step["winner"]) for step in steps if "winner" in step], self.source)
            + _again_since([step["step"] for step in steps if "winner" not in step]),
        }

    def _crf(self, x: int, y: int) -> Answer:
        """The CRF's probability of each class, from a second run of it; only its winner's from disk where that differs."""
        stored = self.row["confidence"]
        step_y, step_x = (-(-side // n) for side, n in zip(self.row["mask"].shape, stored.shape, strict=True))
        answer: Answer = {
            "step": "CRF",
            "winner": _name(int(self.row["mask"][y, x]), self.names),
            "confidence": round(float(stored[y // step_y, x // step_x]) / 255, 4),
            "source": self.source,
        }
        note, probabilities = self.again
        if probabilities is None:
            return answer | {"scores": {}, "note": note}
        channels = enumerate([BACKGROUND, *self._ids])
        scores = {_name(k, self.names): round(float(probabilities[c, y, x]), 4) for c, k in channels}
        return answer | {"scores": scores, "note": note}

    @property
    def walk(self) -> Row | None:
        """The row of class scores that the mask was made from."""
        return self.scored[-1][1] if self.scored else None

    @property
    def _ids(self) -> list[int]:
        return [] if self.walk is None else [int(k) for k in self.walk["class_ids"]]

    @cached_property
    def again(self) -> tuple[str, NDArray[np.float32] | None]:
        """What became of a second run of the CRF, and its probabilities [1 + K, H, W] if they may be shown."""
        reason = _why_not(self.origin)
        if reason or self.walk is None:
            return reason or f"the {self.scored[-1][0].word if self.scored else 'row'} was {AGAIN}", None
        mask, probabilities = _again(self.record, self.walk["scores"], self._ids)
        if not np.array_equal(mask, self.row["mask"]):
            return "a second run of the CRF gave another mask; another machine made this one", None
        return "the CRF was run again and gave the stored mask, bit for bit", probabilities


def _record(dataset: Dataset, image_id: str) -> ImageRecord:
    for record in dataset.records:
        if record.image_id == image_id:
            return record
    known = [record.image_id for record in dataset.records]
    near = did_you_mean(image_id, known)
    raise MissingError(
        f"the data set holds no image {image_id!r}{near if 'did you mean' in near else ''}", "Name one that it holds."
    )


def _name(class_id: int, names: tuple[str, ...]) -> str:
    return "void" if class_id == VOID else names[class_id]


def _thresholded(
    maker: StageWiring,
    row: Mapping[str, Any],
    threshold: float,
    names: tuple[str, ...],
    size: tuple[int, int],
    pixel: tuple[int, int],
) -> Answer:
    """The class scores of a row at a pixel, and the class that wins over the background's threshold."""
    scores, ids = row[maker.meta.scores.column], [int(k) for k in row["class_ids"]]
    wide = scores_at_size(scores, size)
    x, y = pixel
    channel = int(channels_above(wide[:, y : y + 1, x : x + 1], threshold)[0, 0])
    by_class = {names[k]: round(float(wide[c, y, x]), 4) for c, k in enumerate(ids)}
    winner = names[ids[channel - 1]] if channel else names[BACKGROUND]
    return {"step": maker.word, "scores": by_class, "background_threshold": threshold, "winner": winner}


def _origin(record: ImageRecord) -> Answer:
    """The mask's row without its payload: its inputs and its source."""
    path = DATA / read_wiring().masks.noun / f"shard-{record.shard:05d}.parquet"
    return next(row for row in shard_rows(path) if row["image_id"] == record.image_id)


def _why_not(row: Answer) -> str:
    """Why the CRF cannot be run again as it was; empty where it can."""
    inputs, stage = row["inputs"], read_wiring().masks.name
    if row["source"] != stage:
        return "this mask was not made by the CRF"
    if inputs.get("params") != _section_of_masks().digest():
        return f"params.yaml has changed since this mask was made; `labelfactory run {stage}` makes it anew"
    if inputs.get("threshold") != thresholds_digest(_threshold_of_masks()):
        return f"the threshold has changed since this mask was made; `labelfactory run {stage}` makes it anew"
    return ""


def _section_of_masks() -> Any:
    """The section of the stage that makes the masks, as params.yaml has it now."""
    name = read_wiring().masks.name
    return stage_class(name).section.model_validate(read_yaml(Path(PARAMS_FILE))[name])


def _threshold_of_masks() -> Path:
    """The folder of the threshold that the stage of the masks reads."""
    wiring = read_wiring()
    return DATA / next(stage.noun for stage in wiring.of_kind("thresholds") if stage.noun in wiring.masks.inputs)


def _again(record: ImageRecord, scores: NDArray[np.floating], ids: list[int]) -> tuple[Mask, NDArray[np.float32]]:
    """The mask as its stage makes it, and the probabilities [1 + K, H, W] that it does not keep."""
    cfg = _section_of_masks()
    threshold = read_thresholds(_threshold_of_masks())["background"].value
    limits = {"scale": cfg.scale, "min_confidence": cfg.min_confidence}
    again = refined(record.photograph(), scores, ids, cfg.method, threshold=threshold, **limits)
    return again.mask, again.probabilities


def _because(winners: list[tuple[str, str]], source: str) -> str:
    """One sentence on which step decided, from the winner of each step in the line's order."""
    *earlier, (last, mask) = winners
    if source == HUMAN:
        return f"A human decided: {mask}."
    if not earlier:
        return f"The {last} decided {mask}."
    if all(winner == mask for _, winner in earlier):
        return f"{_listed([*(step for step, _ in earlier), last])} agree on {mask}."
    if len({winner for _, winner in earlier}) == 1:
        return f"{_listed([step for step, _ in earlier])} said {earlier[-1][1]}; the {last} changed it to {mask}."
    if earlier[-1][1] == mask:
        before = max(k for k, (_, winner) in enumerate(earlier) if winner != mask)
        return f"The {earlier[before + 1][0]} changed {earlier[before][1]} to {mask}, and the {last} kept it."
    said = [f"{'said ' if k == 0 else ''}{winner}" for k, (_, winner) in enumerate(earlier)]
    parts = ", the ".join(f"{step} {words}" for (step, _), words in zip(earlier, said, strict=True))
    return f"The {parts}, and the {last} decided {mask}."


def _again_since(steps: list[str]) -> str:
    """What is added where rows are not those that the mask was made from; empty where all are."""
    if not steps:
        return ""
    thresholds, were = ("its threshold", "was") if len(steps) == 1 else ("their thresholds", "were")
    return f" {_listed(steps)}, or {thresholds}, {were} {AGAIN}."


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
