"""The report of a tournament: what it says, that it opens offline, and that no value and no name breaks it."""

import base64
import dataclasses
import hashlib
import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from contested import CLASSES, baseline, contender, contested, full_tournament, shown_gain, tournament
from html_page import Page, opens_offline
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfactory.errors import ShapeError
from labelfactory.tournament import BASELINE, Contender, Guess, Results, Round, ShownGain
from reporting.content import ContenderMask
from reporting.tournament_page import class_rows, gain_cell, render_tournament, write_tournament_report
from reporting.tournament_plot import MARK, NARROW, WIDE, Spot, draw_costs, place, spots
from reporting.tournament_table import plain, ranks_of, scale_of, table_rows
from reporting.tournament_words import repeated, state_of, trust, verdict, warnings

UNKNOWN = {"score": None, "at_best": None, "gain": None, "by_seed": {}, "gain_at_best": None, "class_gains": {}}
"""What a contender has without true masks."""


def words(results: Results, **more) -> str:
    return Page(render_tournament(results, **more)).words.replace("\u00a0", " ")


def guessed(**fields) -> Results:
    """A tournament without true masks."""
    others = [contender(name, value, **UNKNOWN) for name, value in (("pcm", 0.04), ("layer_cam", 0.02))]
    made = {"with_truth": False, "images": 0, "contenders": (baseline(**UNKNOWN), *others)}
    return tournament(**{**made, **fields})


# --- the sentence on top ----------------------------------------------------------------------------------------------


def test_a_winner_is_named_with_gain_cost_and_command():
    """The best of the certain ones, though another has a larger gain that cannot be told."""
    results = tournament(
        contender("seam", 0.03, 0.01, cost=2.4), contender("lucky", 0.05, 0.06), contender("oaa", 0.02, 0.015)
    )
    said = verdict(results)
    sentence = said.sentence.replace("\u00a0", " ")
    assert sentence.startswith(
        "Use `seam`: +3.0 points of mIoU (95 %: +2.0 to +4.0) over the baseline, in 2.4 times the time"
    )
    assert "12 min 00 s a seed in place of 5 min 00 s" in sentence
    assert said.command == "labelfactory tournament --adopt seam"
    assert "labelfactory tournament --adopt seam" in words(results)


def test_a_winner_comes_with_what_speaks_against_it():
    """A cheaper one, a seed that lost, a gain that is gone at the best threshold, and that it was chosen among several."""
    seeds = {0: shown_gain(0.07, 0.01), 1: shown_gain(-0.01, 0.02)}
    winner = contender("seam", 0.03, 0.01, cost=2.4, by_seed=seeds, gain_at_best=shown_gain(0.002, 0.01))
    results = tournament(winner, contender("oaa", 0.02, 0.01, cost=1.2), contender("cian", -0.02))
    remarks = " ".join(verdict(results).remarks)
    assert "Not with every seed: −1.0 with seed 1." in remarks
    assert "the best threshold for both, its gain is +0.2" in remarks
    assert "cheaper: `oaa`, +2.0 at 1.2" in remarks
    assert "the best of 3 on the photographs" in remarks
    assert verdict(tournament(contender("seam", 0.03))).remarks == ()


def test_names_are_typed_so_that_a_shell_takes_them():
    assert verdict(tournament(contender("a b", 0.03))).command == "labelfactory tournament --adopt 'a b'"
    assert verdict(tournament(contender("-x", 0.03))).command == "labelfactory tournament --adopt=-x"


def test_nobody_better_is_said():
    """With the largest gain and that it cannot be told; no command, and nobody is marked as the winner."""
    results = tournament(contender("seam", 0.004, 0.01), contender("oaa", -0.02, 0.01))
    said = verdict(results)
    assert said.sentence == "No contender is certainly better than the baseline: stay with params.yaml as it is."
    assert "`seam`: +0.4 points" in said.remarks[0]
    assert "cannot be told from none" in said.remarks[0]
    assert said.command == ""
    waits = tournament(contender("seam", 0.004, 0.01), Contender(name="oaa", state="not finished"))
    assert verdict(waits).sentence.endswith("is certainly better than the baseline. Not finished: `oaa`.")
    page = Page(render_tournament(results))
    assert [row for row in page.all("tr") if row.get("class") == "winner"] == []
    assert "which is a loss" in verdict(tournament(contender("oaa", -0.02, 0.01))).remarks[0]


