"""What people add and no stage reads goes along: data/audits, once `dvc add` has noted it."""

from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from shared_bucket import first_machine
from test_flows import line

from flows.line.dvc_line import held_line, reproduce
from flows.line.storage import push
from labelfactory.dvc_cache import cached
from labelfactory.errors import DataError
from labelfactory.settings.params import read_yaml

__all__ = ["line"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # DVC's own, about libraries that it uses
AUDITS = Path("data/audits")


def answer_twice() -> None:
    """Two answers in the current project, the second of which came after `dvc add`."""
    AUDITS.mkdir(parents=True)
    (AUDITS / "one.png").write_bytes(b"the first answer")
    with Repo(".") as repo:
        repo.add(str(AUDITS))
    (AUDITS / "two.png").write_bytes(b"the second answer")


def answers_at(remote: Path) -> set[bytes]:
    """Answers that the remote has."""
    return {data for path in remote.rglob("*") if path.is_file() and (data := path.read_bytes()).endswith(b"answer")}


def test_push_sends_what_was_answered_since_dvc_add(tmp_path, monkeypatch):
    """Nothing else than the note says what is to be sent."""
    remote = tmp_path / "remote"
    first_machine(f'[remote "store"]\n    url = {remote}\n', tmp_path, monkeypatch)
    answer_twice()
    push()
    assert answers_at(remote) == {b"the first answer", b"the second answer"}
    assert read_yaml(Path("data/audits.dvc"))["outs"][0]["nfiles"] == 2


def test_a_run_notes_it_too(line):
    """For `dvc push`; a second run changes nothing."""
    answer_twice()
    reproduce()
    noted = Path("data/audits.dvc").read_bytes()
    assert read_yaml(Path("data/audits.dvc"))["outs"][0]["nfiles"] == 2
    reproduce()
    assert Path("data/audits.dvc").read_bytes() == noted


def test_a_folder_that_is_away_stays_noted(line):
    """A clone before `dvc pull` has the note alone."""
    answer_twice()
    noted = Path("data/audits.dvc").read_bytes()
    (AUDITS / "one.png").unlink()
    (AUDITS / "two.png").unlink()
    AUDITS.rmdir()
    reproduce()
    assert Path("data/audits.dvc").read_bytes() == noted


def another_machine_answered() -> bytes:
    """What `git pull` brings after others have added answers, whose files lie at a remote; gives it."""
    noted = yaml.safe_load(Path("data/audits.dvc").read_text())
    noted["outs"][0] |= {"md5": f"{'ab' * 16}.dir", "nfiles": 5}
    Path("data/audits.dvc").write_text(yaml.safe_dump(noted))
    return Path("data/audits.dvc").read_bytes()


def test_answers_of_another_machine_stay_noted(tmp_path, monkeypatch):
    """What is here did not come of them: noted in their place, they would be lost to everybody."""
    first_machine(f'[remote "store"]\n    url = {tmp_path / "remote"}\n', tmp_path, monkeypatch)
    answer_twice()
    push()
    noted = another_machine_answered()
    with pytest.raises(
        DataError, match=r"audits\.dvc names a state of data/audits that was never on this machine"
    ) as caught:
        push()
    assert "`dvc pull data/audits.dvc`" in caught.value.remedy
    assert Path("data/audits.dvc").read_bytes() == noted


def test_a_run_says_that_answers_are_missing(line, capsys):
    """And goes on: its stages read none."""
    answer_twice()
    reproduce()
    noted = another_machine_answered()
    assert reproduce() == []
    assert "never on this machine" in capsys.readouterr().err
    assert Path("data/audits.dvc").read_bytes() == noted


def test_a_state_whose_list_a_withdrawal_took_away_is_known(line):
    """Its note outlives the cache."""
    answer_twice()
    reproduce()
    with held_line() as held:
        cached(read_yaml(Path("data/audits.dvc"))["outs"][0]["md5"]).unlink()
        (AUDITS / "one.png").unlink()
        held.reproduce()
    assert read_yaml(Path("data/audits.dvc"))["outs"][0]["nfiles"] == 1


def test_a_table_that_was_lost_is_not_noted_as_lost(line, capsys):
    """Who lost it by mistake gets it back."""
    answer_twice()
    (AUDITS / "points.parquet").write_bytes(b"")
    reproduce()
    noted = Path("data/audits.dvc").read_bytes()
    (AUDITS / "points.parquet").unlink()
    (AUDITS / "three.png").write_bytes(b"the third answer")
    reproduce()
    assert "points.parquet is missing" in (said := capsys.readouterr().err)
    assert "dvc checkout data/audits.dvc" in said
    assert Path("data/audits.dvc").read_bytes() == noted
