"""A line that was pushed to a folder as remote, and withdrawals from it as the command makes them."""

import os
import shutil
from pathlib import Path

import pytest
from made_line import MadeLine

from app.storage import push
from flows.line.withdrawals import remove_open, sign
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.record import record
from lineage.withdraw import begin, touched_by


def dvc_here(remote: Path, *others: str) -> None:
    """Make the current folder a DVC project that pushes to a folder."""
    Path(".dvc").mkdir(exist_ok=True)
    core = "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n    remote = store\n"
    named = "".join(f'[remote "{name}"]\n    url = s3://{name}/old\n' for name in others)
    Path(".dvc/config").write_text(f'{core}[remote "store"]\n    url = {remote}\n{named}')


def run(made: MadeLine, **changes: str) -> None:
    """The line once more with all that dvc.yaml names, recorded."""
    made.run(commit=False, **changes)
    made.complete()
    record()


def go_to_wiring(made: MadeLine, folder: Path) -> None:
    """Go to a new folder with the project's wiring and nothing else."""
    folder.mkdir()
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(made.root / name, folder / name)
    os.chdir(folder)


def go_to_clone(made: MadeLine, folder: Path, remote: Path) -> None:
    """Another machine, which has pulled nothing yet."""
    go_to_wiring(made, folder)
    dvc_here(remote)


def pushed_line(remote: Path, folder: Path, *others: str) -> MadeLine:
    """A line that was run twice in a folder, and pushed; the test goes there."""
    folder.mkdir()
    os.chdir(folder)
    made = MadeLine()
    run(made)
    run(made, refine_crf="second")
    dvc_here(remote, *others)
    push()
    return made


def contents(remote: Path) -> set[str]:
    return {path.relative_to(remote).as_posix() for path in remote.rglob("*") if path.is_file()}


def withdraw(image_id: str, made: MadeLine) -> list[dict]:
    """What the command does, with a line that nobody runs."""
    begin(Ledger(), touched_by(Lookup(), [image_id]), by="t", reason="")
    found = remove_open()
    run(made, refine_crf="second")
    return sign(found)


@pytest.fixture(autouse=True)
def no_mlflow(monkeypatch) -> None:
    """Letters wait: MLflow takes seconds to load, and says nothing about remotes."""
    monkeypatch.setattr("flows.line.withdrawals.deliver", lambda: None)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
