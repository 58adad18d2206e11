"""The table of methods: every plug-in has its row, no figure stands without a commit, and the page is what the table gives."""

import csv
import io
from pathlib import Path

import pytest
from contested import baseline, contender, full_tournament, shown_gain, tournament

from benchmarks import methods
from benchmarks.method_rows import COLUMNS, FAMILIES, NOT_MEASURED, MethodRow, plug_ins, read_table, table_text
from benchmarks.methods import HOMES, chosen_plug_ins, main, page, rows_of, with_rows
from labelfactory.errors import DataError, UserError
from labelfactory.tournament import Round, write_results

ROWS = read_table()
FIGURES = {"data": "VOC", "list": "train", "images": 437, "seeds": "0 1", "until": "seeds", "score": 61.9, "gain": 1.5}
SEAM = {"system": "SEAM", "family": "objectives", "plug_in": "objectives/seam", "remark": "checked"}


# --- the table as it is committed -------------------------------------------------------------------------------------


def test_the_page_is_what_the_table_gives():
    assert methods.PAGE.read_text(encoding="utf-8") == page(ROWS), "Type `make docs`."


def test_the_table_is_sorted_one_row_a_line():
    """So that branches that add rows merge."""
    text = methods.TABLE.read_text(encoding="utf-8")
    assert text == table_text(ROWS), "Type `make docs`, which sorts it."
    assert text == table_text(ROWS[::-1])
    assert len({row.order for row in ROWS}) == len(ROWS)
    assert text.count("\n") == len(ROWS) + 1


def test_every_plug_in_has_a_row_and_every_row_a_plug_in_or_a_reason():
    """A method that is added under models/ asks for its row; one that is renamed takes its row along."""
    known = plug_ins()
    assert len(known) > 30
    named = {plug_in for row in ROWS for plug_in in row.plug_ins}
    assert known - named == set(), "Add a row to docs/methods.csv and type `make docs`."
    assert named - known == set()
    assert [row.system for row in ROWS if not row.plug_in and not row.remark and not row.is_measured] == []


def test_every_family_of_plug_ins_has_a_section():
    assert {each.partition("/")[0] for each in plug_ins()} == set(HOMES)
    assert set(HOMES.values()) | {"cross-image"} == set(FAMILIES)


# --- what a row must be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({**FIGURES, "commit": ""}, "commit"),
        ({**FIGURES, "commit": "1234567", "data": ""}, "a figure needs data"),
        ({**FIGURES, "commit": "not one"}, "commit"),
        ({"remark": ""}, "a remark that says why"),
        ({"family": "elsewhere"}, "is none of"),
        ({**FIGURES, "commit": "1234567", "low": 2.0, "high": 3.0}, "outside of its interval"),
        ({"seeds": "0, 1"}, "seeds"),
        ({"gain": "much"}, "gain"),
        ({"images": "-3"}, "images"),
    ],
)
def test_a_row_that_is_not_complete_is_refused(tmp_path, changes, problem):
    """With its line and what is wrong; the same row with all of it is taken."""
    values = {**dict.fromkeys(COLUMNS, ""), **SEAM, **changes}
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerow(values)
    path = tmp_path / "methods.csv"
    path.write_text(stream.getvalue())
    with pytest.raises(DataError, match=problem) as caught:
        read_table(path)
    assert "line 2" in str(caught.value)
    whole = MethodRow(**{**SEAM, **FIGURES, "commit": "1234567", "low": 1.0, "high": 2.0})
    path.write_text(table_text([whole]))
    assert read_table(path) == [whole]


def test_other_columns_are_refused(tmp_path):
    path = tmp_path / "methods.csv"
    path.write_text("system,family\nSEAM,objectives\n")
    with pytest.raises(DataError, match="columns"):
        read_table(path)


# --- rows of a tournament ---------------------------------------------------------------------------------------------


def test_parameters_name_their_methods():
    """By name or with knobs, the objective first; a knob and an unknown name are none."""
    overlay = {"extract_cams.method": {"name": "own_maps"}, "train_classifier.objective": "seam", "random_walk.beta": 4}
    assert chosen_plug_ins(overlay) == ["objectives/seam", "cams/own_maps"]
    assert (
        chosen_plug_ins({"refine_crf.scale": 0.5, "nowhere.method": "cam", "extract_cams.method": "unheard_of"}) == []
    )


