"""What `flows.line.dvc_line` asks of DVC, on a line of one-line stages: order, reasons, freezing, failures."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from workspace import ROOT

from flows.line.dvc_line import reproduce
from flows.line.dvc_repo import locked_stages
from flows.line.failure import StageFailedError
from flows.line.stage_states import line_status
from labelfactory.errors import UserError
from labelfactory.settings.wiring import read_wiring

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")  # DVC's own, about a library that it uses

LABELS = ("label_affinity", "refine_crf")
LEARNING = read_wiring(ROOT / "dvc.yaml").learning


def stage(name: str, dep: str) -> dict:
    """Writes its dep and its section into its output; ends with the section's exit code."""
    program = f"import sys,yaml;s=yaml.safe_load(open('params.yaml'))['{name}'];"
    program += f"open('{name}.txt','w').write(open('{dep}').read()+str(s['value']));sys.exit(s['code'])"
    return {"cmd": f'python -c "{program}"', "deps": [dep], "params": [name], "outs": [f"{name}.txt"]}


@pytest.fixture
def line(tmp_path, monkeypatch) -> Path:
    """One DVC project: train_classifier → label_affinity → … → refine_crf, and all stages that learn."""
    names = [LEARNING[0], LABELS[0], *LEARNING[1:], LABELS[1]]
    deps = ["images.txt"] + [f"{name}.txt" for name in names[:-1]]
    # labels follow images too, as in the real line: they are stale even where the model stays as it is
    wired = {name: stage(name, dep) for name, dep in zip(names, deps, strict=True)}
    for name in LABELS:
        wired[name]["deps"].append("images.txt")
    for name in LEARNING:
        wired[name]["meta"] = {"kind": "network"}
    (tmp_path / "dvc.yaml").write_text("# a comment\n" + yaml.safe_dump({"stages": wired}, sort_keys=False))
    values = {name: {"value": 1, "code": 0, "inner": {"list": ["a"]}} for name in names}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "images.txt").write_text("one")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def set_param(folder: Path, dotted: str, value: object) -> None:
    values = yaml.safe_load((folder / "params.yaml").read_text())
    *path, last = dotted.split(".")
    inner = values
    for key in path:
        inner = inner[key]
    inner[last] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(values))


def states() -> dict[str, tuple[str, tuple[str, ...]]]:
    return {state.name: (state.state, state.reasons) for state in line_status()}


@pytest.mark.slow
def test_a_line_runs_once_in_order_and_says_what_ran(line):
    """Never run, then all of it, then up to date, then nothing."""
    names = list(yaml.safe_load((line / "dvc.yaml").read_text())["stages"])
    assert states() == dict.fromkeys(names, ("never run", ()))
    assert locked_stages() == set()
    assert reproduce() == names
    assert states() == dict.fromkeys(names, ("up to date", ()))
    assert locked_stages() == set(names)
    assert reproduce() == []
    assert reproduce(["label_affinity"], force=True) == ["train_classifier", "label_affinity"]


def test_a_stage_that_the_line_had_once(line):
    """After an update that renamed it, dvc.lock names it still, and its report lies there."""
    (line / "dvc.lock").write_text("schema: '2.0'\nstages: {assess_masks: {cmd: python, deps: [], outs: []}}\n")
    (line / "data" / "reports").mkdir(parents=True)
    (line / "data" / "reports" / "assess_masks.json").write_text(json.dumps({"given": ["0"]}))
    assert {state for state, _ in states().values()} == {"never run"}


def test_status_names_the_key_the_file_and_what_it_was(line):
    """Key by key, nested ones too; a file that changed; and only for the stage that reads it."""
    reproduce()
    set_param(line, "refine_crf.value", 2)
    set_param(line, "refine_crf.inner.list", ["a", "b"])
    set_param(line, "refine_crf.fresh", True)
    found = states()
    assert found.pop("refine_crf") == (
        "stale",
        (
            "params.yaml refine_crf.inner.list: ['a'] → ['a', 'b']",
            "params.yaml refine_crf.value: 1 → 2",
            "params.yaml refine_crf.fresh: not there → True",
        ),
    )
    assert {state for state, _ in found.values()} == {"up to date"}
    (line / "images.txt").write_text("two")
    assert states()["train_classifier"] == ("stale", ("images.txt: modified",))
    (line / "label_affinity.txt").unlink()
    assert "output label_affinity.txt: deleted" in states()["label_affinity"][1]