@pytest.mark.parametrize(
    ("results", "sentence"),
    [
        (tournament(), "The baseline ran alone"),
        (tournament(contender("a", None, state="failed", problem="x")), "No contender has finished"),
        (tournament(contenders=(baseline(score=None), contender("a", gain=None))), "The baseline has no score"),
        (tournament(contenders=()), "The baseline ran alone"),
    ],
)
def test_where_there_is_nothing_to_choose_from(results, sentence):
    assert sentence in words(results)


def test_without_truth_the_ranking_is_called_a_guess():
    """What ranks, the first, that it is no score, and how to check it; no column of scores and gains."""
    text = words(guessed())
    assert "There are no true masks; by the line's own guess pcm is the best" in text
    assert "This ranks by colours that the seeds explain" in text
    assert "labelfactory review sample" in text
    assert "labelfactory tournament --adopt pcm" in text
    heads = [head.get("data-key") for head in Page(render_tournament(guessed())).all("th")]
    assert "guess" in heads
    assert not {"score", "gain", "best"} & set(heads)


def test_what_is_known_of_the_guess_is_said():
    """Where it was held against truth: τ, whom it would have chosen, and how far behind; nothing where it was not."""
    results = full_tournament()
    assert "it would have chosen oaa , 1.3 points behind the best. Kendall's τ of the two rankings is 0.67" in words(
        results
    )
    right = Guess(tau=None, chosen="seam", behind=0.0)
    assert trust(tournament(guess_was_right=right)).endswith("it would have chosen `seam`, the best.")
    assert trust(tournament()) == ""
    assert "1.3 points behind" in words(guessed(guess_was_right=Guess(tau=-0.2, chosen="x", behind=0.013)))
    assert verdict(guessed(guess="")).sentence == "There are no true masks, and nothing else that ranks the contenders."
    best = (baseline(**{**UNKNOWN, "guess": 0.9}), contender("pcm", 0.04, **UNKNOWN))
    assert "the baseline is the best" in verdict(guessed(contenders=best)).sentence


def test_warnings_name_what_a_reader_must_know():
    """Missing truth, other labels of the winner, one seed, failed and waiting ones, uncommitted code; none where all is well."""
    winner = contender("oaa", 0.05, supervision=("tags", "imagenet-tags", "saliency masks"))
    many = [contender(f"m{k}", None, state="failed", problem="x") for k in range(9)]
    results = tournament(winner, *many, contender("z", None, state="not finished"), partly=3, seeds=(4,), dirty=True)
    text = " ".join(warnings(results))
    for part in ("3 photographs", "`oaa` has seen other labels than the baseline: saliency masks", "One seed (4)"):
        assert part in text
    for part in ("`m5` and 3 more", "Not finished: `z`. Type the same", "in no commit"):
        assert part in text
    assert warnings(tournament(contender("oaa"))) == []


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_table_shows_every_contender_with_its_state():
    """Rank, figures with their word, each seed, cost, memory, labels, parameters; the error of a failed one is in its row."""
    html = render_tournament(full_tournament())
    text = Page(html).words.replace("\u00a0", " ")
    for part in ("63.4", "+3.4", "+2.3 to +4.5", "better", "cannot be told", "worse", "12 min 00 s", "2.4 ×", "1.7 GB"):
        assert part in text
    assert "saliency masks" in text
    assert "dropped after round 1, of 110 images" in text
    assert "not finished: the budget ended before" in text
    assert "out of memory: 3.1 GB were asked for" in text
    assert "6 parameters" in text
    rows, _ = table_rows(full_tournament(), ranks_of(full_tournament()))
    assert [row.rank for row in rows] == [None, 1, 2, 3, 4, None, None, None]
    assert rows[2].other_labels == {"saliency masks"}
    assert rows[1].seeds[1] == (1, pytest.approx(0.638), shown_gain(0.032, 0.011))
    assert (rows[1].seconds, rows[1].memory_mb) == (720, 1700)
    assert "gain" not in rows[0].keys  # the baseline stands last in an order by gain
    assert rows[1].keys["gain"] == "0.034"


