"""Put the result of a tournament onto one page: which method to use, what it gains and what it costs. It opens offline."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from labelfactory.schema import VOID
from labelfactory.tournament import BASELINE, Contender, Results, ShownGain
from reporting import tournament_words as words
from reporting.content import ContestedPhotograph
from reporting.formats import breakable, finite, percent, points, times
from reporting.page import Picture, class_colour, class_name, page_environment, write_page
from reporting.pictures import data_uri, mask_over, shares, shrink
from reporting.tournament_file import POLICY, SCRIPT
from reporting.tournament_plot import NARROW, WIDE, draw_costs, spots
from reporting.tournament_table import TableRow, ranks_of, table_rows

TEMPLATE = "tournament.html.jinja"
PICTURE_SIDE = 240
"""Pixels of a picture in the gallery, at most: there are hundreds."""

LEAST_SCALE = 0.02
"""The strongest colour of the table of classes stands for at least this gain."""


@dataclass(frozen=True)
class GainCell:
    """A class's gain with one contender; `strength`: of its colour, 0 to 1; `certain`: whether the interval leaves out 0."""

    text: str
    says: str
    value: float | None
    strength: float
    certain: bool


@dataclass(frozen=True)
class Exhibit:
    """A photograph of the gallery, drawn; pictures by column, None where there is none, and the IoU of each, in per cent."""

    photograph: ContestedPhotograph
    pictures: list[tuple[str, Picture | None, str, bool]]


def write_tournament_report(
    path: Path,
    results: Results,
    gallery: Sequence[ContestedPhotograph] = (),
    *,
    advice: Sequence[str] = (),
) -> None:
    """Write the page, whole or not at all; the same results and gallery give the same bytes.

    Args:
        path: the HTML file; its folder is made.
        results: what to show.
        gallery: the same photographs for all contenders.
        advice: sentences under the verdict, code between backticks.

    Raises:
        ShapeError: a photograph is not what `reporting.content` says.
    """
    write_page(path, render_tournament(results, gallery, advice=advice))


def render_tournament(
    results: Results, gallery: Sequence[ContestedPhotograph] = (), *, advice: Sequence[str] = ()
) -> str:
    """The page as text."""
    environment = page_environment()
    environment.filters |= {"times": times, "finite": finite, "breakable": breakable}
    ranks, verdict = ranks_of(results), words.verdict(results)
    shown = spots(results, ranks)
    rows, scale = table_rows(results, ranks)
    truth, columns = results.with_truth, gallery_columns(results, gallery)
    drawn = {spot.name for spot in shown}
    return environment.get_template(TEMPLATE).render(
        results=results,
        verdict=verdict,
        remarks=[*verdict.remarks, *advice],
        warnings=words.warnings(results),
        trust=words.trust(results) if truth else "",
        rows=rows,
        scale=scale,
        has=columns_with_values(rows, results),
        subtitle=subtitle(results),
        plots=[("wide", draw_costs(shown, WIDE, zero=truth)), ("narrow", draw_costs(shown, NARROW, zero=truth))],
        undrawn=[c.name for c in results.contenders if c.name not in drawn],
        classes=class_names(results),
        class_rows=class_rows(results),
        strongest=strongest_gain(results),
        gallery=[_exhibit(each, columns, results.classes) for each in gallery],
        measured=any(finite(made.iou) is not None for each in gallery for made in each.masks.values()),
        facts=facts(results),
        repeat=words.repeated(results),
        photograph_ids=[each.image_id for each in gallery],
        class_name=lambda class_id: class_name(class_id, list(results.classes)),
        colour=class_colour,
        void=VOID,
        script=Markup(SCRIPT),  # our own file
        policy=POLICY,
        ends=words.interval,
    )


def subtitle(results: Results) -> str:
    """What ran on what, in one line."""
    others = len([c for c in results.contenders if c.name != BASELINE])
    methods = "1 contender" if others == 1 else f"{others} contenders"
    seeds = "1 seed" if len(results.seeds) == 1 else f"{len(results.seeds)} seeds"
    scored = (
        f"{results.images} photographs of the list {results.split}"
        if results.with_truth
        else f"the list {results.split}"
    )
    return f"{methods} and the baseline, up to the {results.until}; scored on {scored}, {seeds}."


