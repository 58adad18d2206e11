"""The files that DVC reads are read by us first: DVC knows no limit of depth or of aliases."""

import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo
from workspace import ROOT

from flows.line.dvc_line import reproduce
from flows.line.dvc_repo import open_repo
from flows.line.stage_states import line_status
from labelfactory.errors import ParamsError, UserError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of libraries that DVC uses
PLAIN = {"dvc.yaml": "stages: {a: {cmd: echo}}\n", "params.yaml": "a: 1\n", "dvc.lock": "schema: '2.0'\nstages: {}\n"}
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 10)
)


@pytest.mark.parametrize("text", [f"a: {'[' * 20_000}", f"a: {'[' * 20_000}{']' * 20_000}", BOMB])
@pytest.mark.parametrize("name", PLAIN)
def test_a_hostile_file_never_reaches_dvc(tmp_path, monkeypatch, name, text):
    """Each of the three, by `status` and all that asks DVC; without it DVC answers."""
    monkeypatch.chdir(tmp_path)
    Repo.init(no_scm=True).close()
    for file, content in PLAIN.items():
        Path(file).write_text(content)
    assert [state.name for state in line_status()] == ["a"]
    Path(name).write_text(text)
    with pytest.raises(ParamsError, match=name.replace(".", r"\.")) as caught:
        line_status()
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("photos/cat/dvc.yaml", "stages: {evil: {cmd: touch ../../ran, outs: [../../made]}}\n"),
        ("photos/dvc.yaml", "stages: {evil: {cmd: touch ../ran, outs: [../made]}}\n"),
        ("photos/evil.dvc", "deps: [{path: /etc/hostname}]\nouts: [{path: ../made}]\n"),
    ],
)
def test_a_stage_that_came_with_photographs_is_not_run(tmp_path, monkeypatch, place, text):
    """DVC would run it where its output is what one of ours reads. With our .dvcignore it is not seen, without it it is refused."""
    monkeypatch.chdir(tmp_path)
    Repo.init(no_scm=True).close()
    for file, content in PLAIN.items():
        Path(file).write_text(content)
    Path("dvc.yaml").write_text("stages: {a: {cmd: cp made copy, deps: [made], outs: [copy]}}\n")
    Path("made").write_text("ours")
    Path(place).parent.mkdir(parents=True)
    Path(place).write_text(text)
    with pytest.raises(UserError, match="DVC would run the stages in it") as caught:
        reproduce()
    assert place in caught.value.problem
    assert not Path("ran").exists()
    shutil.copyfile(ROOT / ".dvcignore", ".dvcignore")
    (Path(place).parent / ".dvcignore").write_text("!dvc.yaml\n!*.dvc\n")  # DVC honours those of every folder
    assert reproduce() == ["a"]
    assert not Path("ran").exists()
    assert Path("copy").read_text() == "ours"


def test_the_imports_of_this_project_are_seen(tmp_path, monkeypatch):
    """`dvc add data/import` writes data/import.dvc: .dvcignore keeps it, and nobody refuses it."""
    monkeypatch.chdir(tmp_path)
    Repo.init(no_scm=True).close()
    for file, content in PLAIN.items():
        Path(file).write_text(content)
    shutil.copyfile(ROOT / ".dvcignore", ".dvcignore")
    Path("data/import").mkdir(parents=True)
    Path("data/import/manifest").write_text("here")
    with Repo() as repo:
        repo.add("data/import")
    with open_repo() as repo:
        assert {stage.path_in_repo for stage in repo.index.stages} == {"dvc.yaml", "data/import.dvc"}
