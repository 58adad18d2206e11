"""What one model gains over another, and its masks over the other's, with intervals: from what `evaluate` kept of each image.

That is a file of pixels by true and predicted class, which DVC's cache has of earlier evaluations. No true mask is read.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isclose
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.dataset.tables import HEAD
from labelfactory.dvc_cache import cache_folder
from labelfactory.level.paired import Gain, mean_paired_gain, miou_of
from labelfactory.level.ratio import Areas
from labelfactory.rows.scored import LISTS, SCORED_IMAGES, areas_of, pixels_column
from lineage.evaluation import AT_BEST, Evaluation, evaluation_of, measured_in
from lineage.lookup import Lookup, Model
from lineage.scores import IOU, SCORE, Score, belonging, scores_of

CLOSE = 1e-6
"""Of two fractions that are the same figure."""


@dataclass(frozen=True)
class ScoredImages:
    """The file of one evaluation.

    Attributes:
        path: where it lies, under data/ or in DVC's cache.
        evaluation: what it measured; without figures.
    """

    path: Path
    evaluation: Evaluation

    def column(self, name: str, split: str) -> tuple[list[str], pa.ChunkedArray]:
        """Ids and pixels of a score, of the images on a list that have it, by id. None of them where the file is damaged."""
        wanted = ["image_id", LISTS, pixels_column(name)]
        try:
            table = pq.read_table(self.path, columns=wanted, partitioning=None, page_checksum_verification=True)
        except (OSError, pa.ArrowException):
            return [], pa.chunked_array([], pa.null())
        listed = np.array([split in lists for lists in table.column(LISTS).to_pylist()], dtype=bool)
        rows = table.filter(pa.array(listed)).drop_null().sort_by("image_id")
        return rows.column("image_id").to_pylist(), rows.column(pixels_column(name))


def gains_between(lookup: Lookup, first: Model, second: Model) -> dict[str, Gain]:
    """The gain of the second model over the first, by the flat key of the score; none where an evaluation's images are gone.

    Only scores that were measured on the same images and true masks with the same settings have one, and only where the images add
    up to the recorded scores.
    """
    if first.passport.classes != second.passport.classes:
        return {}
    every = [*scored_images()]
    old, new = ({**scores_of(lookup, model), **scores_of(lookup, model, kind=IOU)} for model in (first, second))
    gains: dict[str, Gain] = {}
    for key in (key for key in new if key.startswith(SCORE) and key in old and not key.endswith(AT_BEST)):
        if old[key].comparable(new[key]):
            name = key.split("/", 2)[2]
            files = [
                _file_of(lookup, model, every, name, scores[key]) for model, scores in ((first, old), (second, new))
            ]
            found = gains_in(key, files, (old[key].value, new[key].value), second.passport.classes)
            gains |= {k: gain for k, gain in found.items() if k in old and k in new}
    return gains


def gains_in(
    key: str, files: Sequence[ScoredImages | None], values: Sequence[float], classes: Sequence[str]
) -> dict[str, Gain]:
    """The gain in one mIoU, and in the IoU of each class, by their flat keys.

    Args:
        key: of the mIoU, such as `miou/val/model`.
        files: of the two evaluations, which measured it on the same list in the same way.
        values: what each of them gave.
        classes: names of class ids 1, 2, …

    Returns:
        Nothing where a file is gone, has other images than the other one, or does not add up to its value.
    """
    return joint_gains(key, [files], [values], classes)


def joint_gains(
    key: str,
    files: Sequence[Sequence[ScoredImages | None]],
    values: Sequence[Sequence[float]],
    classes: Sequence[str],
) -> dict[str, Gain]:
    """The same in the mean of several pairs of evaluations of the same images, as of trainings with several seeds."""
    pairs, measured = [], set[tuple[str, ...]]()
    for own_files, own_values in zip(files, values, strict=True):
        (ids, before), (others, after) = (
            _areas(file, key, value, len(classes) + 1) for file, value in zip(own_files, own_values, strict=True)
        )
        measured |= {tuple(ids), tuple(others)}
        pairs.append((before, after))
    if len(measured) != 1 or () in measured:
        return {}
    mean, each = mean_paired_gain(pairs)
    names = (f"{IOU}{key.removeprefix(SCORE)}/{name}" for name in ("background", *classes))
    return {key: mean, **dict(zip(names, each, strict=True))}


def _areas(file: ScoredImages | None, key: str, value: float, n_classes: int) -> tuple[list[str], Areas]:
    """The images behind a score, by id, and their areas; none where they are gone, or do not add up to it."""
    _, split, name = key.split("/", 2)
    nothing: tuple[list[str], Areas] = [], Areas(*np.zeros((2, 0, n_classes)))
    ids, pixels = file.column(name, split) if file else nothing
    try:
        areas = areas_of(pixels, n_classes) if ids else nothing[1]
    except IndexError:  # of other classes than it says
        return nothing
    return (ids, areas) if isclose(miou_of(areas), value, abs_tol=CLOSE) else nothing


def scored_images() -> Iterator[ScoredImages]:
    """The file of the last evaluation, then those in DVC's cache, the newest first."""
    times: dict[Path, int] = {}
    for path in cache_folder().glob("*/*"):
        with suppress(OSError):  # `gc` may delete it meanwhile
            times |= {path: path.stat().st_mtime_ns} if path.suffix != ".dir" else {}
    for path in [SCORED_IMAGES, *sorted(times, key=lambda path: -times[path])]:
        if (found := scored_images_in(path)) is not None:
            yield found


def scored_images_in(path: Path) -> ScoredImages | None:
    """Such a file; None for any other, or for one of an earlier version, which has no pixels."""
    try:
        with path.open("rb") as stream:
            if stream.read(4) != b"PAR1":
                return None
        schema = pq.read_schema(path)
        states = measured_in(json.loads(schema.metadata[HEAD])) if {LISTS, "truth"} <= set(schema.names) else []
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, RecursionError):
        return None
    return ScoredImages(path, evaluation_of({}, states)) if states else None


def _file_of(lookup: Lookup, model: Model, every: list[ScoredImages], name: str, score: Score) -> ScoredImages | None:
    """The file of an evaluation that gave a model this score; None where there is none any more."""
    for each in every:
        evaluation = each.evaluation
        if (
            evaluation.classes not in ((), tuple(model.passport.classes))
            or evaluation.inference != score.measured_with[1]
        ):
            continue
        digests = belonging(lookup, model, evaluation, behind=True)
        if digests and name in evaluation.names(digests) and score.measured_with[0] in evaluation.measured.values():
            return each
    return None
