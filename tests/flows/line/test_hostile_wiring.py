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


@pytest.fixture
def stage_of_ours(tmp_path, monkeypatch) -> None:
    """A stage that reads `code/part`, and in data/ an archive of others, unpacked."""
    monkeypatch.chdir(tmp_path)
    Repo.init(no_scm=True).close()
    for file, content in PLAIN.items():
        Path(file).write_text(content)
    Path("dvc.yaml").write_text("stages: {a: {cmd: cp code/part copy, deps: [code], outs: [copy]}}\n")
    for file, content in {"code/part": "ours", "data/photos/part": "theirs", "data/import/manifest": "here"}.items():
        Path(file).parent.mkdir(parents=True)
        Path(file).write_text(content)


ORIGIN = "wdir: ../code\nfrozen: false\ndeps: [{path: ../data/photos/part}]\nouts: [{path: part}]\n"
"""An import stage: no command, and DVC copies a file of the archive over ours."""
STATE = "md5: aab41784c76ad7606d1268dea09ec286.dir, size: 2, nfiles: 1, hash: md5"
HOSTILE = {
    "origin": ORIGIN,
    "address": "deps: [{path: 'https://127.0.0.1:1/x'}]\nouts: [{path: import}]\n",
    "other folder": f"wdir: ..\nouts: [{{{STATE}, path: import}}]\n",
    "leads out": f"outs: [{{{STATE}, path: ../code}}]\n",
    "absolute": f"outs: [{{{STATE}, path: /tmp/x}}]\n",
    "another's": f"outs: [{{{STATE}, path: ledger}}]\n",
    "two": f"outs: [{{{STATE}, path: import}}, {{path: ledger}}]\n",
    "files by paths": f"outs: [{{{STATE}, path: import, files: [{{relpath: ../../code/part}}]}}]\n",
    "remote": f"outs: [{{{STATE}, path: import, remote: theirs}}]\n",
    "command": f"cmd: touch ran\nouts: [{{{STATE}, path: import}}]\n",
    "nothing": "{}\n",
    "deep": "[" * 20_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_source_of_data_that_says_more_is_refused_before_dvc_acts(stage_of_ours, text):
    """It came with photographs that somebody unpacked in data/."""
    shutil.copyfile(ROOT / ".dvcignore", ".dvcignore")
    Path("data/import.dvc").write_text(text)
    with pytest.raises(UserError, match=r"^data/import\.dvc: ") as caught:
        reproduce()
    assert len(str(caught.value).splitlines()) == 2
    assert Path("code/part").read_text() == "ours"
    assert not Path("copy").exists()


def test_a_source_of_data_by_another_name_is_hidden_from_bare_dvc_too(stage_of_ours):
    """By our .dvcignore; a project without it refuses what says more."""
    Path("data/photos.dvc").write_text(ORIGIN)
    with pytest.raises(UserError, match=r"^data/photos\.dvc: "):
        reproduce()
    shutil.copyfile(ROOT / ".dvcignore", ".dvcignore")
    with Repo() as repo:
        assert {stage.path_in_repo for stage in repo.index.stages} == {"dvc.yaml"}
    assert reproduce() == ["a"]
    assert Path("copy").read_text() == "ours"


@pytest.mark.parametrize("target", ["data/import", "data/corrections", "data/audits"])
def test_sources_of_data_that_dvc_adds_are_seen(stage_of_ours, target):
    """README: `dvc add data/import data/corrections`. .dvcignore keeps what it writes, and nobody refuses it."""
    shutil.copyfile(ROOT / ".dvcignore", ".dvcignore")
    Path("data/corrections").mkdir()
    Path("data/corrections/corrections.parquet").write_text("drawn")
    Path("data/audits").mkdir()
    Path("data/audits/audits.parquet").write_text("drawn")
    with Repo() as repo:
        repo.add(target)
    with open_repo() as repo:
        assert {stage.path_in_repo for stage in repo.index.stages} == {"dvc.yaml", f"{target}.dvc"}
