"""A copy of this repository in a temporary folder, in which a test may run the line as a person would."""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from once import once
from starts import starts
from warm_python import AS_TYPED, warm_python

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
CONSOLE_SCRIPTS = {
    "labelfactory": "from app.main import main; main()",
    "dvc": "from dvc.cli import main; raise SystemExit(main())",
}
"""What the commands of these names do."""
LEFT_OUT = ("data", "dvc.lock", "tests", "benchmarks", "docs")
IMMUTABLE = (".dvc/cache/files/", ".git/objects/")
"""Where files are never written to once they are there."""


def make_workspace(folder: Path, *, git: bool = False) -> Path:
    """Copy what git tracks or would track, but no data and no tests; with `git`, as a repository of one commit."""
    return copy_workspace(once("repository" if git else "files", _repository if git else _files), folder)


def _files(folder: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in listed:
        source = ROOT / name
        if name and source.is_file() and Path(name).parts[0] not in LEFT_OUT:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)


def _repository(folder: Path) -> None:
    _files(folder)
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    commands = (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "The project"], ["repack", "-adq"])
    for words in commands:  # packed, as each copy would else hold an object for every file
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def copy_workspace(source: Path, target: Path) -> Path:
    """A second workspace with all that the first one made, DVC's cache included.

    Objects of DVC's cache and of git are shared by hard links: both programs replace them and never write to them.
    """

    def copy(file: str, to: str) -> str:
        if Path(file).relative_to(source).as_posix().startswith(IMMUTABLE):
            with suppress(OSError):  # another file system
                os.link(file, to)
                return to
        return shutil.copy2(file, to)

    shutil.copytree(source, target, symlinks=True, copy_function=copy, dirs_exist_ok=True)
    return target


@starts("starts_program")
def call(folder: Path, *words: str, code: int = 0, timeout: float = 900, cold: bool = False) -> str:
    """Run a command in a workspace with its own code; check its exit code, give all it printed.

    `labelfactory` and `python` are this environment's, run so that the workspace's modules come first; they start warm
    unless `cold` is asked for. Stages work in one process unless $LABELFACTORY_WORKERS says otherwise: each more costs
    seconds to start, and these sets are small. Bytecode is kept, else each program would compile the project again.
    """
    warm = warm_python()
    if words[0] in CONSOLE_SCRIPTS:
        words = (str(warm / "python"), "-c", CONSOLE_SCRIPTS[words[0]], *words[1:])
    environment = {
        "LABELFACTORY_WORKERS": "1",
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        **(AS_TYPED if cold else {}),
        "PATH": os.pathsep.join([str(warm), str(BIN), os.environ["PATH"]]),
        "PYTHONPATH": str(folder),
        "LABELFACTORY_DEVICE": "cpu",
        "LABELFACTORY_STORE_GB": "",
        "COLUMNS": "200",
    }
    done = subprocess.run(
        words,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == code, f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout
