"""What every stage does around its science: params checked first, a report, exit codes; dvc.yaml as it is read."""

import json
import platform
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from brightness import Brightness

from labelfactory.errors import MissingError, ParamsError
from labelfactory.measured_precision import computed_in
from labelfactory.rows.shards import Row, Sample
from labelfactory.settings.params import Section
from labelfactory.settings.wiring import read_wiring, stage_wiring
from labelfactory.stage import runner as stage_module
from labelfactory.stage.base import Stage
from labelfactory.stage.given import used_what_is_given
from labelfactory.stage.runner import _keeps, read_sections, run_guarded, run_stage
from labelfactory.store.limit import VARIABLE


class CountConfig(Section):
    upto: int


class Count(Stage[CountConfig]):
    writes = "numbers"

    def run(self) -> dict[str, Any]:
        if self.cfg.upto == 13:
            raise MissingError("no 13", "Type 12.")
        if self.cfg.upto == 14:
            raise ZeroDivisionError
        (self.output / "n").write_text(str(self.cfg.upto))
        return {"counted": self.cfg.upto}


class Borrower(Stage[Section]):
    writes = "sum"
    borrows = ("count",)

    def run(self) -> dict[str, Any]:
        return {"borrowed": self.borrowed["count"].upto}  # type: ignore[attr-defined]


@pytest.fixture
def project(workspace, monkeypatch):
    workspace.wire("count", "borrower")
    kinds = {"count": Count, "borrower": Borrower}
    for name, kind in kinds.items():
        monkeypatch.setattr(kind, "stage_name", staticmethod(lambda name=name: name))  # else that of this file
    monkeypatch.setattr(stage_module, "stage_class", kinds.__getitem__)
    Path("params.yaml").write_text("count: {upto: 3}\nborrower: {}\n")
    return workspace


def test_a_run_leaves_output_and_report(project):
    """Seconds and memory beside what the stage says of itself."""
    report = run_stage("count")
    assert Path("data/numbers/n").read_text() == "3"
    assert json.loads(Path("data/reports/count.json").read_text()) == report
    assert (report["stage"], report["counted"]) == ("count", 3)
    assert report["seconds"] >= 0
    assert 1 < report["peak_memory_mb"] < 100_000
    (ended,) = report["ended"]
    assert abs(datetime.now(UTC) - datetime.fromisoformat(ended["time"])) < timedelta(minutes=10)
    assert ended["host"] == platform.node()


def test_a_stage_may_read_anothers_section(project):
    """Where it says so."""
    assert run_stage("borrower")["borrowed"] == 3


def test_a_wrong_section_of_any_stage_stops_each_stage(project, capsys):
    """Before the first image, with all problems and exit code 2."""
    Path("params.yaml").write_text("count: {upto: x}\nborrower: {more: 1}\n")
    with pytest.raises(ParamsError, match="2 problems"):
        read_sections()
    assert run_guarded("count") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: params.yaml: 2 problems\n")
    assert "borrower.more" in said
    assert not Path("data/numbers").exists()


def test_exit_codes(project, capsys):
    """0 done; 2 and two lines for what the user can mend; a bug is not caught."""
    assert run_guarded("count") == 0
    assert "count: done in" in capsys.readouterr().err
    Path("params.yaml").write_text("count: {upto: 13}\nborrower: {}\n")
    assert run_guarded("count") == 2
    assert capsys.readouterr().err == "error: no 13\nType 12.\n"
    Path("params.yaml").write_text("count: {upto: 14}\nborrower: {}\n")
    with pytest.raises(ZeroDivisionError):
        run_guarded("count")


def test_a_failed_run_leaves_the_old_report(project):
    """A report tells of a finished run."""
    run_stage("count")
    Path("params.yaml").write_text("count: {upto: 13}\nborrower: {}\n")
    with pytest.raises(MissingError):
        run_stage("count")
    assert json.loads(Path("data/reports/count.json").read_text())["counted"] == 3


