"""A kept answer is used only where nothing that it depends on has changed."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_line import finished_line
from workspace import call, copy_workspace

from flows.line import kept_answers
from flows.line.kept_answers import KEPT, forget, kept, state_of_project

YAML = "stages: {prepare: {cmd: python -m stages.prepare, deps: [data/import], outs: [data/dataset], meta: {kind: prepare}}}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files of many kinds, which last changed a while ago."""
    for name, text in {
        "dvc.yaml": YAML,
        "params.yaml": "a: 1\n",
        ".dvc/config": "[core]\n    analytics = false\n",
        ".dvc/cache/files/md5/ab/cd": "",
        ".git/HEAD": "ref: refs/heads/main\n",
        ".git/refs/heads/main": "0",
        "data/cams/shard-00000.parquet": "rows",
        "data/ledger/HEAD": "1",
        "stages/prepare.py": "",
        "data/raw/a.jpg": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/rows").write_text("1")
    (tmp_path / "data/linked").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kept_answers, "SETTLED_SECONDS", -60.0)
    return tmp_path


class Question:
    """Counts how often it was answered."""

    def __init__(self) -> None:
        self.times = 0

    def answer(self) -> dict[str, int]:
        self.times += 1
        return {"times": self.times}

    def ask(self, *words: str) -> int:
        number: int = kept(["status", *words], self.answer)["times"]
        return number


def test_an_answer_is_kept(project):
    """By the words of the question; what is no JSON is text the first time too."""
    question = Question()
    assert [question.ask(), question.ask(), question.ask("more"), question.ask()] == [1, 1, 2, 1]
    assert kept(["path"], lambda: {"path": Path("a")}) == kept(["path"], lambda: None) == {"path": "a"}


def in_place(path: str) -> Callable[[], object]:
    """Other bytes of the same number in the same file, at the time that it had."""

    def change() -> None:
        stat = Path(path).stat()
        with Path(path).open("r+b") as stream:
            stream.write(b"X")
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    return change


@pytest.mark.parametrize(
    "change",
    [
        in_place("params.yaml"),
        in_place("data/cams/shard-00000.parquet"),
        in_place("stages/prepare.py"),
        in_place("elsewhere/rows"),
        lambda: Path("data/cams/shard-00001.parquet").write_text(""),
        lambda: Path("data/cams/shard-00000.parquet").unlink(),
        lambda: Path("data/cams/shard-00000.parquet").rename("data/cams/shard-00002.parquet"),
        lambda: Path("data/cams/shard-00000.parquet").chmod(0o600),
        lambda: Path("data/empty").mkdir(),
        lambda: Path("data/linked").unlink(),
        lambda: (Path("data/linked").unlink(), Path("data/linked").symlink_to(Path("data/cams").absolute())),
        lambda: Path(".dvc/cache/files/md5/ab/cd").unlink(),
        lambda: Path(".git/refs/heads/main").write_text("1"),
        lambda: Path("data/a.dvc").write_text(""),
        lambda: Path(".labelfactory/withdrawn.json").write_text("{}"),
        lambda: os.mkfifo("data/cams/pipe"),
    ],
)
def test_any_change_of_a_file_is_noticed(project, change):
    """Bytes, name, mode, links; also where size and time of change stay."""
    question = Question()
    assert [question.ask(), question.ask()] == [1, 1]
    change()
    assert question.ask() == 2


@pytest.mark.parametrize(
    "name", ["LABELFACTORY_DEVICE", "DVC_STUDIO_URL", "CUDA_VISIBLE_DEVICES", "HOME", "PYTHONPATH"]
)
def test_settings_count(project, monkeypatch, name):
    """Variables that an answer may depend on."""
    question = Question()
    assert question.ask() == 1
    monkeypatch.setenv(name, "other")
    assert question.ask() == 2


def test_other_code_and_libraries_count(project, monkeypatch, tmp_path_factory):
    """The code of the command where it is not the project's, and whatever is installed."""
    question = Question()
    other = tmp_path_factory.mktemp("other")
    (other / "labelfactory").mkdir()
    (other / "labelfactory/__init__.py").write_text("")
    monkeypatch.setattr(kept_answers.labelfactory, "__file__", str(other / "labelfactory/__init__.py"))
    site = tmp_path_factory.mktemp("site")
    monkeypatch.setattr(kept_answers.sysconfig, "get_path", lambda name: str(site))
    assert [question.ask(), question.ask()] == [1, 1]
    (other / "labelfactory/errors.py").write_text("")
    assert question.ask() == 2
    (site / "a_library").mkdir()
    assert question.ask() == 3
    monkeypatch.setattr(kept_answers, "precision_folder", lambda: site)  # measured precisions, which doctor names
    (site / "measured.json").write_text("")
    assert [question.ask(), question.ask()] == [4, 4]


