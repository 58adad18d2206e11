"""What was withdrawn and not finished is finished around whatever a command or a flow does, even where that fails."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest
from made_line import MadeLine

from flows.line.kept_answers import KEPT
from flows.line.unfinished import finishing_withdrawals
from labelfactory.lock import BusyError
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.record import record
from lineage.withdraw import begin, touched_by


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project under DVC, recorded, in which the withdrawal of image-1 was killed after its first step."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.setattr("flows.line.withdrawals.deliver", lambda: None)
    made = MadeLine()
    Path(".dvc").mkdir(exist_ok=True)
    Path(".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n")
    record()
    begin(Ledger(), touched_by(Lookup(), ["image-1"]), by="t", reason="")
    return made


def reports() -> list[dict]:
    """Signed reports, oldest first."""
    names = [event["detail"]["report"] for event in Ledger().events("signed off")]
    return [json.loads(Path("data/ledger/withdrawals", name).read_text()) for name in names]


def test_a_run_that_makes_the_outputs_again_completes_it(line, capsys):
    """The photograph is gone before the run, and the report is signed after it; a kept answer may name the image."""
    answer = KEPT / "answer.json"
    answer.parent.mkdir(parents=True)
    answer.write_text('{"answer": "image-1"}')
    with finishing_withdrawals("the test") as found:
        assert [each.images for each in found] == [("image-1",)]
        assert not Path("data/raw/image-1.png").exists()
        assert reports() == []
        line.run()
    (report,) = reports()
    assert report["complete"]
    assert not answer.exists()
    assert "the current outputs contain nothing of these images (image-1)" in capsys.readouterr().err
    with finishing_withdrawals("the test") as found:
        assert found == []


def test_a_run_that_fails_leaves_a_report_of_what_is_left(line):
    """Once: a second failure says the same."""
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), finishing_withdrawals("the test"):
            raise ZeroDivisionError
        (report,) = reports()
        assert "data/masks/shard-00000.parquet: the image's id" in report["left_over"]


def test_while_the_line_runs_nothing_is_begun(line):
    """The command ends before it does anything."""
    Path(".dvc/tmp").mkdir()
    with Path(".dvc/tmp/lock").open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(BusyError), finishing_withdrawals("the test"):
            pytest.fail("the command went on")
    assert Path("data/raw/image-1.png").exists()


def test_where_nothing_was_withdrawn_dvc_is_not_loaded(tmp_path):
    """Commands that ask every time would else start seconds later."""
    script = (
        "import sys; from flows.line.unfinished import finishing_withdrawals\n"
        "with finishing_withdrawals('x') as found: assert found == []\n"
        "assert 'dvc' not in sys.modules"
    )
    root = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env={"PYTHONPATH": str(root)}, check=True, timeout=120)
