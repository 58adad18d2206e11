"""Curves as inline SVG: text stays text, and colours are the page's own, so that dark and light both fit."""

import hashlib
import io
import math
import re

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reporting.content import Curve

WIDTH, HEIGHT = 400, 250
"""Units of the drawing; on the page they are about pixels."""

FONT_SIZE = 11.0
MARK_ROW = 15 / HEIGHT
"""Height of the row above the axes in which a mark's name stands."""

SERIES = tuple(f"--series-{i}" for i in range(1, 7))
"""CSS colours of a plot's lines, in their order."""

DASHES: tuple[str, ...] = ("-", "--", ":", "-.")
"""Of vertical marks, so that they differ without colour."""

_STAND_INS = {"--ink": "#010203", "--muted": "#010204", "--rule": "#010205", "--card": "#010206"} | {
    name: f"#0102{16 + i:02x}" for i, name in enumerate(SERIES)
}
"""matplotlib knows no CSS variable: each is drawn in a colour that nothing else has, then put in by its name."""


def series_colour(position: int) -> str:
    """The CSS variable of a plot's line."""
    return SERIES[position % len(SERIES)]


def draw_curve(curve: Curve) -> Markup:
    """A curve as an SVG element without a title: the page writes title, labels and the legend around it.

    Returns:
        Markup; empty when there is no point to draw. The same curve gives the same bytes.
    """
    if not any(math.isfinite(y) for values in curve.series.values() for y in values):
        return Markup("")
    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
    marks = {n: x for n, x in curve.marks.items() if math.isfinite(x)}
    top = 0.97 - MARK_ROW * len(marks)
    axes = figure.add_axes((0.105, 0.1, 0.87, top - 0.1))
    _dress(axes)
    for i, values in enumerate(curve.series.values()):
        colour = _STAND_INS[series_colour(i)]
        axes.plot(curve.x, values, color=colour, linewidth=1.9, marker="o" if len(values) < 3 else None, markersize=4)
    if len(curve.x) < 3:
        axes.margins(x=0.2)
    for row, (name, x) in enumerate(marks.items()):
        _mark(axes, curve, x, row=row, rows=len(marks), label=f"@{row}@")
    labels = {f"@{i}@": str(escape(f"{n} {x:.2f}")) for i, (n, x) in enumerate(marks.items())}
    return Markup(_as_svg(figure, labels))


def _dress(axes: Axes) -> None:
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=_STAND_INS["--rule"], linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_STAND_INS["--muted"])
    axes.tick_params(length=0, labelsize=FONT_SIZE, labelcolor=_STAND_INS["--muted"], pad=5)
    axes.margins(x=0.01, y=0.08)
    axes.locator_params(nbins=6)


def _mark(axes: Axes, curve: Curve, x: float, *, row: int, rows: int, label: str) -> None:
    """A vertical line up to its own row above the axes, its name there, and a dot where it meets each curve."""
    ink = _STAND_INS["--ink"]
    height_of_row = MARK_ROW / axes.get_position().height
    top = 1 + height_of_row * (rows - row - 0.25)
    across = axes.get_xaxis_transform()
    axes.plot([x, x], [0, top], transform=across, color=ink, linewidth=1.1, linestyle=DASHES[row % 4], clip_on=False)
    low, high = axes.get_xlim()
    on_the_left = (x - low) / (high - low or 1) < 0.6
    axes.annotate(
        label,
        (x, top),
        xycoords=across,
        xytext=(5 if on_the_left else -5, -FONT_SIZE + 2),
        textcoords="offset points",
        ha="left" if on_the_left else "right",
        fontsize=FONT_SIZE,
        color=ink,
        annotation_clip=False,
    )
    for i, values in enumerate(curve.series.values()):
        known = np.isfinite(values)
        if known.any() and curve.x[0] <= x <= curve.x[-1]:
            y = float(np.interp(x, np.asarray(curve.x)[known], np.asarray(values)[known]))
            colour = _STAND_INS[series_colour(i)]
            axes.plot([x], [y], "o", color=colour, markersize=5.5, markeredgecolor=_STAND_INS["--card"], zorder=5)


def _as_svg(figure: Figure, labels: dict[str, str]) -> str:
    """The figure as an SVG element with the page's fonts and colours, and ids that are its own."""
    stream = io.StringIO()
    settings = {"svg.fonttype": "none", "svg.hashsalt": "labelfactory"}  # put back on leaving
    with matplotlib.rc_context(settings):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = stream.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(<svg [^>]*?)width="[^"]*" height="[^"]*"|(<svg [^>]*?)', r"\1\2", svg, count=1)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for name, colour in _STAND_INS.items():
        svg = svg.replace(colour, f"var({name})")
    for label, name in labels.items():
        svg = svg.replace(label, name)
    own = "p" + hashlib.sha256(svg.encode()).hexdigest()[:8]
    svg = re.sub(r'\bid="', f'id="{own}-', svg)
    return re.sub(r'(url\(|href=")#', rf"\1#{own}-", svg)