class Given(Stage[CountConfig]):
    writes = "numbers"
    meanwhile: ClassVar[list[Callable[[], object]]] = []

    def run(self) -> dict[str, Any]:
        said = Path("data/given/table").read_text()
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return {"counted": self.cfg.upto, "given": said}


def rewrite_given(text: str) -> Callable[[], object]:
    return partial(Path("data/given/table").write_text, text)


@pytest.fixture
def given(project, monkeypatch):
    """A stage that reads what no stage makes."""
    body = {"outs": ["data/numbers"], "deps": ["data/given"]}
    project.wire("borrower", count=body)
    monkeypatch.setattr(Given, "stage_name", staticmethod(lambda: "count"))
    monkeypatch.setattr(stage_module, "stage_class", {"count": Given, "borrower": Borrower}.__getitem__)
    Path("data/given").mkdir(parents=True)
    Path("data/given/table").write_text("before")
    return project


def test_a_stage_whose_input_changes_while_it_runs_runs_again(given, monkeypatch, capsys):
    """DVC notes inputs when the stage has ended: a correction that it never used would be noted as used."""
    monkeypatch.setattr(Given, "meanwhile", [rewrite_given("a correction")])
    assert run_stage("count")["given"] == "a correction"
    assert "count: data/given/table changed while it ran" in capsys.readouterr().err
    other = partial(Path("params.yaml").write_text, "count: {upto: 5}\nborrower: {}\n")
    monkeypatch.setattr(Given, "meanwhile", [other])
    assert run_stage("count")["counted"] == 5
    assert "params.yaml: count changed while it ran" in capsys.readouterr().err


def test_an_input_that_changes_each_time_ends_the_run(given, monkeypatch):
    """With exit code 2 and the report of before; another stage's section, and a file in the making, are no inputs."""
    monkeypatch.setattr(Given, "meanwhile", [rewrite_given("x" * size) for size in range(7, 10)])
    assert run_guarded("count") == 2
    assert not Path("data/reports/count.json").exists()
    more = partial(Path("params.yaml").write_text, "count: {upto: 3}\nborrower: {}\nmore: {}\n")
    monkeypatch.setattr(Given, "meanwhile", [partial(Path("data/given/.table.1.tmp").write_text, "half"), more])
    assert run_guarded("count") == 0
    assert len(Given.meanwhile) == 1


def test_a_stage_whose_code_changes_while_it_runs_leaves_the_rest_to_a_new_process(project, monkeypatch, capsys):
    """As `git checkout` does, which changes params too: this process has loaded the code of before, and a second pass in it would
    give what that makes the key of the code of now. The report says that the stage used something else."""
    project.wire("borrower", count={"outs": ["data/numbers"], "deps": ["code"]})
    run, passes = Count.run, []

    def checkout(stage: Count) -> dict[str, Any]:
        Path("code/science.py").write_text("answer = 43\n")
        Path("params.yaml").write_text("count: {upto: 5}\nborrower: {}\n")
        passes.append(run(stage))
        return passes[-1]

    monkeypatch.setattr(Count, "run", checkout)
    run_stage("count")
    assert passes == [{"counted": 3}]
    assert "count: its code changed while it ran" in capsys.readouterr().err
    assert not used_what_is_given("count")
    run_stage("count")
    assert used_what_is_given("count")


# --- precisions -------------------------------------------------------------------------------------------------------


class InPrecision(Brightness):
    """Computes in another precision for another factor."""

    def process(self, sample: Sample) -> Row:
        computed_in.add("32-true" if self.cfg.factor == 1 else "bf16-mixed")
        return super().process(sample)


def bright(factor: int) -> str:
    """The precision in the report of a run of its own process."""
    computed_in.clear()
    Path("params.yaml").write_text(f"brightness: {{factor: {factor}}}\n")
    return str(run_stage("brightness").get("precision", "unknown"))


