"""A node whose inputs change: what a stage made of other code or corrections than planned is not taken for what was planned."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from contest import make_project

from flows.tournaments.jobs import job_of
from flows.tournaments.nodes import DONE, Node
from flows.tournaments.setup import Wish, set_up
from flows.tournaments.work import Workshop
from labelfactory.errors import UserError
from labelfactory.settings.thresholds import EVIDENCE
from labelfactory.settings.wiring import DATA, METRICS, REPORTS, read_wiring

STAGE = """
import json, sys
from pathlib import Path
from labelfactory.stage.given import digest_code
report = {"seconds": 1.0, "peak_memory_mb": 1, "given_code": [digest_code(sys.argv[1])]}
Path(f"data/reports/{sys.argv[1]}.json").write_text(json.dumps(report))
"""
"""What a stage writes of itself, by the code that it found when it began."""


class Works(Workshop):
    """Starts such a stage. `first` is done before it begins, `then` when it has ended."""

    def __init__(self, first: Callable[[], object] = str, then: Callable[[], object] = str) -> None:
        super().__init__(plain=True)
        self.first, self.then, self.ran = first, then, []

    def _start(self, node, environment, streams):
        self.first()
        words = [sys.executable, "-c", STAGE, node.stage]
        stage = subprocess.Popen(words, cwd=node.folder, env=environment, stdout=streams[1], stderr=streams[2])
        stage.wait(60)
        self.ran.append(node.stage)
        self.then()
        return stage


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project of eight photographs, and one contender."""
    make_project(tmp_path, images=8)
    (tmp_path / "one.yaml").write_text("half: {extract_cams.scales: [0.5]}\n")
    (tmp_path / "data/corrections").mkdir()
    (tmp_path / "data/import/maps").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def node(stage: str) -> Node:
    """Of the baseline, as it would be planned now."""
    setup = set_up(Wish(("one.yaml",), until="masks"))
    chain = job_of(setup.entrants[0], 0, setup.plans[0].selection, setup.course).node.chain
    return next(each for each in chain if each.stage == stage)


@pytest.mark.parametrize(
    ("stage", "file", "said"),
    [
        ("refine_crf", "data/corrections/a.png", "data/corrections changed"),
        ("prepare", "data/import/maps/a.png", "beside data/import/manifest.parquet changed"),
        ("label_affinity", "models/seeds.py", "its code changed"),
    ],
)
@pytest.mark.parametrize("when", ["planned", "begins", "ended"])
def test_a_stage_of_other_inputs_is_not_done(project, stage, file, said, when):
    """Whether they change before it, as it begins or while it works; by the inputs of before it runs once more."""
    planned, path = node(stage), project / file
    before = path.read_text() if path.exists() else None

    def change() -> None:
        path.write_text(f"{before or ''}\nMORE = 1\n")

    if when == "planned":
        change()
    works = {"planned": Works(), "begins": Works(first=change), "ended": Works(then=change)}[when]
    with pytest.raises(UserError, match=said):
        works.run(planned, print)
    assert not planned.is_done
    assert works.ran == ([] if when == "planned" else [stage])
    if before is None:
        path.unlink()
    else:
        path.write_text(before)
    assert Works().run(planned, print)
    assert planned.is_done


def test_code_that_is_another_only_while_a_stage_begins(project):
    """`git checkout` of another commit and back: when the stage has ended, the code is that of the plan, and it used another."""
    planned, path = node("label_affinity"), project / "models/seeds.py"
    before = path.read_text()
    works = Works(first=lambda: path.write_text(before + "\nMORE = 1\n"), then=lambda: path.write_text(before))
    with pytest.raises(UserError, match="its code changed"):
        works.run(planned, print)
    assert not planned.is_done


def test_code_that_the_stage_does_not_use_may_change(project):
    """Somebody works on another method meanwhile."""
    planned, path = node("label_affinity"), project / "models/objectives/seam.py"
    change = Works(then=lambda: path.write_text(path.read_text() + "\nMORE = 1\n"))
    assert change.run(planned, print)
    assert planned.is_done
    before = Works(first=lambda: path.write_text(path.read_text() + "\nMORE = 2\n"))
    assert before.run(node("random_walk"), print)


@pytest.mark.parametrize("stage", ["evaluate", "calibrate_seeds"])
def test_figures_that_were_changed_are_made_again(project, stage):
    """A digit in the scores, or in the curve that ranks without true masks; the cost stays what it was."""
    planned = node(stage)
    path = planned.folder / (METRICS if stage == "evaluate" else DATA / read_wiring()[stage].noun / EVIDENCE)

    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("0.15")

    assert Works(then=write).run(planned, print)
    assert not Works().run(planned, print)
    path.write_text("0.95")
    assert not planned.is_done
    assert Works(then=write).run(planned, print)
    assert planned.is_done
    assert planned.done().seconds == 1.0
    (planned.folder / REPORTS / f"{stage}.json").write_text("{}")
    assert not planned.is_done


def test_a_node_of_an_earlier_version_is_done(project):
    """It says nothing of its figures."""
    planned = node("evaluate")
    assert Works().run(planned, print)
    note = json.loads((planned.folder / DONE).read_text())
    (planned.folder / DONE).write_text(json.dumps({k: v for k, v in note.items() if k != "figures"}))
    assert planned.is_done
