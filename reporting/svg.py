"""SVG that matplotlib draws, in the colours and fonts of the page, so that dark and light both fit."""

import hashlib
import io
import re
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FONT_SIZE = 10.5

SERIES = tuple(f"--series-{i}" for i in range(1, 7))
"""CSS colours of a plot's lines, in their order."""

_NAMED = ("--ink", "--muted", "--rule", "--card", "--good", "--bad")
STAND_INS = {name: f"#0102{3 + i:02x}" for i, name in enumerate(_NAMED)} | {
    name: f"#0102{16 + i:02x}" for i, name in enumerate(SERIES)
}
"""matplotlib knows no CSS variable: each is drawn in a colour that nothing else has, then put in by its name."""


def dress(axes: Axes) -> None:
    """Thin rules, no frame, muted labels."""
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=STAND_INS["--rule"], linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(STAND_INS["--muted"])
    axes.tick_params(length=0, labelsize=FONT_SIZE, labelcolor=STAND_INS["--muted"], pad=5)
    axes.margins(x=0.01, y=0.08)
    axes.locator_params(nbins=6)


def as_svg(figure: Figure, labels: dict[str, str]) -> str:
    """The figure as an SVG element with the page's fonts and colours, and ids that are its own."""
    stream = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "labelfactory"}  # put back on leaving
    with matplotlib.rc_context(settings):
        figure.savefig(stream, format="svg", transparent=True)
    svg = stream.getvalue()
    # the metadata holds the date; a style inside would rule the whole page
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r"; font-family: [^;\"]*", "", svg)
    for name, colour in STAND_INS.items():
        svg = svg.replace(colour, f"var({name})")
    own = "p" + hashlib.sha256(f"{svg}{labels}".encode()).hexdigest()[:8]
    svg = re.sub(r'\bid="', f'id="{own}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{own}-", svg)
    return re.sub("@[0-9]+@", lambda found: labels[found[0]], svg)