@pytest.mark.slow
def test_without_retraining_only_labels_are_made(line):
    """New images: labels run, what learns stays, dvc.yaml is never written, and the next full run learns."""
    with pytest.raises(UserError, match="there are no models yet: train_classifier, "):
        reproduce(retrain=False)
    reproduce()
    wired = (line / "dvc.yaml").stat()
    (line / "images.txt").write_text("one two")
    assert reproduce(retrain=False) == list(LABELS)
    assert (line / "dvc.yaml").stat().st_mtime_ns == wired.st_mtime_ns
    assert (line / "train_classifier.txt").read_text() == "one1"
    assert {state for state, _ in states().values()} <= {"stale", "up to date"}
    assert reproduce()[0] == "train_classifier"
    assert (line / "train_classifier.txt").read_text() == "one two1"


@pytest.mark.slow
def test_without_retraining_a_stage_that_learns_cannot_be_asked_for(line):
    """Two wishes that contradict each other."""
    reproduce()
    with pytest.raises(UserError, match="leaves train_affinity as it is"):
        reproduce(["train_affinity"], retrain=False)
    (line / "images.txt").write_text("two")
    assert reproduce(["label_affinity"], retrain=False) == ["label_affinity"]


@pytest.mark.slow
def test_a_stage_frozen_by_hand_is_shown_and_left_alone(line):
    """`dvc freeze` is the user's own wish."""
    reproduce()
    subprocess.run(["dvc", "freeze", "-q", "train_classifier"], check=True)
    (line / "images.txt").write_text("two")
    assert states()["train_classifier"][0] == "frozen"
    assert "train_classifier" not in reproduce()
    assert states()["train_classifier"][0] == "frozen"


@pytest.mark.slow
@pytest.mark.parametrize("code", [1, 2])
def test_a_failed_stage_is_named_with_its_exit_code(line, code):
    """2 where the user can mend it, 1 for a bug; stages before it keep what they made."""
    set_param(line, "calibrate_seeds.code", code)
    with pytest.raises(StageFailedError, match="the stage calibrate_seeds failed") as caught:
        reproduce()
    assert (caught.value.stage, caught.value.exit_code) == ("calibrate_seeds", code)
    assert locked_stages() == {"train_classifier", "label_affinity"}
    set_param(line, "calibrate_seeds.code", 0)
    assert reproduce()[0] == "calibrate_seeds"


@pytest.mark.parametrize(("code", "signal"), [(-9, 9), (137, 9), (143, 15)])
def test_a_killed_stage_is_no_error_of_its_user(code, signal):
    """Whether the signal comes as a negative number or as a shell says it."""
    error = StageFailedError("extract_cams", code)
    assert (error.exit_code, error.killed_by) == (1, signal)
    assert str(error) == f"the stage extract_cams was killed by signal {signal}"


def test_what_dvc_refuses_is_an_error_of_two_parts(line, tmp_path_factory, monkeypatch):
    """A missing input, an unknown stage, a folder that is no project: problem and remedy, no traceback."""
    (line / "images.txt").unlink()
    with pytest.raises(UserError, match=r"images\.txt") as caught:
        reproduce()
    assert caught.value.remedy
    with pytest.raises(UserError, match="nonsense") as caught:
        reproduce(["nonsense"])
    assert caught.value.remedy
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(UserError, match="DVC") as caught:
        line_status()
    assert "root folder" in caught.value.remedy


@pytest.mark.slow
def test_a_lock_file_in_conflict_is_an_error_of_two_parts(line):
    """Half-merged, with git's marks in it: said as such by the run and by status, and nothing is overwritten."""
    reproduce()
    path = line / "dvc.lock"
    path.write_text("<<<<<<< ours\n" + path.read_text() + "=======\nschema: '2.0'\n>>>>>>> theirs\n")
    before = path.read_text()
    for ask in (reproduce, line_status):
        with pytest.raises(UserError, match=r"dvc\.lock: line 1: git could not merge it") as caught:
            ask()
        assert "git checkout --ours dvc.lock" in caught.value.remedy
    assert path.read_text() == before


@pytest.mark.slow
def test_a_run_prints_what_its_stages_print_and_no_more(line, capfd):
    """DVC's own words about stages and lock files are not said, and are back afterwards."""
    level = logging.getLogger("dvc").level
    assert len(reproduce()) > 3
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""
    assert logging.getLogger("dvc").level == level
    with (line / "dvc.yaml").open("a") as stream:
        stream.write("  loud:\n    cmd: echo 'loud; done in 1 s'\n")
    reproduce(["loud"])
    assert capfd.readouterr().out == "loud; done in 1 s\n"


def test_no_room_is_named_like_one_of_pythons():
    """Prefect puts flows/ on the path of each process that loads a flow, a cluster's workers among them."""
    rooms = {path.stem for path in (ROOT / "flows").glob("*.py")}
    assert "label_factory" in rooms
    assert not rooms & sys.stdlib_module_names