@pytest.fixture
def bright_project(workspace, monkeypatch):
    workspace.wire(brightness={"outs": ["data/brightness"], "deps": ["data/dataset"]})
    monkeypatch.setattr(stage_module, "stage_class", {"brightness": InPrecision}.__getitem__)
    monkeypatch.setattr(InPrecision, "processed", [])
    monkeypatch.setenv(VARIABLE, "1")
    yield workspace
    computed_in.clear()


def test_a_report_has_the_precision_of_the_last_one_where_its_rows_are_still_there(bright_project):
    """Of all rows, or of some; not where they came out of the store, whose rows tell no precision."""
    assert [bright(1), bright(1), bright(2), bright(2)] == ["32-true", "32-true", "bf16-mixed", "bf16-mixed"]
    assert [bright(1), bright(1)] == ["unknown", "unknown"]
    assert bright(3) == "bf16-mixed"
    bright_project.repaint("a", seed=99)
    assert bright(3) == "bf16-mixed"
    bright_project.repaint("b", seed=99)
    assert bright(1) == "32-true"


def test_a_report_about_another_output_tells_no_precision_of_this_one(bright_project):
    """As of a stage that was killed between its output and its report; nor does one of an earlier version, without digests."""
    assert bright(1) == "32-true"
    before = Path("data/reports/brightness.json").read_text()
    bright(2)
    Path("data/reports/brightness.json").write_text(before)
    assert bright(2) == "unknown"
    assert bright(3) == "bf16-mixed"
    report = json.loads(Path("data/reports/brightness.json").read_text())
    Path("data/reports/brightness.json").write_text(json.dumps({k: v for k, v in report.items() if k != "made"}))
    assert bright(3) == "unknown"


def test_a_network_out_of_the_store_has_not_the_precision_of_the_last_report():
    for metrics, keeps in (
        ({"trained": True}, False),
        ({"trained": False}, True),
        ({"trained": False, "found": True}, False),
        ({"rows_computed": 2, "rows_copied": 0}, False),
        ({"rows_computed": 2, "rows_copied": 1}, True),
        ({"rows_computed": 0, "rows_copied": 0, "rows_found": 3}, False),
        ({"found": True}, False),
        ({"miou": 0.5}, False),
    ):
        assert _keeps(metrics) is keeps


def test_the_section_of_a_subclass_is_its_own():
    """Not that of the class which it derives from."""

    class Other(Section):
        pass

    class Child(Count):
        section = Other

    assert (Count.section, Child.section) == (CountConfig, Other)
    assert Count.stage_name() == "test_stage"


def test_the_wiring_is_read_in_order(workspace):
    """Outputs with and without flags; code is what lies outside data/."""
    Path("dvc.yaml").write_text(
        "stages:\n"
        "  b: {cmd: python -m stages.b, deps: [data/x, code], params: [b], outs: [data/b: {persist: true}], metrics: [m]}\n"
        "  a: {cmd: python -m stages.a}\n"
    )
    wiring = read_wiring()
    assert list(wiring) == ["b", "a"]
    assert wiring["b"].outs == ("data/b",)
    assert wiring["b"].metrics == ("m",)
    assert wiring["b"].code == (Path("code"),)
    assert wiring["a"].deps == ()
    with pytest.raises(ParamsError, match="'bb' is not a stage; did you mean `b`"):
        stage_wiring("bb")


def test_a_stages_code_digest_is_over_what_its_file_imports(workspace):
    """Another file that dvc.yaml lists changes nothing: DVC then asks the stage, and the stage compares keys."""
    workspace.wire("a")
    Path("code/other.py").write_text("x = 1\n")
    first = stage_wiring("a").code_digest()
    Path("code/other.py").write_text("x = 2\n")
    assert stage_wiring("a").code_digest() == first
    Path("code/science.py").write_text("answer = 4\n")
    assert stage_wiring("a").code_digest() != first
