"""A tournament that really runs on drawn images: what it leaves alone, shares, keeps when it is killed, adopts and gives up."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from interrupting import interrupted, said
from workspace import call

from labelfactory.settings.params import read_yaml
from labelfactory.tournament import BASELINE, Results, read_results
from lineage.ledger import Ledger

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
WORDS = ("labelfactory", "tournament", "three.yaml", "--seeds", "1")
THREE = """
half: {extract_cams.scales: [0.5]}
seam: {train_classifier.objective: seam}
absent: {make_priors.method: {name: files, folder: nowhere, supervision: [tags]}}
"""


def results(folder: Path) -> Results:
    """What it wrote."""
    return read_results(folder / "data/tournament/results.json")


def figures(folder: Path) -> list[tuple[object, ...]]:
    """Of each contender, without what depends on the time of day or the machine."""
    return [(c.name, c.state, c.score, c.at_best, c.guess, c.gain, c.supervision) for c in results(folder).contenders]


def state(folder: Path) -> dict[str, bytes]:
    """Params and all data but the tournament's own, the store's, and those that remember it."""
    files = [folder / "params.yaml", *sorted((folder / "data").rglob("*.*"))]
    known = {
        str(f.relative_to(folder)): f.read_bytes()
        for f in files
        if f.is_file() and not {"tournament", "store", "ledger", "mlflow"} & {*f.parts}
    }
    git = subprocess.run(["git", "status", "--porcelain"], cwd=folder, capture_output=True, check=True)
    return {**known, "git": git.stdout}


def ran(text: str) -> list[str]:
    """Stages that ran, in order."""
    return re.findall(r"^  (\w+): done in", text, re.MULTILINE)


@pytest.fixture
def project(imported) -> Path:
    """A project that has run nothing, with a file of three contenders that git knows."""
    (imported / "three.yaml").write_text(THREE)
    return imported


def test_a_tournament_really_runs(project):
    """One classifier serves two read-outs; the line stays as it is; a second start runs nothing; a new contender costs itself."""
    before = state(project)
    out = call(project, *WORDS, code=2)
    assert state(project) == before
    stages = ran(out)
    assert stages.count("prepare") == 1
    assert stages.count("train_classifier") == 2
    found = {c.name: c for c in results(project).contenders}
    assert {name: c.state for name, c in found.items()} == {
        BASELINE: "finished", "half": "finished", "seam": "finished", "absent": "failed",
    }  # fmt: skip
    assert "make_priors" in found["absent"].problem
    assert found["seam"].score is not None
    assert found["seam"].gain is not None
    assert found["seam"].gain_at_best is not None
    assert found["seam"].at_best >= found["seam"].score
    assert found["half"].cost is not None
    assert "tags" in found["seam"].supervision
    assert "1 of 4 contenders failed: absent" in out
    assert [event["detail"]["title"] for event in Ledger(project / "data/ledger").events("tournament")] == [
        "three.yaml"
    ]
    page = (project / "data/tournament/report.html").read_text()
    assert page.count("data:image/webp") >= 5 * 12  # photograph, true mask, three masks
    assert "most disputed" in page
    assert "of contenders; it may be deleted" in call(project, "labelfactory", "gc")

    text = (project / "three.yaml").read_text().split("absent")[0]
    (project / "three.yaml").write_text(text)
    known = figures(project)
    assert ran(call(project, *WORDS)) == []
    assert figures(project) == [line for line in known if line[0] != "absent"]

    (project / "three.yaml").write_text(text + "flipped: {extract_cams.flip: true}\n")
    assert set(ran(call(project, *WORDS))) == {"extract_cams", "calibrate_seeds", "evaluate"}

    call(project, "labelfactory", "tournament", "--adopt", "seam")
    assert read_yaml(project / "params.yaml")["train_classifier"]["objective"] == "seam"
    unknown = call(project, "labelfactory", "tournament", "--adopt", "saem", code=2)
    assert "did you mean `seam`" in unknown


@pytest.mark.endurance
def test_a_killed_tournament_goes_on(project, tmp_path):
    """SIGKILL while a stage works, then Ctrl-C: finished stages are kept, and the figures are those of an undisturbed one."""
    (project / "three.yaml").write_text(THREE.split("absent")[0])
    whole = tmp_path / "whole"
    subprocess.run(["cp", "-r", project, whole], check=True)
    call(whole, *WORDS)

    def done(stage: str, count: int) -> bool:
        return ran(said(project)).count(stage) >= count if (project / "said.log").exists() else False

    interrupted(project, list(WORDS), lambda: done("train_classifier", 1), os.kill, signal.SIGKILL)
    assert "Traceback" not in said(project)
    code = interrupted(project, list(WORDS), lambda: done("extract_cams", 1), os.kill, signal.SIGINT)
    assert code == 130
    (message,) = re.findall("^Interrupted.*$", said(project), re.MULTILINE)
    assert re.fullmatch(
        rf"Interrupted; \d of 3 runs of this round done are kept\. Go on with: {' '.join(WORDS)}", message
    )
    out = call(project, *WORDS)
    assert ran(out).count("prepare") == 0
    assert ran(out).count("train_classifier") <= 1
    assert [line[:5] for line in figures(project)] == [line[:5] for line in figures(whole)]


def test_the_line_and_a_tournament_find_what_the_other_has_made(finished):
    """By the keys, in the store: the baseline costs no training after a run of the line, and a winner's run none after it."""
    (finished / "one.yaml").write_text("half: {extract_cams.scales: [0.5]}\n")
    call(finished, "labelfactory", "run", "evaluate")
    out = call(finished, "labelfactory", "tournament", "one.yaml", "--seeds", "1")
    assert "found again in data/store" in out
    assert all(c.cost is not None for c in results(finished).contenders)  # by the pace of the line
    call(finished, "labelfactory", "tournament", "--adopt", "half")
    again = call(finished, "labelfactory", "run", "extract_cams")
    assert "0 rows computed, 18 found again" in again