def test_seconds_are_known_only_where_every_seed_has_them():
    """A mean over the seeds that happen to be known would be of other seeds than the baseline's."""
    made = contender("a")
    half = made.model_copy(update={"runs": (made.runs[0], made.runs[1].model_copy(update={"seconds": None}))})
    rows, _ = table_rows(tournament(half), {})
    assert rows[1].seconds is None


def test_an_interval_is_drawn_where_it_is():
    """By hand, on a scale from −1 to +3 points with 4 % of room: 0 and both ends, and the dot between."""
    gains = [ShownGain(value=0.01, low=-0.01, high=0.03)]
    scale = scale_of(gains)
    assert (scale.low, scale.high) == (pytest.approx(-0.0116), pytest.approx(0.0316))
    rows, drawn = table_rows(tournament(contender("a", gain=gains[0])), {})
    bar = rows[1].bar
    assert drawn == scale
    assert bar.left == pytest.approx(100 * 0.0016 / 0.0432)
    assert bar.left + bar.width == pytest.approx(100 * 0.0416 / 0.0432)
    assert bar.dot == pytest.approx(50)
    assert drawn.zero == pytest.approx(100 * 0.0116 / 0.0432)


def test_one_catastrophe_does_not_squeeze_the_scale():
    """The scale ends at twice the largest gain, or 5 points, below 0; what lies beyond is cut there."""
    assert scale_of([shown_gain(0.04, 0.01), shown_gain(-0.6, 0.01)]).low == pytest.approx(-0.1 - 0.04 * 0.15)
    rows, _ = table_rows(tournament(contender("a", 0.04), contender("b", -0.6)), {})
    assert (rows[1].bar.cut, rows[2].bar.cut) == (False, True)
    assert rows[2].bar.left == rows[2].bar.dot == 0


def test_a_dropped_one_without_its_round_and_values_of_parameters():
    results = tournament(contender("a", state="dropped"))
    assert state_of(results.contenders[1], results) == "dropped"
    values = ["x", True, None, 0.5, [1, "ä"], {"name": "pcm"}]
    assert [plain(v) for v in values] == ["x", "true", "null", "0.5", '[1, "ä"]', '{"name": "pcm"}']


# --- cost against gain ------------------------------------------------------------------------------------------------


def test_the_plot_has_those_whose_cost_and_gain_are_known():
    """Failed and unfinished ones are named under it; the baseline is at no gain and one time."""
    results = full_tournament()
    found = {spot.name: spot for spot in spots(results, ranks_of(results))}
    assert list(found) == [BASELINE, "seam", "oaa", "oc_cse", "cian", "eps"]
    assert (found[BASELINE].cost, found[BASELINE].value) == (1.0, 0.0)
    assert (found["seam"].low, found["seam"].high, found["seam"].rank) == (pytest.approx(2.3), pytest.approx(4.5), 1)
    html = render_tournament(results)
    assert "time or gain is not known: puzzle, recam" in Page(html).words
    assert html.count("<svg") == 2
    assert not re.search(r"(fill|stroke): #", html.partition("<svg")[2].partition("</svg>")[0])
    for name in ("seam", "oaa", "oc_cse", "cian", "eps", "baseline"):
        assert re.search(rf">{name}</text>", html)


def test_a_plot_of_guesses_has_no_gain():
    results = guessed()
    assert [(spot.name, round(spot.value, 6)) for spot in spots(results, {})] == [
        (BASELINE, 0.4),
        ("pcm", 0.42),
        ("layer_cam", 0.41),
    ]
    nothing = tournament(contender("a", cost=None), contender("b", gain=None))
    assert draw_costs(spots(nothing, {}), zero=True) == ""
    assert "No contender has both a gain and a time" in words(nothing)


