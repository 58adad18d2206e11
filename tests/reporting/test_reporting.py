"""The report: one page that opens offline, says what it was told, and breaks on no name."""

import base64
import dataclasses
import math
import re
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
from html_page import Page, opens_offline
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labelfactory.dataset.account import Account, Images, OfClass
from labelfactory.errors import ShapeError
from labelfactory.schema import VOID, palette
from reporting.content import Curve, GalleryItem, Report, StageLine, Step, Tile
from reporting.formats import duration, memory, points
from reporting.page import render_report, write_report
from reporting.pictures import MAX_HEIGHT, MAX_WIDTH, data_uri, draw_tile, heat_over, mask_over, shares, shrink
from reporting.plots import draw_curve, rows_of_marks
from reporting.scores import class_scores, ladder, split_names, stage_score

NOTHING = Report("Empty", "", ["background", "cat"], [], [], {}, [], [], [], {}, [])
STEPS = [Step(name, f"what {name} are") for name in ("seeds", "walks", "masks", "model")]
STEPS.append(Step("upper_bound", "for comparison", reference=True))


def gallery_item(name: str = "2007_000033", why: str = "best by mIoU", caption: str = "mask") -> GalleryItem:
    photograph = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[10:30, 10:30] = 1
    mask[:5] = VOID
    heat = np.linspace(0, 1, 150, dtype=np.float32).reshape(10, 15)
    return GalleryItem(name, why, photograph, [Tile(caption, "mask", mask), Tile("CAM", "heat", heat)], {"mIoU": 0.5})


def full_report(name: str = "cat", n_classes: int = 2) -> Report:
    """A report that holds `name` wherever a name can stand."""
    classes = ["background", name, *(f"class-{i}" for i in range(2, n_classes))]
    metrics = {f"iou/train/seeds/{c}": 0.4 for c in classes} | {f"iou/val/model/{c}": 0.6 for c in classes}
    metrics |= {"miou/train/seeds": 0.4, "miou/train/walks": 0.55, "miou/val/model": 0.6, f"miou/val/{name}": 0.1}
    over_threshold = Curve(name, "threshold", name, [0.1, 0.2, 0.3], {name: [0.1, math.nan, 0.2]}, {name: 0.2})
    loss = Curve("loss", name, "loss", [1, 2], {"a": [2.0, 1.0], name + "b": [3.0, 1.0]}, {})
    return Report(
        title=name,
        subtitle=name,
        classes=classes,
        steps=STEPS,
        stages=[StageLine("extract_cams", name, 71.0, 1500, "seeds"), StageLine(name, "", None, None)],
        metrics=metrics | {"map/val": 0.9, "fraction_of_supervised": 0.97},
        thresholds=[(name, 0.3, "auto", 0.28), ("walks", 0.2, name, None)],
        curves=[over_threshold, loss],
        gallery=[gallery_item(name, name, name)],
        provenance={name: name},
        notes=[name],
        imported=account(name),
    )


def account(name: str) -> Account:
    """An account that holds `name` wherever a name can stand."""
    seen = OfClass(name, 9, 7, 5, 4, not_shown=Images(4, (name, "a", "b")), not_tagged=Images(1, (name,)))
    counts = {"lists": {name: 9}, "mask_values": {0: 5}, "modes": {"RGB": 9}, "orientations": {1: 8, 6: 1}}
    figures = {"photographs": 9, "untagged": 1, "true_masks": 6, "looked_at": 5, "left_out": 1, "masks_left_out": 2}
    words = {"passed_over": {name: 3}, "decisions": (name,), "warnings": (name,)}
    return Account(**counts, **figures, **words, classes=(seen,), sizes=((1, 2), (3, 4), (5, 6)), flat=Images())


@pytest.mark.slow
@settings(deadline=None, max_examples=8)
@given(text=st.text(min_size=1).map(lambda s: s + "</h1><script>x</script>\" onload='y' &amp; {{ 7 * 7 }} $x$"))
def test_any_name_stays_a_name(text):
    """Markup, template code and formulas in names arrive as text, in every place that shows a name."""
    page = Page(render_report(full_report(text)))
    assert not page.all("script")
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
    assert page.text.count(text) >= 15
    assert any(text in str(image["alt"]) for image in page.all("img"))


@pytest.mark.parametrize("report", [NOTHING, full_report(), full_report(n_classes=21)], ids=["nothing", "2", "21"])
def test_the_page_opens_offline_and_is_well_formed(report):
    """No address but those inside the page; ids are unique, links lead somewhere, pictures have words."""
    opens_offline(render_report(report))


def test_nothing_scored_is_said():
    """Without true masks the page says so instead of showing empty tables; with them it does not."""
    assert "Nothing could be scored" in render_report(NOTHING)
    assert "Nothing could be scored" not in render_report(full_report())


