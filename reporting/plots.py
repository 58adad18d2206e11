"""Curves as inline SVG: text stays text, and colours are the page's own, so that dark and light both fit."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from labelfactory.errors import ShapeError
from reporting.content import Curve
from reporting.svg import FONT_SIZE, SERIES, STAND_INS, as_svg, dress

WIDTH, HEIGHT = 360, 230
"""Units of the drawing; on the page they are about pixels."""

MARK_ROW = 15 / HEIGHT
"""Height of the row above the axes in which a mark's name stands."""

ROOM = 0.72
"""A mark farther to the right than this has no room for its name at its right."""

DASHES: tuple[str, ...] = ("-", "--", ":", "-.")
"""Of vertical marks, so that they differ without colour."""


def series_colour(position: int) -> str:
    """The CSS variable of a plot's line."""
    return SERIES[position % len(SERIES)]


def draw_curve(curve: Curve) -> Markup:
    """A curve as an SVG element without a title: the page writes title, labels and the legend around it.

    Returns:
        Markup; empty when there is no point to draw. The same curve gives the same bytes.

    Raises:
        ShapeError: a line has more or fewer values than the axis has points.
    """
    for name, values in curve.series.items():
        if len(values) != len(curve.x):
            raise ShapeError(f"curve {curve.title!r}: {name!r} has {len(values)} values for {len(curve.x)} points")
    if not any(math.isfinite(y) for values in curve.series.values() for y in values):
        return Markup("")
    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
    marks = {n: x for n, x in curve.marks.items() if math.isfinite(x)}
    top = 0.97 - MARK_ROW * len(marks)
    axes = figure.add_axes((0.11, 0.1, 0.87, top - 0.1))
    dress(axes)
    for i, values in enumerate(curve.series.values()):
        colour = STAND_INS[series_colour(i)]
        axes.plot(curve.x, values, color=colour, linewidth=1.9, marker="o" if len(values) < 3 else None, markersize=4)
    if len(curve.x) < 3:
        axes.margins(x=0.2)
    if all(float(x).is_integer() for x in curve.x):
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))  # there is no epoch 2.5
    for row, (position, label_is_right) in enumerate(rows_of_marks(list(marks.values()), axes.get_xlim())):
        _mark(
            axes,
            curve,
            list(marks.values())[position],
            row=row,
            rows=len(marks),
            position=position,
            right=label_is_right,
        )
    labels = {f"@{i}@": str(escape(f"{n} {x:.4g}")) for i, (n, x) in enumerate(marks.items())}
    return Markup(as_svg(figure, labels))


def draw_histogram(values: Sequence[float], *, bins: int = 20) -> Markup:
    """How many of some fractions lie in each of equal parts of 0 to 1, as an SVG element like that of `draw_curve`."""
    counts, edges = np.histogram(np.clip(values, 0, 1), bins=bins, range=(0, 1))
    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
    axes = figure.add_axes((0.11, 0.1, 0.87, 0.87))
    dress(axes)
    axes.bar(edges[:-1] * 100, counts, width=0.88 * 100 / bins, align="edge", color=STAND_INS[series_colour(0)])
    axes.set_xlim(0, 100)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    return Markup(as_svg(figure, {}))


def rows_of_marks(xs: list[float], limits: tuple[float, float]) -> list[tuple[int, bool]]:
    """Give each vertical mark a row above the axes for its name, such that no line crosses a name (of three marks at most).

    Args:
        xs: where the marks stand.
        limits: of the axis.

    Returns:
        (position in `xs`, whether the name stands at the line's right) from the highest row to the lowest.
    """
    low, high = limits
    at = [(x - low) / ((high - low) or 1) for x in xs]
    if not at:
        return []
    right = [max(at) <= ROOM] * len(at)
    if max(at) > ROOM and min(at) < 1 - ROOM:  # names run into the widest gap, from both of its sides
        places = sorted(at)
        _, before_gap = max((b - a, a) for a, b in pairwise(places))
        right = [place <= before_gap for place in at]
    order = sorted(range(len(at)), key=lambda i: at[i] if right[i] else 1 - at[i])
    return [(i, right[i]) for i in order]


def _mark(axes: Axes, curve: Curve, x: float, *, row: int, rows: int, position: int, right: bool) -> None:
    """A vertical line up to its own row above the axes, its name there, and a dot where it meets each curve."""
    ink = STAND_INS["--ink"]
    top = 1 + MARK_ROW / axes.get_position().height * (rows - row - 0.25)
    across = axes.get_xaxis_transform()
    style = DASHES[position % len(DASHES)]
    axes.plot([x, x], [0, top], transform=across, color=ink, linewidth=1.1, linestyle=style, clip_on=False)
    axes.annotate(
        f"@{position}@",
        (x, top),
        xycoords=across,
        xytext=(5 if right else -5, -FONT_SIZE + 2),
        textcoords="offset points",
        ha="left" if right else "right",
        fontsize=FONT_SIZE,
        color=ink,
        annotation_clip=False,
    )
    for i, values in enumerate(curve.series.values()):
        known = np.isfinite(values)
        if known.any() and curve.x[0] <= x <= curve.x[-1]:
            y = float(np.interp(x, np.asarray(curve.x)[known], np.asarray(values)[known]))
            colour = STAND_INS[series_colour(i)]
            axes.plot([x], [y], "o", color=colour, markersize=5.5, markeredgecolor=STAND_INS["--card"], zorder=5)