def test_a_withdrawn_image_is_in_no_tournament(finished):
    """Its networks learnt from it and its report may show it: all of it goes."""
    (finished / "one.yaml").write_text("half: {extract_cams.scales: [0.5]}\n")
    call(finished, "labelfactory", "tournament", "one.yaml", "--seeds", "1")
    image = json.loads(call(finished, "labelfactory", "quality", "--json"))[0]["image_id"]
    call(finished, "labelfactory", "withdraw", image, "--later", "--by", "a", "--reason", "asked")
    assert not (finished / "data/tournament").exists()


def test_a_project_that_was_moved_goes_on(project):
    """Photographs lie elsewhere: what was made of them is kept, with its cost, and a new contender finds them."""
    (project / "three.yaml").write_text(THREE.split("seam")[0])
    call(project, *WORDS)
    before = figures(project)
    moved = project.rename(project.with_name("moved ö"))
    (moved / "three.yaml").write_text(THREE.split("seam")[0] + "flipped: {extract_cams.flip: true}\n")
    assert ran(call(moved, *WORDS)).count("train_classifier") == 0
    found = {c.name: c for c in results(moved).contenders}
    assert found["flipped"].state == "finished"
    assert found["flipped"].cost is not None
    assert [line for line in figures(moved) if line[0] != "flipped"] == before


def test_two_tournaments_at_once_do_not_meet(project):
    """The second is told who works here."""
    holder = "from labelfactory.lock import stage_lock\nwith stage_lock('tournament'):\n    print('held', flush=True)\n"
    holder += "    input()\n"
    process = subprocess.Popen(["python", "-c", holder], cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"held\n"
        assert f"the process {process.pid} works on it" in call(project, *WORDS, code=2)
    finally:
        process.communicate(b"\n", timeout=60)


def test_what_it_costs_is_said_without_running_anything(project):
    """Of stages whose pace is not known it says so; afterwards it says nothing is left to do."""
    (project / "three.yaml").write_text(THREE.split("absent")[0])
    out = call(project, *WORDS, "--dry-run")
    assert "they never ran here" in out
    assert not (project / "data/tournament/nodes").exists()
    call(project, *WORDS)
    again = call(project, *WORDS, "--dry-run")
    assert re.search(r"all +│ +0 s", again)
    more = call(project, "labelfactory", "tournament", "three.yaml", "--seeds", "2", "--dry-run")
    assert not re.search(r"all +│ +0 s", more)
