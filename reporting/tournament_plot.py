"""What the contenders of a tournament gain against what they cost, as inline SVG whose names do not collide."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from labelfactory.tournament import BASELINE, Contender, Results
from reporting.formats import finite
from reporting.svg import FONT_SIZE, STAND_INS, as_svg, dress

Size = tuple[float, float]
"""Width and height of a drawing, in units that are about pixels on the page."""

WIDE: Size = (1080, 360)
NARROW: Size = (340, 330)
"""For a telephone: the wide one, shrunk to its window, could not be read."""

LEFT, BOTTOM, MARGIN = 44, 26, 12
"""Around the axes: room for numbers at the left and below, and at the other sides."""

GLYPH = 0.62 * FONT_SIZE
"""Width of a letter at most, in the mean: the page's font is not known here."""

LINE = 1.25 * FONT_SIZE
MARK = 6.0
"""Half a mark's width, with its margin."""

LONGEST = 26
"""Letters of a name on the plot."""

LOG_SPAN = 3
"""Costs that span more than this factor have a logarithmic axis."""

STEPS = tuple(step * 10.0**power for power in range(-3, 5) for step in (1, 2, 5))

Kind = Literal["baseline", "better", "worse", "cannot be told"]
Side = Literal["left", "center", "right"]
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1."""

PLACES: tuple[tuple[float, float, Side], ...] = (
    (9, 0, "left"), (-9, 0, "right"), (8, 11, "left"), (8, -11, "left"), (-8, 11, "right"), (-8, -11, "right"),
    (0, 15, "center"), (0, -15, "center"), (8, 24, "left"), (8, -24, "left"), (-8, 24, "right"), (-8, -24, "right"),
)  # fmt: skip
"""Where a name may stand beside its mark, the best place first."""


@dataclass(frozen=True)
class Spot:
    """A contender on the plot.

    Attributes:
        cost: time as a multiple of the baseline's.
        value, low, high: gain and its interval in points; without true masks the guess.
        rank: its number in the table, 0 for none.
    """

    name: str
    cost: float
    value: float
    low: float
    high: float
    kind: Kind
    rank: int = 0


@dataclass(frozen=True)
class Label:
    """A text beside its mark: its place in the drawing and the box that it fills at most."""

    text: str
    x: float
    y: float
    side: Side
    box: Box


def spots(results: Results, ranks: dict[str, int]) -> list[Spot]:
    """The contenders whose cost and gain (without true masks: cost and guess) are known, in the order of rank."""
    found = [_gain_spot(each) if results.with_truth else _guess_spot(each) for each in results.contenders]
    return [replace(spot, rank=ranks.get(spot.name, 0)) for spot in found if spot is not None]


def _gain_spot(contender: Contender) -> Spot | None:
    if contender.name == BASELINE:
        return Spot(BASELINE, 1.0, 0.0, 0.0, 0.0, "baseline")
    gain, cost = contender.gain, finite(contender.cost)
    value = finite(gain.value) if gain is not None else None
    if gain is None or value is None or cost is None or cost <= 0:
        return None
    low, high = finite(gain.low), finite(gain.high)
    low, high = value if low is None else low, value if high is None else high
    return Spot(contender.name, cost, 100 * value, 100 * low, 100 * high, gain.verdict)


def _guess_spot(contender: Contender) -> Spot | None:
    is_baseline = contender.name == BASELINE
    value, cost = finite(contender.guess), 1.0 if is_baseline else finite(contender.cost)
    if value is None or cost is None or cost <= 0:
        return None
    return Spot(contender.name, cost, value, value, value, "baseline" if is_baseline else "cannot be told")


def draw_costs(shown: Sequence[Spot], size: Size = WIDE, *, zero: bool) -> Markup:
    """The plot as an SVG element; empty where no contender but the baseline has a place.

    Args:
        shown: the contenders; those that come first get their names first.
        size: of the drawing.
        zero: whether to draw a line at a gain of 0.
    """
    if not [spot for spot in shown if spot.kind != "baseline"]:
        return Markup("")
    width, height = size
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    room = (LEFT / width, BOTTOM / height, (width - LEFT - MARGIN) / width, (height - BOTTOM - MARGIN) / height)
    axes = figure.add_axes(room)
    dress(axes)
    _scale(axes, shown, zero=zero)
    if zero:
        axes.axhline(0, color=STAND_INS["--muted"], linewidth=1)
    floor = axes.get_ylim()[0]
    for spot in reversed(shown):
        _mark(axes, spot, floor)
    at = [axes.transData.transform((spot.cost, max(spot.value, floor))) for spot in shown]
    bars = [axes.transData.transform([(spot.cost, max(spot.low, floor)), (spot.cost, spot.high)]) for spot in shown]
    texts = [(short(spot.name), str(spot.rank)) if spot.rank else (short(spot.name),) for spot in shown]
    lines = [(x0, min(y0, y1), x1, max(y0, y1)) for (x0, y0), (x1, y1) in bars]
    if zero:
        at_zero = float(axes.transData.transform((1.0, 0.0))[1])
        rules = [(0.0, at_zero - 2, width, at_zero + 2)]
    else:
        rules = []
    labels = place([(float(x), float(y)) for x, y in at], texts, lines, rules=rules, size=size)
    for i, label in enumerate(labels):
        if label is not None:
            figure.text(
                label.x / width,
                label.y / height,
                f"@{i}@",
                ha=label.side,
                va="center_baseline",
                fontsize=FONT_SIZE,
                color=STAND_INS["--ink"],
            )
    return Markup(as_svg(figure, {f"@{i}@": str(escape(label.text)) for i, label in enumerate(labels) if label}))


def place(
    points: Sequence[tuple[float, float]],
    texts: Sequence[tuple[str, ...]],
    lines: Sequence[Box],
    *,
    rules: Sequence[Box] = (),
    size: Size = WIDE,
) -> list[Label | None]:
    """Put a text beside each point, such that no two texts overlap and none covers a point; nor a line, where it can be helped.

    Args:
        points: places in the drawing.
        texts: of each point, the one to prefer first.
        lines: the interval of each point, which a text of another point should not cover.
        rules: lines that no text should cover.
        size: of the drawing.

    Returns:
        None for a point beside which no text fits.
    """
    marks = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in points]
    placed: list[Label | None] = []
    for i, (x, y) in enumerate(points):
        others = [*marks[:i], *marks[i + 1 :], *(label.box for label in placed if label)]
        crossed = [(x0 - 1, y0, x1 + 1, y1) for x0, y0, x1, y1 in (*lines[:i], *lines[i + 1 :], *rules)]
        offers = [_label(text, x + dx, y + dy, side) for text in texts[i] for dx, dy, side in PLACES]
        free = [
            label for label in offers if _inside(label.box, size) and not any(_meet(label.box, box) for box in others)
        ]
        clear = [label for label in free if not any(_meet(label.box, box) for box in crossed)]
        placed.append(next(iter([*clear, *free]), None))
    return placed


def short(name: str) -> str:
    """A name as it fits beside a mark."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _label(text: str, x: float, y: float, side: Side) -> Label:
    width = GLYPH * len(text)
    left = {"left": x, "center": x - width / 2, "right": x - width}[side]
    return Label(text, x, y, side, (left, y - LINE / 2, left + width, y + LINE / 2))


