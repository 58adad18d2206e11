"""The table of methods, docs/methods.csv: one row for each published system and measurement, checked when it is read."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from labelfactory.errors import DataError
from labelfactory.settings.registry import Family
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.runner import stage_class

TABLE = Path(__file__).resolve().parents[1] / "docs" / "methods.csv"
NOT_MEASURED = "not measured yet"
"""Begins the remark of a plug-in without figures; `add` takes such a row out when it brings some, and keeps what follows."""

FAMILIES = {
    "objectives": "Objectives: how the classifier learns",
    "cross-image": "Cross-image objectives and memory",
    "cams": "CAM read-outs",
    "affinity": "Affinity and propagation",
    "refinement": "Refinement",
    "nets": "Nets, their losses and blocks",
    "priors": "Priors",
}
"""Sections of the page, in its order."""


def _none(value: Any) -> Any:
    return None if value == "" else value


Number = Annotated[float | None, BeforeValidator(_none)]
Count = Annotated[int | None, BeforeValidator(_none)]


class MethodRow(BaseModel):
    """A system, and perhaps what it was measured to be worth.

    Attributes:
        system: as its paper calls it.
        family: section of the page.
        plug_in: files under models/ without `.py`, such as `objectives/seam`; several with `; ` between them, the main one first.
        paper: arXiv id (`arXiv:2004.04581`) or venue and year.
        data, list, images, seeds, until, commit: of the measurement; seeds with blanks between them.
        score, gain, low, high, gain_at_best: in points.
        seconds_ratio: multiple of the line's time.
        supervision: kinds of labels that touched its networks.
        deviations: from the paper.
        remark: why there is no plug-in or no figure, or what was checked where the figures miss the published gain.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str = Field(min_length=1)
    family: str
    plug_in: str = ""
    paper: str = ""
    data: str = ""
    list: str = ""
    images: Count = Field(default=None, ge=1)
    seeds: str = Field(default="", pattern=r"^(\d+( \d+)*)?$")
    until: str = ""
    score: Number = Field(default=None, ge=0, le=100)
    gain: Number = None
    low: Number = None
    high: Number = None
    gain_at_best: Number = None
    seconds_ratio: Number = Field(default=None, gt=0)
    supervision: str = ""
    commit: str = Field(default="", pattern=r"^([0-9a-f]{7,40})?$")
    deviations: str = ""
    remark: str = ""

    @property
    def plug_ins(self) -> tuple[str, ...]:
        """Each of its plug-ins."""
        return tuple(self.plug_in.split("; ")) if self.plug_in else ()

    @property
    def is_measured(self) -> bool:
        """Whether it has a figure."""
        return any(each is not None for each in (self.score, self.gain, self.gain_at_best, self.seconds_ratio))

    @property
    def waits(self) -> bool:
        """Whether it has a plug-in that waits for its first figures."""
        return bool(self.plug_in) and not self.is_measured and self.remark.startswith(NOT_MEASURED)

    @property
    def order(self) -> tuple[str, ...]:
        """Its place in the table, and what tells it from all other rows."""
        return (
            self.family,
            self.system.casefold(),
            self.system,
            self.plug_in,
            self.data,
            self.list,
            self.until,
            self.seeds,
            self.commit,
        )

    @model_validator(mode="after")
    def _is_complete(self) -> "MethodRow":
        if self.family not in FAMILIES:
            raise ValueError(f"family {self.family!r} is none of {', '.join(FAMILIES)}")
        if self.is_measured and not (
            self.commit and self.data and self.list and self.images and self.seeds and self.until
        ):
            raise ValueError("a figure needs data, list, images, seeds, until and commit")
        if not self.is_measured and not self.remark:
            raise ValueError("without a figure it needs a remark that says why")
        if self.low is not None and self.high is not None and not self.low <= (self.gain or 0.0) <= self.high:
            raise ValueError("the gain lies outside of its interval")
        return self


COLUMNS = tuple(MethodRow.model_fields)


def plug_ins() -> set[str]:
    """Every method of every plug-in family, such as `objectives/seam`."""
    fields = [field for name in read_wiring() for field in stage_class(name).section.model_fields.values()]
    families = {mark for field in fields for mark in field.metadata if isinstance(mark, Family)}
    return {f"{folder_of(family)}/{name}" for family in families for name in family.names()}


def read_table(path: Path = TABLE) -> list[MethodRow]:
    """The rows as they stand.

    Raises:
        DataError: the columns are others, or a row is not what `MethodRow` says.
    """
    lines = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), strict=True)
    if tuple(lines.fieldnames or ()) != COLUMNS:
        raise DataError(f"{path}: the columns are not {', '.join(COLUMNS)}", "Mend its first line.")
    rows = []
    for values in lines:
        try:
            rows.append(MethodRow.model_validate(values))
        except ValidationError as error:
            problem = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'row'}: {e['msg']}" for e in error.errors())
            raise DataError(f"{path}, line {lines.line_num}: {problem}", "Mend the line.") from None
    return rows


def table_text(rows: Iterable[MethodRow]) -> str:
    """The rows as CSV, sorted."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in sorted(rows, key=lambda row: row.order):
        writer.writerow(["" if value is None else value for value in row.model_dump().values()])
    return stream.getvalue()


def folder_of(family: Family) -> str:
    """Its name under models/."""
    return family.package.removeprefix("models.")
