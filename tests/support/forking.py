"""Campaigns that fork: each in a process of its own, since what is forked must come from one that runs nothing else."""

import os
import subprocess
import sys
from pathlib import Path

from starts import starts

SUPPORT = Path(__file__).resolve().parent
ROOT = SUPPORT.parents[1]


@starts("starts_program")
def campaign(folder: Path, name: str, *words: str) -> str:
    """Run a program of tests/support; gives what it prints. Its temporary files go to the folder."""
    return _run(folder, [str(SUPPORT / name), *words], 0)


@starts("starts_program")
def script(folder: Path, text: str, *words: str, code: int) -> str:
    """Run a program that is told the folder and these words, and that ends with this code."""
    path = folder / "campaign.py"
    path.write_text(text)
    return _run(folder, [str(path), str(folder), *words], code)


def _run(folder: Path, words: list[str], code: int) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{SUPPORT}",
        "TMPDIR": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout + done.stderr
