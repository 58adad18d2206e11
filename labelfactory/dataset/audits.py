"""The sample that a person audits, and which of its images have answers; what the answers are: audited_truth.py.

data/audits/sample.parquet, one row per image of the population that the sample is drawn from, in its order:
    image_id     string, unique, as in the import
    photograph   string, SHA-256 of its file at that time
    stratum      string: the group of its rarest tag, and its part of it
    number       double in [0, 1), the permanent random number; see labelfactory/level/strata.py
    probability  double in (0, 1], the chance that the image is in the sample
    draw         int32: 0 not in the sample, else the draw that took it, from 1
  Its head: format, list, seed, points (to answer for each image), classes, design, draws (images that each draw added),
  population (digest of image ids and photographs).
data/audits/audits.parquet, one row per image with a true mask that a person drew, by image_id; columns as in
  data/corrections/corrections.parquet
data/audits/<name>.<mask's first digits>.png: these masks
data/audits/points.parquet, one row per image of which a person answered the points, by image_id:
    image_id     string, unique
    photograph   string, SHA-256 of its file at that time
    x, y         list<int32>, pixels from the upper left corner, upright
    answers      list<string>: a class, `background` or `void`

An input, like data/corrections. What the answers say is truth: no stage reads it.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelfactory.dataset.corrections import SCHEMA as MASK_SCHEMA
from labelfactory.dataset.corrections import Correction, corrections_in
from labelfactory.dataset.prepared import ImageRecord
from labelfactory.dataset.tables import check_columns, check_format, check_head, read_columns, write_table
from labelfactory.digests import digest_rows
from labelfactory.errors import DataError, MissingError
from labelfactory.names import file_name

AUDITS = Path("data/audits")
SAMPLE, MASKS, POINTS = AUDITS / "sample.parquet", AUDITS / "audits.parquet", AUDITS / "points.parquet"
RESTORE = "Restore it from a backup: what people answered cannot be computed again."
DRAW = "Type `labelfactory review sample --count 50`."
FORMAT = 1

SAMPLE_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("photograph", pa.string(), nullable=False),
        pa.field("stratum", pa.string(), nullable=False),
        pa.field("number", pa.float64(), nullable=False),
        pa.field("probability", pa.float64(), nullable=False),
        pa.field("draw", pa.int32(), nullable=False),
    ]
)
POINTS_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("photograph", pa.string(), nullable=False),
        pa.field("x", pa.list_(pa.int32()), nullable=False),
        pa.field("y", pa.list_(pa.int32()), nullable=False),
        pa.field("answers", pa.list_(pa.string()), nullable=False),
    ]
)


@dataclass(frozen=True)
class SampledImage:
    """One image of the population; fields as in the module's table."""

    image_id: str
    photograph: str
    stratum: str
    number: float
    probability: float
    draw: int

    @property
    def is_drawn(self) -> bool:
        """Whether it is in the sample."""
        return self.draw > 0


@dataclass(frozen=True)
class Sample:
    """A sample and its population; fields as in the head of the module's table."""

    list: str
    seed: int
    points: int
    classes: tuple[str, ...]
    design: str
    draws: tuple[int, ...]
    images: tuple[SampledImage, ...]

    @property
    def drawn(self) -> tuple[SampledImage, ...]:
        """The images to audit, those of earlier draws first, and all strata in step: the first half has half of each."""
        chosen = (image for image in self.images if image.is_drawn)
        return tuple(sorted(chosen, key=lambda image: (image.draw, image.number / image.probability, image.image_id)))

    @property
    def population(self) -> str:
        """Digest of the image ids and photographs that the sample was drawn from."""
        return digest_rows((image.image_id, image.photograph) for image in self.images)


@dataclass(frozen=True)
class AnsweredPoints:
    """The points of one image; fields as in the module's table."""

    image_id: str
    photograph: str
    x: tuple[int, ...]
    y: tuple[int, ...]
    answers: tuple[str, ...]

    def fits(self, record: ImageRecord) -> bool:
        """Whether it belongs to the photograph's current bytes."""
        return self.photograph == record.sha256


def read_sample() -> Sample:
    """The sample.

    Raises:
        MissingError: none was drawn.
        DataError: the table is damaged.
    """
    if not SAMPLE.exists():
        raise MissingError("no sample of images was drawn", DRAW)
    table, head = read_columns(SAMPLE, None, remedy=RESTORE)
    check_format(SAMPLE, head, FORMAT)
    kinds: dict[str, Any] = {"list": str, "seed": int, "points": int, "classes": list, "design": str, "draws": list}
    check_head(SAMPLE, head, remedy=RESTORE, **kinds)
    rows = check_columns(SAMPLE, table, SAMPLE_SCHEMA, remedy=RESTORE).to_pylist()
    values: dict[str, Any] = {name: tuple(head[name]) if kind is list else head[name] for name, kind in kinds.items()}
    return Sample(**values, images=tuple(SampledImage(**row) for row in rows))


def write_sample(sample: Sample) -> None:
    """Write the sample atomically. The same sample gives the same bytes."""
    head = {
        "format": FORMAT,
        "list": sample.list,
        "seed": sample.seed,
        "points": sample.points,
        "classes": list(sample.classes),
        "design": sample.design,
        "draws": list(sample.draws),
        "population": sample.population,
    }
    write_table(SAMPLE, sample.images, SAMPLE_SCHEMA, head)


def read_audits() -> dict[str, Correction]:
    """The images with a true mask that a person drew, by image id; empty if there is no table.

    Raises:
        DataError: the table is damaged.
    """
    try:
        return {each.image_id: each for each in corrections_in(MASKS)} if MASKS.exists() else {}
    except DataError as error:
        raise DataError(error.problem, RESTORE) from None


def write_audits(audits: Iterable[Correction]) -> None:
    """Write the table of true masks atomically."""
    ordered = sorted(audits, key=lambda audit: audit.image_id)
    write_table(MASKS, ordered, MASK_SCHEMA, {"format": FORMAT})


def read_points() -> dict[str, AnsweredPoints]:
    """The images with answered points, by image id; empty if there is no table.

    Raises:
        DataError: the table is damaged.
    """
    if not POINTS.exists():
        return {}
    table, head = read_columns(POINTS, None, remedy=RESTORE)
    check_format(POINTS, head, FORMAT)
    rows = check_columns(POINTS, table, POINTS_SCHEMA, remedy=RESTORE).to_pylist()
    lists = ("x", "y", "answers")
    found = [AnsweredPoints(**{**row, **{name: tuple(row[name]) for name in lists}}) for row in rows]
    for points in found:
        if not len(points.x) == len(points.y) == len(points.answers) > 0:
            raise DataError(f"{POINTS}: {points.image_id}: its points and answers differ in number", RESTORE)
    return {points.image_id: points for points in found}


def write_points(points: Iterable[AnsweredPoints]) -> None:
    """Write the answered points atomically."""
    ordered = sorted(points, key=lambda each: each.image_id)
    write_table(POINTS, ordered, POINTS_SCHEMA, {"format": FORMAT})


def audit_files(image_ids: Collection[str]) -> list[Path]:
    """Files of true masks of these images, those that no table names included."""
    names = {file_name(image_id) for image_id in image_ids}
    parts = [(path, path.stem.rpartition(".")) for path in sorted(AUDITS.glob("*.png"))]
    return [path for path, (name, _, digits) in parts if name in names and re.fullmatch("[0-9a-f]{16}", digits)]
