"""Read answers at the random points of sampled images: a CSV file with the columns image_id, x, y and answer.

An answer is the name of a class, `background`, or `void` where a person cannot say; empty where it is still to be given. An image
counts when all its points have an answer. Columns may be separated by semicolons, as some spreadsheets do.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labelfactory.dataset.audits import AnsweredPoints, Sample
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.dataset.withdrawn import withdrawn
from labelfactory.errors import DataError, did_you_mean
from labelfactory.foreign_files import FileRefusedError
from labelfactory.review.points import drawn_points
from sources._findings import SHOWN, first_lines, text_rows

COLUMNS = ("image_id", "x", "y", "answer")
OTHERS = ("background", "void")
"""Answers that are no class of the data set."""
REMEDY = "`labelfactory review sample --out DIR` writes the points with empty answers."


@dataclass
class PointAnswers:
    """What a file says.

    Attributes:
        images: image id → its points, all with an answer.
        unfinished: image id → how many of its points have no answer yet.
    """

    images: dict[str, AnsweredPoints] = field(default_factory=dict)
    unfinished: dict[str, int] = field(default_factory=dict)


def read_point_answers(path: Path, sample: Sample, dataset: Dataset) -> PointAnswers:
    """Read and check a file of answers.

    Args:
        path: of the CSV file.
        sample: whose points they are.
        dataset: of the images now.

    Raises:
        DataError: lists every unusable row with its number; then none is taken.
    """
    if not sample.points:
        raise DataError("the sample has no points to answer", "Type `labelfactory review sample --more 0 --points 30`.")
    rows = _rows(path)
    records = {record.image_id: record for record in dataset.usable}
    drawn = {image.image_id: image.photograph for image in sample.images if image.is_drawn}
    gone = withdrawn()
    problems: list[str] = []
    answers: dict[str, dict[tuple[int, int], list[str]]] = {}
    for number, row in rows:
        image_id = row["image_id"]
        record = records.get(image_id)
        problem = _refused(image_id, record, drawn)
        if record is not None and gone.refuses(image_id, record.sha256):
            problem = f"{image_id} was withdrawn"
        answer = row["answer"].strip()
        at = _at(row)
        if not problem and at is None:
            problem = f"{row['x']!r}, {row['y']!r} is not a pixel"
        known = (*dataset.classes.names, *OTHERS)
        if not problem and answer and answer not in known:
            problem = f"{answer!r} is not a class{did_you_mean(answer, known)}"
        if problem:
            problems.append(f"row {number}: {problem}")
        elif at is not None:
            answers.setdefault(image_id, {}).setdefault(at, []).append(answer)
    found = PointAnswers()
    for image_id, given in answers.items():
        record = records[image_id]
        problems += _taken(found, record, given, sample)
    if problems:
        lines = "\n".join(f"  {line}" for line in first_lines(problems, SHOWN))
        raise DataError(f"{path}: {len(problems)} problems; no answer was taken\n{lines}", REMEDY)
    return found


def _rows(path: Path) -> list[tuple[int, Mapping[str, str]]]:
    """Rows with their numbers as an editor shows them."""
    try:
        lines = text_rows(path)
    except FileRefusedError as error:
        raise DataError(error.problem, REMEDY) from None
    head = lines[0].lstrip("\ufeff") if lines else ""
    reader = csv.DictReader([head, *lines[1:]], delimiter=";" if ";" in head else ",", restval="")
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(f"{path}: has no column {', '.join(missing)}", REMEDY)
    try:
        return [(reader.line_num, row) for row in reader if row["image_id"]]
    except csv.Error as error:
        raise DataError(f"{path}: row {reader.line_num + 1}: {error}", REMEDY) from None


def _refused(image_id: str, record: ImageRecord | None, drawn: Mapping[str, str]) -> str:
    """Why the answers of an image are not taken; "" if they are."""
    if image_id not in drawn:
        near = did_you_mean(image_id, drawn) if len(drawn) < 10_000 else ""
        return f"{image_id!r} is not in the sample{near if 'did you mean' in near else ''}"
    if record is None:
        return f"{image_id} is no longer in the data set"
    return (
        "" if record.sha256 == drawn[image_id] else f"{image_id}: its photograph has changed since the sample was drawn"
    )


def _at(row: Mapping[str, str]) -> tuple[int, int] | None:
    try:
        return int(row["x"]), int(row["y"])
    except ValueError:
        return None


def _taken(
    found: PointAnswers, record: ImageRecord, given: Mapping[tuple[int, int], Sequence[str]], sample: Sample
) -> list[str]:
    """Take the answers of an image if they are those of its points; gives what is wrong with them."""
    x, y = drawn_points(sample.seed, record.sha256, sample.points, (record.height, record.width))
    points = list(zip(x.tolist(), y.tolist(), strict=True))
    strange = [at for at in given if at not in set(points)]
    if strange:
        named = ", ".join(f"({a}, {b})" for a, b in strange[:3])
        return [
            f"{record.image_id}: {named} is not one of its drawn points: points that a person chooses say nothing of the rest"
        ]
    twice = [at for at in given if len(given[at]) > points.count(at)]
    if twice:
        return [f"{record.image_id}: the point {twice[0]} is answered twice"]
    left = {at: list(answers) for at, answers in given.items()}
    answers = [left[at].pop(0) if left.get(at) else "" for at in points]
    empty = sum(not answer for answer in answers)
    if empty:
        found.unfinished[record.image_id] = empty
    else:
        found.images[record.image_id] = AnsweredPoints(
            record.image_id, record.sha256, tuple(x.tolist()), tuple(y.tolist()), tuple(answers)
        )
    return []
