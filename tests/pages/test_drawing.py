"""Drawn graphs: every box and arrow is there, none on top of another, and any text stays text."""

import re
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfactory.settings.wiring import read_wiring
from pages.drawing import Arrow, Box, bar, breakable, draw, short
from pages.line_page import graph

NUMBER = r"(-?[\d.]+)"


class Drawing(HTMLParser):
    """Boxes, links and texts of each SVG element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.boxes: list[list[tuple[float, float, float, float]]] = []
        self.paths: list[int] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.add(tag)
        if tag == "svg":
            self.boxes.append([])
            self.paths.append(0)
        elif tag == "rect":
            self.boxes[-1].append(tuple(float(values[n]) for n in ("x", "y", "width", "height")))
        elif tag == "path":
            self.paths[-1] += 1
        elif tag == "a":
            self.links.append(values["href"])

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        self.text.append(data)


def overlap(a, b) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


@pytest.mark.slow
@settings(deadline=None)
@given(
    places=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 11)), min_size=1, max_size=20),
    lines=st.integers(0, 2),
    data=st.data(),
)
def test_no_box_lies_on_another(places, lines, data):
    """In the wide drawing and in the narrow one, wherever the boxes stand; each arrow is drawn in both."""
    boxes = [Box(f"{lane} {rank}", "title", lane, rank, ("line",) * lines) for lane, rank in sorted(places)]
    ids = st.sampled_from([box.id for box in boxes])
    arrows = [Arrow(a, b) for a, b in data.draw(st.lists(st.tuples(ids, ids), max_size=6)) if a != b]
    drawing = Drawing(str(draw(boxes, arrows, label="x")))
    assert [len(found) for found in drawing.boxes] == [len(boxes)] * 2
    assert drawing.paths == [len(arrows)] * 2
    for found in drawing.boxes:
        assert not [pair for pair in combinations(found, 2) if overlap(*pair)]


@settings(deadline=None)
@given(text=st.text(max_size=40).map(lambda s: s + "<script>\"'&{}</text>"))
def test_any_text_stays_text(text):
    """Markup and braces in every place that a box has."""
    box = Box("a", text, 0, 0, (text,), text, "/x?" + text, "!", text)
    drawing = Drawing(str(draw([box], [Arrow("a", "a", text)], label=text)))
    assert drawing.tags == {"svg", "g", "rect", "text", "title", "a", "path"}
    assert drawing.links == ["/x?" + text] * 2
    assert text in drawing.text


def test_the_line_is_drawn_from_its_wiring():
    """Every stage; an arrow where one reads what another wrote, and none that only shortens another way."""
    wiring = read_wiring()
    stages = [{"name": n, "state": "stale", "mark": "!", "made": "", "seconds": None, "scores": {}, "reasons": ["x"]}
              for n in wiring]  # fmt: skip
    drawing = Drawing(str(graph(wiring, stages)))
    assert len(drawing.boxes[0]) == len(wiring)
    assert set(drawing.links) == {f"#stage-{name}" for name in wiring}
    whole = networkx.DiGraph()
    maker = {"/".join(Path(out).parts[:2]): name for name, wired in wiring.items() for out in wired.outs}
    whole.add_edges_from((maker[dep], name) for name, wired in wiring.items() for dep in wired.deps if dep in maker)
    assert drawing.paths[0] == networkx.transitive_reduction(whole).number_of_edges()
    assert not [pair for pair in combinations(drawing.boxes[0], 2) if overlap(*pair)]


@pytest.mark.parametrize(("text", "length", "shown"), [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("abcd", 1, "a…")])
def test_long_texts_are_cut(text, length, shown):
    assert short(text, length) == shown


def test_bars_and_names():
    """A bar stays in its track; a name breaks after an underscore and nowhere else."""
    widths = [re.search(rf"width:{NUMBER}%", str(bar(share))).group(1) for share in (-1, 0.25, 7)]
    assert widths == ["0.0", "25.0", "100.0"]
    assert str(breakable("a_<b>")) == "a_<wbr>&lt;b&gt;"
