"""What a run says of masks whose quality fell, and what `--strict` makes of it; only of a run that has rated them."""

import json
from pathlib import Path

import pytest
from made_line import MadeLine

from app import run
from flows.label_factory import final_state
from flows.line.summary import quality_falls, read_summary
from flows.run.git_tree import check_tree
from labelfactory.errors import DataError
from labelfactory.settings.wiring import REPORTS

FELL = "The quality of all masks fell from 80.0 to 60.0."


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A line whose last run said so, and a run that checks and records nothing."""
    monkeypatch.chdir(tmp_path)
    made = MadeLine()
    report = {"stage": "rate_masks", "seconds": 1.0, "peak_memory_mb": 100, "rows_computed": 4, "falls": [FELL]}
    (REPORTS / "rate_masks.json").write_text(json.dumps(report))
    monkeypatch.setattr(run, "check_run", lambda *words, **options: None)
    monkeypatch.setattr(run, "remember", lambda tree: None)
    return made


def bring_up_to_date(monkeypatch: pytest.MonkeyPatch, ran: list[str], *, strict: bool) -> None:
    monkeypatch.setattr(run, "reproduce", lambda *words, **options: ran)
    run.bring_up_to_date((), check_tree(strict=False), retrain=True, strict=strict)


def test_a_run_prints_it_below_its_table(line, monkeypatch, capsys):
    bring_up_to_date(monkeypatch, ["rate_masks", "evaluate"], strict=False)
    assert FELL in " ".join(capsys.readouterr().out.split())
    assert FELL in read_summary().notes  # as in the flow's artifact


def test_strict_fails_after_all_is_done(line, monkeypatch, capsys):
    with pytest.raises(DataError, match=r"fell from 80\.0 to 60\.0") as caught:
        bring_up_to_date(monkeypatch, ["rate_masks"], strict=True)
    assert "has finished" in caught.value.remedy
    assert "rate_masks" in capsys.readouterr().out


@pytest.mark.parametrize("ran", [[], ["evaluate"]])
def test_a_run_that_has_rated_nothing_does_not_fail(line, monkeypatch, ran):
    """What the run before it said is known already."""
    bring_up_to_date(monkeypatch, ran, strict=True)
    assert quality_falls(ran) == []
    assert quality_falls() == [FELL]


@pytest.mark.parametrize(
    ("ran", "strict", "name"),
    [
        (["refine_crf", "rate_masks"], False, "Completed"),
        (["refine_crf", "rate_masks"], True, "Quality fell"),
        (["evaluate"], True, "Completed"),
    ],
)
def test_a_flow_says_it_in_its_last_message(line, ran, strict, name):
    """Which goes to the log and the webhook; with `strict` the run has failed."""
    state = final_state(ran, of=9, strict=strict)
    assert state.name == name
    assert (FELL in str(state.message)) == ("rate_masks" in ran)
    assert str(state.message).startswith(f"{len(ran)} of 9 stages ran")


def test_without_a_report_nothing_fell(line):
    Path(REPORTS / "rate_masks.json").unlink()
    assert quality_falls() == []
