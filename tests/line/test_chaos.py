"""SIGKILL at random moments, fifty times and more: the same bytes at the end, one shard or epoch in vain (chaos.py)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from warm_python import warm_python

pytestmark = [pytest.mark.slow, pytest.mark.endurance, pytest.mark.timeout(3600)]
SUPPORT = Path(__file__).resolve().parents[1] / "support"
ROOT = SUPPORT.parents[1]


def chaos(folder: Path, *words: str) -> str:
    """A campaign in a process of its own: what is forked must come from one that runs nothing else."""
    warm_python()  # here, so that all campaigns share it
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{SUPPORT}",
        "TMPDIR": str(folder),
        "OMP_NUM_THREADS": "1",
        "LABELFACTORY_STORE_GB": "1",
    }
    done = subprocess.run(
        [sys.executable, SUPPORT / "chaos.py", *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    return done.stdout


def test_stages_and_trainings_end_in_the_same_bytes_however_often_they_are_killed(tmp_path):
    """48 kills, those of two workers among them; the campaign asserts after each."""
    said = chaos(tmp_path, "--kills", "48", "--line-kills", "0", "--pool-kills", "2", "--seed", "7")
    kills = {kind: int(count) for kind, count in re.findall(r"  (\w+): (\d+) kills", said)}
    assert sum(kills.values()) >= 48
    assert kills["pool"] >= 2
    assert kills["training"] >= 6
    assert "each time the same bytes" in said
    assert "at most 1 shard or epoch each" in said


def test_the_line_ends_in_the_same_bytes_however_often_it_is_killed(tmp_path):
    """`dvc repro` up to the CAMs, with all below it, 4 times; then DVC has nothing to do."""
    said = chaos(tmp_path, "--kills", "4", "--line-kills", "4", "--pool-kills", "0", "--targets", "extract_cams")
    assert re.search(r"line: 4 kills, [1-4] times finished, each time the same bytes", said)


BROKEN = {
    "AssertionError: shard-": """
@contextlib.contextmanager
def in_place(path):
    part = path.with_suffix(".part")
    yield part
    data = part.read_bytes()
    part.unlink()
    path.write_bytes(data[: len(data) // 2])
    time.sleep(0.5)
    path.write_bytes(data)
shards.write_whole = in_place
""",
    "AssertionError: computed although finished": """
own_shard.OwnShard.states = lambda *_: {}
""",
}
HEAD = """
import contextlib, pathlib, sys, time
import chaos
from labelfactory.rows import own_shard, shards
"""


@pytest.mark.parametrize("found", list(BROKEN))
def test_chaos_finds_what_it_is_looking_for(tmp_path, found):
    """An engine that writes in place, and one that forgets its finished shards, are caught within a few kills."""
    warm_python()
    script = tmp_path / "broken.py"
    script.write_text(f"{HEAD}{BROKEN[found]}chaos.campaign(pathlib.Path(sys.argv[1]), {{'stages': 40}}, 1, [])\n")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{SUPPORT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script, tmp_path], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert found in done.stderr, done.stderr[-3000:]