def columns_with_values(rows: Sequence[TableRow], results: Results) -> dict[str, bool]:
    """Which columns of the table have anything to show."""
    contenders = [row.contender for row in rows]
    return {
        "score": results.with_truth,
        "gain": results.with_truth,
        "at_best": any(c.at_best is not None or c.gain_at_best for c in contenders),
        "guess": any(c.guess is not None for c in contenders),
        "seeds": len(results.seeds) > 1 and any(row.seeds for row in rows),
        "memory": any(row.memory_mb is not None for row in rows),
    }


def class_names(results: Results) -> list[str]:
    """The classes that have a gain, those of the data set in its order."""
    named = {name: None for c in results.contenders for name in c.class_gains}
    return [n for n in results.classes if n in named] + [n for n in named if n not in results.classes]


def strongest_gain(results: Results) -> float:
    """The gain or loss of a class that has the strongest colour; one that did not finish does not make the others pale."""
    finished = [c for c in results.contenders if c.state == "finished"] or results.contenders
    values = [finite(gain.value) for c in finished for gain in c.class_gains.values()]
    return max([LEAST_SCALE, *(abs(value) for value in values if value is not None)])


def class_rows(results: Results) -> list[tuple[Contender, list[GainCell]]]:
    """The gains by class of each contender that has any."""
    names, strongest = class_names(results), strongest_gain(results)
    shown = [c for c in results.contenders if c.class_gains]
    return [(c, [gain_cell(c.class_gains.get(name), strongest, f"{c.name}, {name}") for name in names]) for c in shown]


def gain_cell(gain: ShownGain | None, strongest: float, of: str) -> GainCell:
    """A gain as the table of classes shows it."""
    if gain is None or gain.value is None or finite(gain.value) is None:
        return GainCell("–", f"{of}: not known", None, 0.0, certain=False)
    ends = words.interval(gain)
    certain = not (finite(gain.low) or 0.0) <= 0 <= (finite(gain.high) or 0.0)
    text = points(gain.value)
    says = f"{of}: {text} points, 95 %: {ends}" if ends else f"{of}: {text} points, interval not known"
    return GainCell(text, says, gain.value, min(1.0, abs(gain.value) / strongest), certain)


def gallery_columns(results: Results, gallery: Sequence[ContestedPhotograph]) -> list[str]:
    """The contenders that have a mask in the gallery, in the order of rank, then those that are not in the results."""
    present = {name: None for each in gallery for name in each.masks}
    ranked = [c.name for c in results.contenders if c.name in present]
    return ranked + [name for name in present if name not in ranked]


def facts(results: Results) -> dict[str, str]:
    """Where the figures come from."""
    images = f"{results.images} with a score" + (f", {results.partly} without a true mask" if results.partly else "")
    found = {
        "list": results.split,
        "photographs": images if results.with_truth else "none has a true mask",
        "seeds": ", ".join(map(str, results.seeds)) or "none",
        "up to": results.until,
        "ranked by": "mIoU at the line's own thresholds" if results.with_truth else results.guess or "nothing",
        "commit": results.commit + (", with changes that are in no commit" if results.dirty else ""),
        "shared settings": results.settings[:12],
        "machine": results.machine,
        "time": results.time,
    }
    return {name: text for name, text in found.items() if text}


def _exhibit(each: ContestedPhotograph, columns: Sequence[str], classes: Sequence[str]) -> Exhibit:
    photograph = shrink(each.photograph, PICTURE_SIDE, PICTURE_SIDE)
    plain = Picture("photograph", data_uri(photograph), f"{each.image_id}: photograph", is_heat=False)
    pictures: list[tuple[str, Picture | None, str, bool]] = [("photograph", plain, "", False)]
    if each.truth is not None:
        pictures.append(("true mask", _drawn(each, photograph, each.truth, "true mask", classes), "", False))
    best = max((iou for made in each.masks.values() if (iou := finite(made.iou)) is not None), default=None)
    for name in columns:
        made = each.masks.get(name)
        picture = _drawn(each, photograph, made.mask, name, classes) if made else None
        iou = finite(made.iou) if made else None
        pictures.append((name, picture, percent(iou) if iou is not None else "", iou is not None and iou == best))
    return Exhibit(each, pictures)


def _drawn(each: ContestedPhotograph, photograph: Any, mask: Any, caption: str, classes: Sequence[str]) -> Picture:
    areas = [f"{class_name(i, list(classes))} {percent(share)} %" for i, share in shares(mask).items()]
    alt = f"{each.image_id}: {caption} ({', '.join(areas) or 'background only'})"
    return Picture(caption, data_uri(mask_over(photograph, mask)), alt, is_heat=False)