def test_the_page_shows_each_figure_of_the_line():
    """mIoU, gain, time, memory, IoU per class and both thresholds stand on the page as a person reads them."""
    text = Page(render_report(full_report(n_classes=21))).text.replace("\u00a0", " ")
    for figure in (
        "40.0",
        "55.0",
        "+15.0",
        "1 min 11 s",
        "1.5 GB",
        "mAP of the classifier",
        "97.0",
        "class-20",
        "0.28",
    ):
        assert figure in text


def test_the_same_report_gives_the_same_bytes(tmp_path: Path):
    """A page can be an output of the line: nothing in it depends on the time or on chance."""
    for name in ("a", "b"):
        write_report(tmp_path / name / "report.html", full_report())
    assert (tmp_path / "a/report.html").read_bytes() == (tmp_path / "b/report.html").read_bytes()


def test_a_failing_report_leaves_the_old_page(tmp_path: Path):
    """A picture that cannot be drawn stops the writing before the old page is touched; nothing else is left behind."""
    path = tmp_path / "report.html"
    write_report(path, NOTHING)
    before = path.read_bytes()
    broken = dataclasses.replace(gallery_item(), tiles=[Tile("mask", "mask", np.zeros((3, 3, 3), np.uint8))])
    with pytest.raises(ShapeError, match=r"\(3, 3, 3\)"):
        write_report(path, dataclasses.replace(NOTHING, gallery=[broken]))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_name_of_any_bytes_is_written(tmp_path: Path):
    """Linux gives undecodable file names as lone surrogates, which UTF-8 does not hold."""
    write_report(tmp_path / "report.html", dataclasses.replace(NOTHING, notes=["bad \udcff name"]))
    assert "bad ? name" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_ladder_by_hand():
    """Order of the line, gains over the very step before, references last and without a gain, NaN left out."""
    metrics = {"miou/val/upper_bound": 0.8, "miou/val/model": 0.7, "miou/val/seeds": 0.4, "miou/val/walks": 0.6}
    rungs = ladder(metrics | {"miou/val/masks": math.nan, "miou/train/masks": 0.9}, "val", STEPS)
    assert [r.what for r in rungs] == ["seeds", "walks", "model", "upper_bound"]
    assert [r.gain for r in rungs] == [None, pytest.approx(0.2), None, None]
    assert [r.is_step for r in rungs] == [True, True, True, False]


def test_scores_per_class_by_hand():
    """Classes in the order of the data set, a slash in a class name kept, NaN left out."""
    metrics = {"iou/val/model/b/c": 0.1, "iou/val/seeds/b/c": 0.2, "iou/val/seeds/a": 0.3, "iou/val/model/a": math.nan}
    found = class_scores(metrics, "val", ["background", "a", "b/c"], STEPS)
    assert [(c.name, c.class_id, c.values) for c in found] == [
        ("a", 1, [("seeds", 0.3)]),
        ("b/c", 2, [("seeds", 0.2), ("model", 0.1)]),
    ]
    assert split_names(metrics | {"map/other": 0.1, "miou/train/seeds": 0.1}) == ["val", "train"]


def test_the_score_of_a_stage_is_that_of_what_it_makes():
    """The walk is judged by the walks, the classifier by mAP, a stage that makes no labels by nothing."""
    metrics = {"miou/train/walks": 0.7, "map/val": 0.9}
    assert stage_score(metrics, "mIoU", "walks", "train") == ("mIoU", 0.7)
    assert stage_score(metrics, "mAP", "", "val") == ("mAP", 0.9)
    assert stage_score(metrics, "mIoU", "", "train") is None


@given(height=st.integers(1, 900), width=st.integers(1, 900))
def test_a_photograph_shrinks_and_never_grows(height, width):
    """It fits the page and keeps its shape to a pixel."""
    shrunk = shrink(np.zeros((height, width, 3), dtype=np.uint8))
    factor = min(1, MAX_WIDTH / width, MAX_HEIGHT / height)
    assert shrunk.shape[0] == pytest.approx(max(1, height * factor), abs=0.51)
    assert shrunk.shape[1] == pytest.approx(max(1, width * factor), abs=0.51)


@given(class_id=st.integers(1, 254), photograph=hnp.arrays(np.uint8, (12, 16, 3)))
def test_a_class_wears_its_colour(class_id, photograph):
    """Inside a region, each channel lies between the photograph and VOC's colour, nearer to the colour."""
    photograph[:] = photograph[0, 0]
    drawn = mask_over(photograph, np.full((12, 16), class_id, dtype=np.uint8)).astype(float)
    colour, below = palette()[class_id].astype(float), photograph[0, 0].astype(float)
    assert (np.abs(drawn - colour) <= np.abs(below - colour) * 0.45 + 1).all()
    assert (np.abs(drawn - below) <= np.abs(below - colour) * 0.55 + 1).all()