@settings(max_examples=150, deadline=None)
@given(
    points=st.lists(st.tuples(st.floats(60, 1060), st.floats(40, 340)), min_size=1, max_size=40),
    length=st.integers(1, 26),
    size=st.sampled_from([WIDE, NARROW]),
)
def test_no_name_lies_on_another_or_on_a_mark(points, length, size):
    """A number stands in for a name that has no room, nothing for a number that has none."""
    points = [(40 + (x - 40) * size[0] / WIDE[0], y * size[1] / WIDE[1]) for x, y in points]
    texts = [("m" * length, str(k)) for k in range(len(points))]
    lines = [(x, y - 30, x, y + 30) for x, y in points]
    labels = place(points, texts, lines, rules=[(0, 99, 2000, 101)], size=size)
    assert len(labels) == len(points)
    boxes = [(k, label.box) for k, label in enumerate(labels) if label]
    for k, (x0, y0, x1, y1) in boxes:
        assert x0 >= 0
        assert y0 >= 0
        assert x1 <= size[0]
        assert y1 <= size[1]
        for other, (u0, v0, u1, v1) in boxes:
            assert other == k or x1 <= u0 or u1 <= x0 or y1 <= v0 or v1 <= y0
        for other, (x, y) in enumerate(points):
            assert other == k or not (x0 < x + MARK and x - MARK < x1 and y0 < y + MARK and y - MARK < y1)


def test_a_name_stands_beside_its_mark_and_off_the_zero_line():
    """At its right where there is room; above where the line of no gain runs through it."""
    (right,) = place([(100.0, 200.0)], [("seam", "1")], [(100, 190, 100, 210)])
    assert (right.text, right.side, right.y) == ("seam", "left", 200)
    (above,) = place([(100.0, 200.0)], [("seam", "1")], [(100, 190, 100, 210)], rules=[(0, 198, 1080, 202)])
    assert above.y > 205


@pytest.mark.parametrize("costs", [[1.1], [0.2, 40.0], [1.0, 1.0, 1.0]])
def test_any_span_of_costs_is_drawn(costs):
    """Nearly equal, a factor of 200, and all the same."""
    shown = [Spot("baseline", 1.0, 0, 0, 0, "baseline")]
    shown += [Spot(f"m{k}", cost, 2.0, 1.0, 3.0, "better", k + 1) for k, cost in enumerate(costs)]
    svg = draw_costs(shown, zero=True)
    assert "×" in svg
    assert draw_costs(shown, zero=True) == svg


# --- classes ----------------------------------------------------------------------------------------------------------


def test_a_cell_is_pale_exactly_where_its_interval_contains_0():
    """Also where it ends there, and where there is no interval; colour grows with the gain up to the strongest."""
    cases = {(0.01, 0.03): True, (-0.03, -0.01): True, (-0.01, 0.03): False, (0.0, 0.03): False, (None, None): False}
    for (low, high), certain in cases.items():
        assert gain_cell(ShownGain(value=0.02, low=low, high=high), 0.04, "a, cat").certain == certain
    assert gain_cell(shown_gain(-0.01, 0.02), 0.04, "x").text == "−1.0"
    assert [gain_cell(shown_gain(v, 0.01), 0.04, "x").strength for v in (0.01, -0.02, 0.4)] == [0.25, 0.5, 1.0]
    assert gain_cell(None, 0.04, "a, cat").says == "a, cat: not known"


def test_the_table_of_classes_has_numbers_for_all_its_contenders():
    results = full_tournament()
    page = Page(render_tournament(results))
    cells = [a for a in page.all("td") if "--strength" in str(a.get("style"))]
    assert len(cells) == len(CLASSES) * 5 == sum(len(row) for _, row in class_rows(results))
    assert {("pale" in str(a["class"])) for a in cells} == {True, False}
    assert any("seam, horse" in str(a["title"]) for a in cells)
    assert 'id="classes"' not in render_tournament(tournament(contender("a", class_gains={})))