def test_a_tournament_gives_the_rows_of_its_contenders():
    """Figures in points, named as the table names the plug-in; also of losers, dropped and failed ones; not of waiting ones."""
    rows = {row.plug_in: row for row in rows_of(full_tournament(), ROWS, data="VOC animals")}
    assert set(rows) >= {"objectives/seam", "objectives/oaa", "objectives/oc_cse", "objectives/eps"}
    seam = rows["objectives/seam"]
    assert (seam.system, seam.family, seam.paper) == ("SEAM", "objectives", "arXiv:2004.04581")
    assert (seam.score, seam.gain, seam.low, seam.high, seam.gain_at_best) == (63.4, 3.4, 2.3, 4.5, 2.7)
    assert (seam.seconds_ratio, seam.images, seam.seeds, seam.until, seam.list) == (2.4, 437, "0 1", "seeds", "train")
    assert (seam.commit, seam.data, seam.supervision) == ("0123456789ab", "VOC animals", "imagenet-tags; tags")
    assert "strides 8 and 16" in seam.deviations
    assert rows["objectives/eps"].images == 110
    assert "dropped after round 1" in rows["objectives/eps"].remark
    assert "needs saliency" in rows["objectives/eps"].remark
    every = rows_of(full_tournament(), ROWS, data="VOC animals")
    assert [row.remark.partition(":")[0] for row in every if not row.is_measured] == ["failed"]
    assert len(every) == 6


def test_a_contender_without_a_plug_in_says_what_it_is():
    """Parameters of the line are in the remark, also where they come with a plug-in; and that the code was not committed."""
    knobs = contender("steep", overlay={"random_walk.beta": 16})
    both = contender("seam-8", overlay={"train_classifier.objective": "seam", "train_classifier.epochs": 8})
    steep, seam = rows_of(tournament(knobs, both, dirty=True), ROWS, data="VOC")
    assert (steep.system, steep.plug_in) == ("steep", "")
    assert "random_walk.beta 16" in steep.remark
    assert "train_classifier.epochs 8" in seam.remark
    assert "in no commit" in seam.remark


def test_a_tournament_without_commit_or_truth_gives_no_rows():
    with pytest.raises(UserError, match="no commit"):
        rows_of(tournament(contender("seam"), commit=""), ROWS, data="VOC")
    with pytest.raises(UserError, match="no true masks"):
        rows_of(tournament(contender("seam"), with_truth=False), ROWS, data="VOC")


def test_rows_replace_what_waited_for_them_and_those_of_the_same_measurement():
    """Another data set, another commit and other plug-ins keep their rows; a failure does not replace the row that waits."""
    waiting = MethodRow(**{**SEAM, "remark": NOT_MEASURED})
    other = MethodRow(system="OAA", family="objectives", plug_in="objectives/oaa", remark=NOT_MEASURED)
    first = rows_of(tournament(contender("seam", 0.03)), [waiting, other], data="VOC")
    table = with_rows([waiting, other], first)
    assert {row.plug_in: row.is_measured for row in table} == {"objectives/seam": True, "objectives/oaa": False}
    assert with_rows(table, first) == [other, *first]
    second = rows_of(tournament(contender("seam", 0.02)), table, data="demo")
    assert len(with_rows(table, second)) == 3
    broken = {"state": "failed", "problem": "x", "overlay": {"train_classifier.objective": "oaa"}}
    failed = rows_of(tournament(contender("oaa", None, **broken)), [other], data="VOC")
    assert failed[0].plug_in == "objectives/oaa"
    assert with_rows([other], failed) == [other, *failed]


def test_the_command_adds_rows_and_writes_table_and_page(tmp_path: Path, monkeypatch, capsys):
    """Typed twice, nothing changes; a file that is none is an error of two lines."""
    table, page_file, results = tmp_path / "methods.csv", tmp_path / "methods.md", tmp_path / "results.json"
    table.write_text(methods.TABLE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(methods, "TABLE", table)
    monkeypatch.setattr(methods, "PAGE", page_file)
    rounds = (Round(images=437, seeds=2, entered=("baseline", "seam")),)
    made = tournament(contender("seam", 0.031, gain_at_best=shown_gain(-0.0004, 0.01)), rounds=rounds)
    write_results(made, results)
    main(["add", str(results), "--data", "VOC animals"])
    assert "1 rows of" in capsys.readouterr().out
    once = table.read_text(encoding="utf-8")
    (line,) = [line for line in once.splitlines() if line.startswith("SEAM,")]
    assert ",63.1,3.1,2.1,4.1,0.0,1.3," in line
    assert (
        "| `objectives/seam` | **+3.1 [+2.1, +4.1]**, to 63.1 | +0.0 | 1.3 × | VOC animals, `train`, 437 photographs"
        in (page_file.read_text(encoding="utf-8"))
    )
    main(["add", str(results), "--data", "VOC animals"])
    main([])
    assert table.read_text(encoding="utf-8") == once
    with pytest.raises(SystemExit):
        main(["add", str(tmp_path / "none.json"), "--data", "VOC"])
    assert capsys.readouterr().err.startswith("error: ")


def test_a_page_holds_what_a_cell_could_break():
    """A bar and a line break in a remark stay in their cell."""
    row = MethodRow(**{**SEAM, "remark": "a | b\nc"})
    (line,) = [line for line in page([row]).splitlines() if line.startswith("| SEAM")]
    assert line.endswith("| a \\| b c |")
    assert baseline().name not in page([row])