def test_pictures_and_temporary_files_do_not_count(project):
    """No kept answer reads them, and there may be a million."""
    question = Question()
    assert question.ask() == 1
    for name in (
        "data/raw/b.jpg",
        ".dvc/tmp/lock",
        ".labelfactory/locks/a.lock",
        ".labelfactory/prefect.db",
        "stages/__pycache__/prepare.pyc",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("")
    assert question.ask() == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".dvc/config.local", "[cache]\n    dir = /srv/cache\n"),
        ("dvc.yaml", YAML.replace("data/import", "../import")),
        ("dvc.yaml", YAML.replace("data/import", "s3://bucket/import")),
        ("dvc.yaml", YAML.replace("data/import", "data/raw/import")),
        ("data/photographs.dvc", "outs: []\n"),
    ],
)
def test_what_is_out_of_sight_is_asked_each_time(project, name, text):
    """A cache, a dependency or a source of data elsewhere."""
    Path(name).write_text(text)
    question = Question()
    assert [question.ask(), question.ask()] == [1, 2]


def test_a_worktree_of_git_is_asked_each_time(project):
    """Its refs are in another folder."""
    (project / ".git").rename(project.parent / f"{project.name}.git")
    (project / ".git").write_text("gitdir: elsewhere\n")
    question = Question()
    assert [question.ask(), question.ask()] == [1, 2]


def test_an_answer_is_not_kept_while_files_change(project, monkeypatch):
    """A file that changed a moment ago, or while the answer was sought; nor where there are too many."""
    question = Question()
    monkeypatch.setattr(kept_answers, "SETTLED_SECONDS", 60.0)
    assert [question.ask(), question.ask()] == [1, 2]
    monkeypatch.setattr(kept_answers, "SETTLED_SECONDS", -60.0)
    kept(["written"], lambda: Path("data/ledger/HEAD").write_text("22"))
    assert not list(KEPT.glob("*"))
    monkeypatch.setattr(kept_answers, "MOST_FILES", 5)
    assert state_of_project() is None
    assert [question.ask(), question.ask()] == [3, 4]


def test_an_error_is_not_kept(project):
    def fails() -> None:
        raise LookupError

    for _ in range(2):
        with pytest.raises(LookupError):
            kept(["fails"], fails)
    assert not list(KEPT.glob("*"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": 1}'])
def test_a_damaged_file_is_asked_anew(project, text):
    question = Question()
    assert question.ask() == 1
    (path,) = KEPT.glob("*.json")
    path.write_text(text)
    assert [question.ask(), question.ask()] == [2, 2]


@pytest.mark.parametrize("answer", [{"times": 7}, None, [], "x", {}])
def test_another_answer_than_the_one_that_was_written_is_asked_anew(project, answer):
    """An editor changes a figure: no command prints it, none meets what it cannot read."""
    question = Question()
    assert question.ask() == 1
    (path,) = KEPT.glob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"answer": answer}))
    assert [question.ask(), question.ask()] == [2, 2]


def test_the_answer_to_another_question_is_asked_anew(project):
    """Its file in the place of this one's."""
    question = Question()
    assert question.ask("a") == 1
    (path,) = KEPT.glob("*.json")
    question.ask("b")
    (other,) = set(KEPT.glob("*.json")) - {path}
    path.replace(other)
    assert question.ask("b") == 3


def test_a_folder_among_them_stops_no_withdrawal(project):
    """Played: somebody makes a folder there; the report of a withdrawal was not written."""
    Question().ask()
    (KEPT / "mine").mkdir()
    (KEPT / "link").symlink_to(project)
    kept_answers.forget()
    assert [path.name for path in KEPT.iterdir()] == ["mine"]


def test_answers_are_few_and_forgotten(project, monkeypatch):
    """The oldest goes for a new one; a withdrawal deletes all, as they may name its images."""
    monkeypatch.setattr(kept_answers, "MOST_ANSWERS", 3)
    question = Question()
    for word in "abcde":
        question.ask(word)
    assert len(list(KEPT.glob("*.json"))) == 3
    forget()
    assert not list(KEPT.glob("*"))


LOADED = """
import sys
from app.main import main
sys.argv = ["labelfactory", *{words!r}]
try:
    main()
except SystemExit:
    pass
print("loaded:", *sorted(set({libraries!r}) & sys.modules.keys()))
"""
HEAVY = ("torch", "dvc", "dvc.repo", "mlflow", "prefect", "duckdb", "pandas", "pyarrow", "cv2", "numpy")
COMMANDS = ("status", "report", "audit model latest", "audit mask demo-0-00000", "audit diff 1 now")


@pytest.mark.slow
def test_a_command_loads_nothing_large_where_nothing_changed(tmp_path):
    """And says the same as before; after a change of a parameter it says something else."""
    folder = copy_workspace(finished_line(), tmp_path / "line")

    def ask(command: str) -> tuple[str, str]:
        program = LOADED.format(words=command.split(), libraries=HEAVY)
        said, _, loaded = call(folder, sys.executable, "-c", program).rpartition("loaded:")
        return said, loaded.strip()

    call(folder, "labelfactory", "record")
    for _ in range(2):  # the first answers write: the ledger's index, DVC's configuration
        time.sleep(2 * kept_answers.SETTLED_SECONDS)
        settled = {command: ask(command)[0] for command in COMMANDS}
    for command in COMMANDS:
        assert ask(command) == (settled[command], "")
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("gt_prob: 0.7", "gt_prob: 0.8") + "\n")
    assert "dvc.repo" in ask("status")[1]