# --- gallery, rounds, facts -------------------------------------------------------------------------------------------


def test_the_gallery_has_a_row_for_each_photograph_and_a_column_for_each_contender():
    """Photograph and true mask first, then ranks; own IoU under each mask, the best bold, and a missing mask is said."""
    results = full_tournament()
    gallery = contested(["oaa", BASELINE, "seam", "another"], 2)
    html = render_tournament(results, gallery)
    captions = re.findall(r"<figcaption><span title=\"([^\"]*)\"", html)
    assert captions == 2 * ["photograph", "true mask", BASELINE, "seam", "oaa", "another"]
    assert html.count("no mask</span>") == 1
    assert html.count('class="iou best">46.0') == 1  # without the fourth mask
    assert html.count('class="iou best">49.0') == 1
    images = Page(html).all("img")
    assert len(images) == 11
    assert all(str(image["src"]).startswith("data:image/webp") for image in images)
    assert "2007_000000: seam (cat" in str(images[3]["alt"])
    untrue = render_tournament(results, contested(["seam"], 1, truth=False))
    assert "true mask</span>" not in untrue
    assert 'id="gallery"' not in render_tournament(results)


def test_the_page_lists_the_photographs_that_it_shows():
    """So that one which is withdrawn can be found in it."""
    (meta,) = [
        a
        for a in Page(render_tournament(full_tournament(), contested(["a"], 2))).all("meta")
        if a.get("name") == "photographs"
    ]
    assert meta["content"] == '["2007_000000", "2007_000001"]'


def test_a_photograph_of_another_shape_is_refused_and_the_old_page_stays(tmp_path: Path):
    path = tmp_path / "data/tournament/report.html"
    write_tournament_report(path, full_tournament())
    before = path.read_bytes()
    (photograph,) = contested(["seam"], 1)
    with pytest.raises(ShapeError, match="photograph"):
        write_tournament_report(path, full_tournament(), [dataclasses.replace(photograph, photograph=np.zeros((4, 4)))])
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_rounds_are_shown_where_there_are_several():
    text = words(full_tournament())
    assert "Round Photographs Seeds Entered Dropped after it 1 110 1 8 eps 2 449 2 5 –" in text
    assert 'id="rounds"' not in render_tournament(tournament(contender("a")))


def test_the_facts_say_how_to_repeat_it():
    text = words(full_tournament())
    for part in (
        "437 with a score, 12 without a true mask",
        "0123456789abcdef",
        "2 cores of a processor",
        "2026-11-30 18:00",
    ):
        assert part in text
    assert "labelfactory tournament objectives" in text
    assert repeated(tournament(title="")) == "labelfactory tournament"


def test_advice_of_the_caller_stands_under_the_verdict():
    html = render_tournament(full_tournament(), advice=["Then type `labelfactory run`; <b>twice</b>."])
    assert "<code>labelfactory run</code>; &lt;b&gt;twice&lt;/b&gt;" in html


# --- any page ---------------------------------------------------------------------------------------------------------

FORTY = tournament(*(contender(f"method_{k}_with_a_long_name", 0.04 - 0.002 * k, cost=0.5 + k % 7) for k in range(40)))
NAMES = [c.name for c in FORTY.contenders]
PAGES = {
    "full": (full_tournament(), contested([BASELINE, "seam", "oaa"])),
    "forty": (FORTY, contested(NAMES, 1)),
    "guessed": (guessed(), contested([BASELINE, "pcm"], truth=False)),
    "alone": (tournament(), []),
    "nothing": (
        tournament(contenders=(), rounds=(), classes=(), seeds=(), title="", commit="", machine="", time=""),
        [],
    ),
}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_opens_offline_and_is_well_formed(name):
    """No address but those inside; ids are unique, links lead somewhere, and no script runs but its own, by its digest."""
    html = render_tournament(*PAGES[name])
    page = opens_offline(html)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv")]
    assert f"script-src 'sha256-{digest}'" in str(policy)
    assert str(policy).startswith("default-src 'none'")


