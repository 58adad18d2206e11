"""A worker of a lasting cluster holds the code that it loaded; after a change it must not write rows under the new code's key."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.run import fan_out
from labelfactory.errors import UserError


@pytest.fixture
def stage_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one stage, which imports one model, in a process that has loaded nothing yet. Gives the model's file."""
    for file, text in {"stages/make_rows.py": "from models.net import answer", "models/net.py": "answer = 42"}.items():
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fan_out, "_FIRST_SEEN", {})
    monkeypatch.setattr(fan_out, "_stage", lambda name: SimpleNamespace(methods=dict))
    return tmp_path / "models/net.py"


def test_the_same_code_passes_again_and_again(stage_file):
    """Also where only a comment has changed, which moves no value."""
    fan_out.check_code("make_rows")
    stage_file.write_text("# the answer\nanswer = 42\n")
    fan_out.check_code("make_rows")


def test_changed_code_is_refused_with_the_file_and_what_to_do(stage_file):
    """Also at the next shard, until the worker is a new process; changed back, it is the loaded code again."""
    fan_out.check_code("make_rows")
    stage_file.write_text("answer = 43")
    for _ in range(2):
        with pytest.raises(UserError, match=r"models/net\.py has changed since this worker") as caught:
            fan_out.check_code("make_rows")
        assert "Restart the cluster's workers" in str(caught.value)
    stage_file.write_text("answer = 42")
    fan_out.check_code("make_rows")