def _inside(box: Box, size: Size) -> bool:
    return box[0] >= 0 and box[2] <= size[0] and box[1] >= BOTTOM and box[3] <= size[1]


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _scale(axes: Axes, shown: Sequence[Spot], *, zero: bool) -> None:
    """Axes that hold all; one contender far below the others is drawn at the edge."""
    low, high = min(spot.low for spot in shown), max(spot.high for spot in shown)
    low = max(low, -max(2 * high, 5.0)) if zero else low
    margin = 0.1 * ((high - low) or 1.0)
    axes.set_ylim(low - margin, high + margin)
    costs = [spot.cost for spot in shown]
    if max(costs) / min(costs) > LOG_SPAN:
        axes.set_xscale("log")
        axes.set_xlim(min(costs) / 1.25, max(costs) * 1.25)
        axes.xaxis.set_major_locator(FixedLocator(STEPS))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        room = max(0.12 * (max(costs) - min(costs)), 0.05 * max(costs))
        axes.set_xlim(min(costs) - room, max(costs) + room)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g} ×")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))


def _mark(axes: Axes, spot: Spot, floor: float) -> None:
    names = {"better": "--good", "worse": "--bad", "baseline": "--ink", "cannot be told": "--muted"}
    colour = STAND_INS[names[spot.kind]]
    if spot.high > spot.low and spot.high > floor:
        axes.plot([spot.cost] * 2, [max(spot.low, floor), spot.high], color=colour, linewidth=1.4, alpha=0.55)
    hollow = spot.kind == "cannot be told"
    shape = "s" if spot.kind == "baseline" else "v" if spot.value < floor or spot.kind == "worse" else "o"
    axes.plot(
        [spot.cost],
        [max(spot.value, floor)],
        shape,
        color=STAND_INS["--card"] if hollow else colour,
        markeredgecolor=colour,
        markeredgewidth=1.6,
        markersize=7,
        clip_on=False,
    )
