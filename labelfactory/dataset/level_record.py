"""The last estimate of the level from audited images, and the digests that it was measured on.

data/audits/estimate.json: `digest`, of what follows, and `record`:
    format, list, seed, drawn, population    of the sample
    audited, by_points                       images with an answer; those of them whose points were answered
    lost                                     reason → audited images that do not count
    not_covered                              images of the list that the sample was not drawn from
    estimates                                masks, model → output, rows (the output looked at), images, population, weight (λ),
                                             miou, iou (by class): each value, low, high (null: unknown) and images;
                                             half_without, the half width of the mIoU without expected areas; more, how many
                                             more images would give ± 2 points (null: not even all)
    refit                                    images, error, error_without and lines, by which expected IoUs of single masks are
                                             brought to the level of the audited ones (labelfactory/level/refit.py); null: too few
    answers                                  digest of the tables of sample and answers
    measured                                 states of the outputs and of the list, as in data/evaluation/metrics.json
Fractions. A figure is shown beside something only if it was measured on that thing's digest; otherwise it is unknown.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from labelfactory.digests import digest_file, digest_json
from labelfactory.errors import DataError
from labelfactory.files import write_json
from labelfactory.json_files import read_json
from labelfactory.level.refit import Line

LEVEL = Path("data/audits/estimate.json")
UNKNOWN = "± unknown"
ESTIMATE = "`labelfactory review estimate`"
FORMAT = 1
TWO_POINTS = 0.02

Fraction = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Figure(_Part):
    """An estimate; `low` and `high` are None where there is no interval."""

    value: Fraction
    low: Fraction | None
    high: Fraction | None
    images: int

    @property
    def half(self) -> float | None:
        """Half of the interval's width."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


class LevelOf(_Part):
    """The level of the masks, or of the model's predictions; see the module. `rows`: the output whose rows were looked at."""

    output: str
    rows: str = ""
    images: int
    population: int
    expected: int
    weight: float
    miou: Figure
    iou: Mapping[str, Figure]
    half_without: float | None
    more: int | None

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that the mIoU is the mean of."""
        return tuple(self.iou)


class RefitLine(_Part):
    """What the expected IoUs of one fold's images are moved by."""

    level: float
    slope: float
    middle: float
    classes: Mapping[str, float]

    def line(self, names: Sequence[str]) -> Line:
        """The line of classes in this order; one that no audit knew has no offset of its own."""
        return Line(self.level, self.slope, self.middle, tuple(self.classes.get(name, 0.0) for name in names))


class Refit(_Part):
    """How expected IoUs of single masks are brought to the level of audited ones.

    Attributes:
        images: audited images that it is of.
        error: mean error of their qualities, each computed without its own truth.
        error_without: that of the qualities as they are without audits.
        lines: one for each fold of images.
    """

    images: int
    error: Fraction
    error_without: Fraction
    lines: tuple[RefitLine, ...]


class LevelRecord(_Part):
    """An estimate; fields as in the module."""

    format: int = FORMAT
    list: str
    seed: int
    drawn: int
    population: int
    audited: int
    by_points: int
    lost: Mapping[str, int]
    not_covered: int
    estimates: Mapping[str, LevelOf]
    refit: Refit | None = None
    answers: str = ""
    measured: tuple[Mapping[str, Any], ...]

    def digest_of(self, name: str, *, is_list: bool = False) -> str:
        """The digest that an output, or the list, had; empty where it is not known."""
        named = (s for s in self.measured if s.get("name") == name and (s.get("kind") == "list") == is_list)
        return next((str(state.get("digest", "")) for state in named), "")

    def of(self, digests: Mapping[str, str]) -> dict[str, LevelOf]:
        """The estimates whose outputs and list have these digests; by `masks` and `model`.

        Args:
            digests: name of an output, or `list <name>` → digest now.
        """
        if self.digest_of(self.list, is_list=True) != digests.get(f"list {self.list}", "-"):
            return {}
        wanted = {what: {level.output, level.rows or level.output} for what, level in self.estimates.items()}
        same = {k for k, names in wanted.items() if all(self.digest_of(n) == digests.get(n, "-") for n in names)}
        return {what: level for what, level in self.estimates.items() if what in same}


class Named(NamedTuple):
    """A figure with the flat key that it has in MLflow, provenance and passports."""

    key: str
    value: float


def figures_of(record: LevelRecord, levels: Mapping[str, LevelOf]) -> list[Named]:
    """The figures of some estimates: `level/<list>/<what>/miou`, `_low`, `_high`, and `…/iou/<class>` likewise."""
    found = []
    for what, level in levels.items():
        for name, figure in [("miou", level.miou), *((f"iou/{c}", f) for c, f in level.iou.items())]:
            key = f"level/{record.list}/{what}/{name}"
            found.append(Named(key, figure.value))
            if figure.low is not None and figure.high is not None:
                found += [Named(f"{key}_low", figure.low), Named(f"{key}_high", figure.high)]
        found.append(Named(f"level/{record.list}/{what}/images", level.images))
    return found


class _Kept(_Part):
    """The file."""

    record: LevelRecord
    digest: str


def read_level(path: Path = LEVEL) -> LevelRecord | None:
    """The last estimate; None where there is none, or where it is not as it was written: it can be computed again."""
    if not path.is_file():
        return None
    try:
        kept: _Kept = read_json(path, _Kept, "")
    except DataError:
        return None
    return kept.record if kept.record.format == FORMAT and kept.digest == _digest(kept.record) else None


def answers_digest(folder: Path = LEVEL.parent) -> str:
    """Digest of the sample and of all answers, as they are on disk: the tables beside the estimate."""
    return digest_json({path.name: digest_file(path) for path in sorted(folder.glob("*.parquet")) if path.is_file()})


def write_level(record: LevelRecord, path: Path = LEVEL) -> None:
    """Write an estimate atomically."""
    write_json(path, {"record": record.model_dump(mode="json"), "digest": _digest(record)})


def _digest(record: LevelRecord) -> str:
    return digest_json(record.model_dump(mode="json"))


def in_points(figure: Figure | None) -> str:
    """A figure for a person, in per cent with half of its interval.

    >>> in_points(Figure(value=0.712, low=0.676, high=0.744, images=50))
    '71.2 ± 3.4 %'
    >>> in_points(Figure(value=0.712, low=None, high=None, images=4))
    '71.2 % ± unknown'
    """
    if figure is None:
        return UNKNOWN
    return (
        f"{100 * figure.value:.1f} % {UNKNOWN}"
        if figure.half is None
        else f"{100 * figure.value:.1f} ± {100 * figure.half:.1f} %"
    )


def sentence(record: LevelRecord | None, levels: Mapping[str, LevelOf]) -> str:
    """The level in one sentence.

    Args:
        record: the last estimate, if there is one.
        levels: what of it belongs to what is shown.
    """
    if record is None:
        return f"The level of the masks is {UNKNOWN}: no image was audited. `labelfactory review sample` draws some."
    if not levels:
        return f"The level of the masks is {UNKNOWN}: masks or answers changed since. Type {ESTIMATE}."
    shown = ", ".join(f"{what} {in_points(level.miou)}" for what, level in levels.items())
    audited = max(level.images for level in levels.values())
    return (
        f"Estimated mIoU on {record.list} from {audited} audited images (95 % interval, seed {record.seed}): {shown}."
    )
