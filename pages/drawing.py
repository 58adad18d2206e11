"""Graphs as inline SVG: boxes in lanes, lines from box to box, once for wide windows and once for narrow ones.

A box has a rank (its position along the line) and a lane (networks, images, thresholds). Boxes of neighbouring ranks in
different lanes may overlap along the line, which is how a dozen stages fit into one window. Colours and fonts are the
page's own; every text is escaped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

CHARACTER = 6.6
"""Width of an average character of a title, in units of the drawing."""


@dataclass(frozen=True)
class Box:
    """One box: what it says, where it leads, what it looks like."""

    id: str
    title: str
    lane: int
    rank: int
    lines: tuple[str, ...] = ()
    kind: str = ""  # CSS classes
    href: str = ""
    mark: str = ""  # a sign before the title
    says: str = ""  # what a pointer is told; by default all of its text


@dataclass(frozen=True)
class Arrow:
    """From one box to another."""

    start: str
    end: str
    kind: str = ""


@dataclass(frozen=True)
class _Shape:
    """Sizes of a drawing; `along` is the way's direction, `across` that of the lanes."""

    along: float  # from rank to rank
    across: float  # from lane to lane
    width: float  # of a box
    height: float
    down: bool


def draw(boxes: Sequence[Box], arrows: Iterable[Arrow], *, label: str) -> Markup:
    """A graph for any window: a wide and a narrow drawing, of which the style sheet shows one.

    Args:
        boxes: each in a place of its own.
        arrows: between boxes that are there; others are left out.
        label: what the drawing is, for those who do not see it.
    """
    if not boxes:
        return Markup("")
    height = 30 + 15 * max(len(box.lines) for box in boxes)
    ranks = 1 + max(box.rank for box in boxes)
    places = {(box.lane, box.rank) for box in boxes}
    crowded = any((lane, rank + 1) in places for lane, rank in places)
    along = 158.0 if crowded else max(92.0, min(128.0, 1176 / (ranks + 0.7)))
    wide = _Shape(along, height + 34, 136 if crowded else min(2 * along - 20, 186), height, down=False)
    narrow = _Shape(height + 16, 56, 184, height, down=True)
    arrows = list(arrows)
    return Markup("").join(
        _svg(boxes, arrows, shape, label, name) for shape, name in ((wide, "wide"), (narrow, "narrow"))
    )


def _svg(boxes: Sequence[Box], arrows: Sequence[Arrow], shape: _Shape, label: str, name: str) -> Markup:
    lanes = sorted({box.lane for box in boxes})
    listed = sorted(boxes, key=lambda box: (box.rank, box.lane))
    rows = {box.id: row if shape.down else box.rank for row, box in enumerate(listed)}
    places = {box.id: _place(rows[box.id], lanes.index(box.lane), shape) for box in boxes}
    right = max(x for x, _ in places.values()) + shape.width
    bottom = max(y for _, y in places.values()) + shape.height
    lines = []
    for arrow in arrows:
        if {arrow.start, arrow.end} <= set(places):
            near = not shape.down or rows[arrow.end] - rows[arrow.start] == 1
            path = (
                _way(places[arrow.start], places[arrow.end], shape)
                if near
                else _beside(places[arrow.start], places[arrow.end], shape, right)
            )
            lines.append(Markup('<path class="arrow {}" d="{}"/>').format(arrow.kind, path))
    drawn = [_box(box, places[box.id], shape) for box in listed]
    width = right + (26 if shape.down else 6)
    return Markup(
        '<svg class="graph {}" viewBox="-3 -3 {:.0f} {:.0f}" style="--units:{:.0f}" role="group" aria-label="{}">{}{}</svg>'
    ).format(name, width, bottom + 6, width, label, Markup("").join(lines), Markup("").join(drawn))


def _place(row: int, lane: int, shape: _Shape) -> tuple[float, float]:
    along, across = row * shape.along, lane * shape.across
    return (across, along) if shape.down else (along, across)


def _way(start: tuple[float, float], end: tuple[float, float], shape: _Shape) -> str:
    """A path from a box to one of the next rows or ranks."""
    (x0, y0), (x1, y1) = start, end
    w, h = shape.width, shape.height
    if not shape.down and abs(y0 - y1) < 1:
        return f"M{x0 + w:.1f} {y0 + h / 2:.1f}L{x1:.1f} {y1 + h / 2:.1f}"
    if shape.down:
        middle = (max(x0, x1) + min(x0, x1) + w) / 2  # of what both boxes cover
        return f"M{middle:.1f} {y0 + h:.1f}L{middle:.1f} {y1:.1f}"
    lower = y1 > y0
    a = (x0 + w * 0.68, y0 + (h if lower else 0))
    b = (x1 + w * 0.32, y1 + (0 if lower else h))
    bend = (b[1] - a[1]) / 2
    return f"M{a[0]:.1f} {a[1]:.1f}C{a[0]:.1f} {a[1] + bend:.1f} {b[0]:.1f} {b[1] - bend:.1f} {b[0]:.1f} {b[1]:.1f}"


def _beside(start: tuple[float, float], end: tuple[float, float], shape: _Shape, right: float) -> str:
    """A path past the boxes between, along the right edge."""
    (x0, y0), (x1, y1) = start, end
    middle, out = shape.height / 2, right + 16
    a, b = (x0 + shape.width, y0 + middle), (x1 + shape.width, y1 + middle)
    return f"M{a[0]:.1f} {a[1]:.1f}C{out:.1f} {a[1]:.1f} {out:.1f} {b[1]:.1f} {b[0]:.1f} {b[1]:.1f}"


def _box(box: Box, corner: tuple[float, float], shape: _Shape) -> Markup:
    x, y = corner
    room = int((shape.width - (34 if box.mark else 20)) / CHARACTER)
    texts = [
        Markup('<text class="line" x="{:.1f}" y="{:.1f}">{}</text>').format(
            x + 11, y + 34 + 15 * k, short(line, room + 3)
        )
        for k, line in enumerate(box.lines)
    ]
    mark = Markup('<text class="mark" x="{:.1f}" y="{:.1f}">{}</text>').format(x + 11, y + 19, box.mark)
    body = Markup(
        '<g class="box {kind}"><title>{says}</title><rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" rx="9"/>'
        '{mark}<text class="title" x="{tx:.1f}" y="{ty:.1f}">{title}</text>{texts}</g>'
    ).format(
        kind=box.kind,
        says=box.says or ": ".join([box.title, ", ".join(box.lines)] if box.lines else [box.title]),
        x=x,
        y=y,
        w=shape.width,
        h=shape.height,
        mark=mark if box.mark else "",
        tx=x + (26 if box.mark else 11),
        ty=y + 19,
        title=short(box.title, room),
        texts=Markup("").join(texts),
    )
    return Markup('<a href="{}">{}</a>').format(box.href, body) if box.href else body


def short(text: str, length: int) -> str:
    """A text that is not longer than so many characters, its end cut off where it was."""
    return text if len(text) <= length else f"{text[: max(1, length - 1)]}…"


def breakable(name: str) -> Markup:
    """A name that may be broken after its underscores."""
    return Markup("_<wbr>").join(name.split("_"))


def bar(share: float, kind: str = "") -> Markup:
    """A bar of a share of its track."""
    width = 100 * min(max(share, 0.0), 1.0)
    return Markup('<span class="bar" aria-hidden="true"><i class="{}" style="width:{:.1f}%"></i></span>').format(
        escape(kind), width
    )
