"""Put a report onto one page: HTML that opens offline, with its styles, plots and pictures inside."""

import math
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from labelfactory.files import write_whole
from labelfactory.schema import VOID, palette
from reporting.content import Curve, GalleryItem, QualityExample, Report, Tile
from reporting.formats import duration, memory, percent, points, with_code
from reporting.imports import facts as import_facts
from reporting.imports import shown_classes
from reporting.level import level_table
from reporting.pictures import draw_tile, shares
from reporting.plots import draw_curve, draw_histogram, series_colour
from reporting.scores import class_scores, ladder, split_names, stage_score, step_names

TEMPLATE = "report.html.jinja"
FILLS = 6
"""Colours of steps in report.css; a longer line uses them again."""


@dataclass(frozen=True)
class Plot:
    """A curve, drawn; `legend` holds (name, CSS variable) of its lines."""

    curve: Curve
    svg: Markup
    legend: list[tuple[str, str]]


@dataclass(frozen=True)
class Picture:
    """A tile, drawn."""

    caption: str
    uri: str
    alt: str
    is_heat: bool


@dataclass(frozen=True)
class Exhibit:
    """A gallery item, drawn; `legend` holds the class ids that its masks show."""

    item: GalleryItem
    pictures: list[Picture]
    legend: list[int]

    @property
    def columns(self) -> int:
        """Of the grid in a wide window: two rows of about the same length, five pictures at most."""
        count = len(self.pictures)
        return count if count <= 4 else min(5, (count + 1) // 2)


def write_report(path: Path, report: Report) -> None:
    """Write the page, whole or not at all; the same report gives the same bytes.

    Args:
        path: the HTML file; its folder is made.
        report: what to show. Any of its lists may be empty.

    Raises:
        ShapeError: a picture or a curve is not what `reporting.content` says.
    """
    write_page(path, render_report(report))


def write_page(path: Path, page: str) -> None:
    """Write a page, whole or not at all; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")  # a file name may hold any bytes


def render_report(report: Report) -> str:
    """The page as text."""
    environment = page_environment()
    plots = [_plot(curve) for curve in report.curves]
    splits, steps = split_names(report.metrics), step_names(report.steps)
    return environment.get_template(TEMPLATE).render(
        report=report,
        splits=splits,
        ladders={split: ladder(report.metrics, split, report.steps) for split in splits},
        class_scores={split: class_scores(report.metrics, split, report.classes, report.steps) for split in splits},
        facts=_facts(report),
        level=level_table(report.classes),
        import_facts=import_facts(report.imported) if report.imported else {},
        import_classes=shown_classes(report.imported) if report.imported else (),
        stage_score=lambda stage, split: stage_score(report.metrics, stage.measure, stage.score, split),
        stage_splits=_stage_splits(report, splits),
        threshold_plots=[p for p in plots if _is_over_threshold(p.curve)],
        training_plots=[p for p in plots if not _is_over_threshold(p.curve)],
        histogram=draw_histogram(report.quality.values) if report.quality else "",
        examples=[_example(each) for each in report.quality.examples] if report.quality else [],
        gallery=[_exhibit(item, report.classes) for item in report.gallery],
        class_name=lambda class_id: class_name(class_id, report.classes),
        colour=class_colour,
        steps=steps,
        fill=lambda what: f"fill-{steps.index(what) % FILLS + 1}" if what in steps else "fill-other",
        void=VOID,
        finite=math.isfinite,
    )


def page_environment() -> jinja2.Environment:
    """What fills the templates of this folder: everything that comes from data is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "points": points,
        "duration": duration,
        "memory": memory,
        "with_code": with_code,
    }
    return environment


def class_name(class_id: int, classes: list[str]) -> str:
    """The name that stands in a legend."""
    if class_id == VOID:
        return "void"
    return classes[class_id] if class_id < len(classes) else f"class {class_id}"


def class_colour(class_id: int) -> str:
    """VOC's colour of a class id, as CSS."""
    red, green, blue = palette()[class_id]
    return f"rgb({red}, {green}, {blue})"


def _facts(report: Report) -> list[tuple[str, str, str]]:
    """(figure, unit, what it says) of the whole line."""
    facts = []
    for key, value in report.metrics.items():
        name, _, split = key.partition("/")
        on = f" on {split}" if split else ""
        if name == "fraction_of_supervised" and math.isfinite(value):
            facts.append((percent(value), "%", f"of the same net trained on true masks{on}"))
        if name == "map" and math.isfinite(value):
            facts.append((percent(value), "%", f"mAP of the classifier's tags{on}"))
    seconds = [s.seconds for s in report.stages if s.seconds is not None]
    if seconds:
        facts.append((duration(sum(seconds)), "", "for all stages before this report"))
    peaks = [s.peak_memory_mb for s in report.stages if s.peak_memory_mb is not None]
    if peaks:
        facts.append((memory(max(peaks)), "", "of memory at the highest"))
    return facts


def _stage_splits(report: Report, splits: list[str]) -> list[str]:
    """The splits that get a column in the table: those on which a stage was scored."""
    tagged = [key.removeprefix("map/") for key in report.metrics if key.startswith("map/")]
    names = dict.fromkeys([*splits, *tagged])
    return [n for n in names if any(stage_score(report.metrics, s.measure, s.score, n) for s in report.stages)]


def _is_over_threshold(curve: Curve) -> bool:
    return bool(curve.marks) or "threshold" in f"{curve.title} {curve.x_label}".lower()


def _plot(curve: Curve) -> Plot:
    legend = [(name, series_colour(i)) for i, name in enumerate(curve.series)]
    return Plot(curve, draw_curve(curve), legend)


def _exhibit(item: GalleryItem, classes: list[str]) -> Exhibit:
    """Draw a gallery item; the photograph comes first unless a tile holds it."""
    pictures = [] if any(t.kind == "photograph" for t in item.tiles) else [_original(item)]
    class_ids: dict[int, None] = {}
    for tile in item.tiles:
        alt = f"{item.image_id}: {tile.caption}"
        if tile.kind == "mask":
            parts = shares(tile.pixels)
            class_ids |= dict.fromkeys(parts)
            areas = [f"{class_name(i, classes)} {percent(share)} %" for i, share in parts.items()]
            alt += f" ({', '.join(areas) or 'background only'})"
        pictures.append(Picture(tile.caption, draw_tile(item.photograph, tile), alt, tile.kind == "heat"))
    return Exhibit(item, pictures, sorted(class_ids))


def _example(example: QualityExample) -> tuple[QualityExample, Picture]:
    """A mask over its photograph, drawn."""
    tile = Tile(example.caption, "mask", example.mask)
    alt = f"{example.image_id}: mask of quality {percent(example.quality)} %"
    return example, Picture(example.caption, draw_tile(example.photograph, tile), alt, is_heat=False)


def _original(item: GalleryItem) -> Picture:
    tile = Tile("photograph", "photograph", item.photograph)
    return Picture(tile.caption, draw_tile(item.photograph, tile), f"{item.image_id}: photograph", is_heat=False)