def test_the_same_result_gives_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        write_tournament_report(tmp_path / name / "report.html", *PAGES["full"])
    assert (tmp_path / "a/report.html").read_bytes() == (tmp_path / "b/report.html").read_bytes()


@pytest.mark.slow
@settings(deadline=None, max_examples=10)
@given(
    text=st.text(min_size=1, max_size=80).map(
        lambda s: s + "</h1><script>x</script>\" onload='y' &amp; {{ 7 * 7 }} $x$ @1@ `c`"
    )
)
def test_any_name_stays_a_name(text):
    """Markup, template code, formulas and marks of ours arrive as text in every place that shows a name."""
    failed = contender("f", None, state="failed", problem=text)
    named = contender(
        text, 0.03, overlay={text: text}, supervision=(text,), class_gains={text: shown_gain(0.01, 0.002)}
    )
    lists = {"title": text, "split": text, "until": text, "guess": text, "machine": text, "commit": text, "time": text}
    rounds = (Round(images=3, seeds=1, entered=(text,), dropped=(text,)), Round(images=3, seeds=1, entered=()))
    right = Guess(tau=0.5, chosen=text, behind=0.1)
    results = tournament(named, failed, **lists, rounds=rounds, classes=("background", text), guess_was_right=right)
    (photograph,) = contested([text], 1)
    page = Page(render_tournament(results, [dataclasses.replace(photograph, image_id=text, why=text)], advice=[text]))
    assert len(page.all("script")) == 1
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
    assert page.text.count(text) >= 12
    assert any(text in str(image["alt"]) for image in page.all("img"))
    assert [row for row in page.all("tr") if row.get("data-name") == text]


@pytest.mark.parametrize("odd", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("with_truth", [True, False])
def test_a_page_of_values_that_are_not_known(odd, with_truth):
    """Wherever a number may be missing it is; nothing is called better, and no `nan` is on the page."""
    gain = ShownGain(value=odd, low=odd, high=odd)
    runs = tuple(r.model_copy(update={"score": odd, "seconds": odd, "memory_mb": None}) for r in contender("a").runs)
    unknown = {
        "score": odd,
        "at_best": odd,
        "guess": odd,
        "gain": gain,
        "gain_at_best": gain,
        "cost": odd,
        "runs": runs,
    }
    unknown |= {"by_seed": {0: gain, 1: gain}, "class_gains": {"cat": gain}}
    results = tournament(
        contenders=(
            Contender(name=BASELINE, state="finished", **unknown),
            Contender(name="a", state="finished", **unknown),
        ),
        with_truth=with_truth,
        guess_was_right=Guess(tau=odd, chosen="a", behind=math.nan),
    )
    (photograph,) = contested(["a"], 1)
    masks = {"a": ContenderMask(photograph.masks["a"].mask, odd)}
    html = render_tournament(results, [dataclasses.replace(photograph, masks=masks)])
    page = Page(html)
    assert not re.search(r"\b(nan|inf|None)\b", page.words.partition('"use strict"')[0])
    assert not re.search(r'data-(score|gain|cost|guess)="', html)
    assert "adopt" not in page.text


@pytest.mark.slow
def test_forty_contenders_make_a_page_that_a_browser_holds():
    """Pictures are small, so that twelve photographs of forty-one contenders take a few megabytes; each contender has its row."""
    (drawn,) = contested(NAMES, 1)
    large = dataclasses.replace(drawn, photograph=np.repeat(np.repeat(drawn.photograph, 2, axis=0), 2, axis=1))
    bare, html = render_tournament(FORTY), render_tournament(FORTY, [large])
    pictures = len(Page(html).all("img"))
    assert pictures == 42
    body = base64.b64decode(str(Page(html).all("img")[0]["src"]).partition(",")[2])
    assert cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR).shape == (180, 240, 3)
    assert len(bare) + 12 * 43 * (len(html) - len(bare)) / pictures < 8_000_000
    assert len([row for row in Page(html).all("tr") if "data-rank" in row]) == 40