def test_background_is_grey_void_is_hatched_and_contours_stand_out():
    """Three regions of a mask are told apart without a legend; class ids are taken as they are, smaller masks too."""
    photograph = np.full((40, 40, 3), (200, 40, 40), dtype=np.uint8)
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[5:15, 2:10], mask[:, 14:] = 15, VOID
    drawn = mask_over(photograph, mask).astype(int)
    assert np.ptp(drawn[37, 4]) < 40  # the red photograph has lost its colour
    assert len(np.unique(drawn[5:35, 32:38].reshape(-1, 3), axis=0)) > 2  # stripes
    assert tuple(drawn[20, 4]) == tuple(palette()[15])  # the contour inside
    assert drawn[20, 3].min() > 230  # the white line outside


def test_heat_hides_the_photograph_only_where_it_is_hot():
    """Zero leaves the grey photograph, one is the bright end of the scale, outside [0, 1] is clipped, NaN is cold."""
    photograph = np.full((10, 20, 3), 100, dtype=np.uint8)
    heat = np.zeros((10, 20), dtype=np.float32)
    heat[:, 10:], heat[0, 0], heat[0, 1] = 3.0, math.nan, -1
    drawn = heat_over(photograph, heat).astype(int)
    assert len(np.unique(drawn[:, :10].reshape(-1, 3), axis=0)) == 1
    assert drawn[5, 15, 0] > 200
    assert drawn[5, 15, 0] > drawn[5, 15, 2] + 20


def test_a_picture_comes_back_from_its_address():
    """The data URI holds WebP with red where red was."""
    picture = np.zeros((20, 30, 3), dtype=np.uint8)
    picture[:, :, 0] = 200
    head, _, body = data_uri(picture).partition(",")
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(body), np.uint8), cv2.IMREAD_COLOR)
    assert head == "data:image/webp;base64"
    assert np.abs(decoded[:, :, ::-1].astype(int) - picture).max() < 12


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_photograph_is_refused(bad):
    """Grey, float and empty arrays are a caller's mistake."""
    with pytest.raises(ShapeError, match="photograph"):
        draw_tile(bad, Tile("photograph", "photograph", bad))


def test_shares_of_a_mask_by_hand():
    """Largest class first, void last, the background unsaid."""
    mask = np.array([[0, 0, 3, 255, 255], [1, 1, 3, 3, 255]], dtype=np.uint8)
    assert list(shares(mask).items()) == [(3, 0.3), (1, 0.2), (255, 0.3)]


@settings(max_examples=1000)
@given(xs=st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_no_mark_crosses_the_name_of_another(xs):
    """A name runs from its line to one side, in its row; a line on that side, near enough, must end below that row."""
    rows = rows_of_marks(xs, (0.0, 1.0))
    assert sorted(position for position, _ in rows) == list(range(len(xs)))
    for row, (position, right) in enumerate(rows):
        assert xs[position] <= 0.72 if right else xs[position] >= 0.28
        for higher, _ in rows[:row]:
            gap = xs[higher] - xs[position] if right else xs[position] - xs[higher]
            assert gap <= 0 or gap > 0.2


def test_a_curve_is_drawn_in_the_colours_of_the_page():
    """Marks are named, no colour is fixed, and matplotlib's settings are as they were."""
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "another"}):
        before = dict(matplotlib.rcParams)
        svg = draw_curve(
            Curve("t", "x", "y", [0.0, 0.5, 1], {"a": [0.1, 0.4, 0.2]}, {"chosen <b>": 0.725, "best": 0.9})
        )
        assert dict(matplotlib.rcParams) == before
    assert "chosen &lt;b&gt; 0.725" in svg
    assert "best 0.9" in svg
    assert "var(--series-1)" in svg
    assert not re.search(r"(fill|stroke): #", svg)
    assert "<metadata" not in svg
    assert "<style" not in svg


def test_curves_that_cannot_be_drawn():
    """No finite point gives no drawing and the page says so; a line of another length is a caller's mistake."""
    nothing = Curve("t", "x", "y", [1.0, 2.0], {"a": [math.nan, math.nan]}, {"chosen": 1.0})
    assert draw_curve(nothing) == ""
    assert "No point to draw" in render_report(dataclasses.replace(NOTHING, curves=[nothing]))
    with pytest.raises(ShapeError, match="3 values for 2 points"):
        draw_curve(dataclasses.replace(nothing, series={"a": [1.0, 2.0, 3.0]}))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), (0.04, "0.0 s"), (9.96, "10 s"), (59.7, "1 min 00 s"), (3599.6, "1 h 00 min"), (5000, "1 h 23 min")],
)
def test_times_as_a_person_says_them(seconds, said):
    """Rounding never gives 60 seconds or 60 minutes."""
    assert duration(seconds).replace("\u00a0", " ") == said


def test_memory_and_points_as_a_person_says_them():
    """Gigabytes from a thousand megabytes on; a real minus sign."""
    assert [memory(m).replace("\u00a0", " ") for m in (None, 999, 1000)] == ["–", "999 MB", "1.0 GB"]
    assert [points(p) for p in (0.137, -0.02)] == ["+13.7", "−2.0"]
