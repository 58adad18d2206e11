"""A worker that dies: worker and flow are killed in the middle of extract_cams, and another worker finishes the run."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from factory import QUICK_BEATS, Factory, one_image_a_shard, running_in, serving, wait_until
from small_line import small_project
from warm_python import AS_TYPED, COLD, PLAIN_STARTS

from labelfactory.digests import digest_file

pytestmark = [pytest.mark.slow, pytest.mark.endurance, pytest.mark.timeout(1800)]

IMAGES, TRAIN = 24, 18
ENOUGH = 3
DOCSTRING = re.compile(r'    def process_batch\(.*\n        """.*"""\n')
HOLD = f"""
        import time
        from pathlib import Path

        while Path("hold").exists() and len(list(Path("data/cams").glob("shard-*.parquet"))) >= {ENOUGH}:
            time.sleep(0.1)
"""


def hold(folder: Path) -> Path:
    """Let the stage stand still after some shards as long as there is a file `hold`, which is given.

    So the kill comes in its middle, however fast or slow the machine is.
    """
    stage = folder / "stages/extract_cams.py"
    text = stage.read_text()
    (docstring,) = DOCSTRING.findall(text)
    stage.write_text(text.replace(docstring, docstring + HOLD))
    (folder / "hold").touch()
    return folder / "hold"


@pytest.fixture
def factory(tmp_path) -> Iterator[Factory]:
    """24 images, each of the 18 that are trained on in a shard of its own."""
    folder = small_project(tmp_path / "project", IMAGES)
    one_image_a_shard(folder)
    with serving(folder, {**QUICK_BEATS, "LABELFACTORY_WORKERS": "2", **AS_TYPED}) as factory:
        yield factory


def shards(folder: Path) -> dict[str, str]:
    """Finished shards of CAMs: name → SHA-256."""
    return {path.name: digest_file(path) for path in (folder / "data/cams").glob("shard-*.parquet")}


def is_ours(process: psutil.Process) -> bool:
    """Whether it is DVC's process, a stage or one of its workers: what has to end by itself."""
    line = " ".join(process.cmdline())
    return any(word in line for word in ("flows.line.dvc_process", "stages.", "multiprocessing", "resource_tracker"))


def test_another_worker_takes_up_what_a_killed_one_left(factory):
    """SIGKILL for both: the stage ends, the run is Crashed, planned anew, and finds every finished shard."""
    held = hold(factory.folder)
    run = factory.run("extract_cams")
    wait_until(lambda: len(shards(factory.folder)) >= ENOUGH, lambda: factory.log("worker cpu")[-3000:])
    worker = psutil.Process(factory.pid("worker cpu"))
    flows = [p for p in worker.children(recursive=True) if not is_ours(p)]
    assert flows, factory.log("worker cpu")[-3000:]
    for process in [worker, *flows]:
        os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs(flows, 10)
    wait_until(lambda: not running_in(factory.folder, "stages.extract_cams"))
    finished = shards(factory.folder)
    assert len(finished) == ENOUGH
    assert factory.read(run)["state"]["type"] == "RUNNING"

    wait_until(lambda: factory.read(run)["state"]["type"] != "RUNNING", lambda: factory.log("watcher"))
    assert factory.wait(run, ("SCHEDULED",))["state"]["name"] == "AwaitingRetry"
    assert "Crashed" in [state["name"] for state in factory.api.get(f"/flow_run_states/?flow_run_id={run}")]
    assert "another worker may run it" in factory.log("watcher")

    held.unlink()
    factory.environment |= {COLD: "", PLAIN_STARTS: "1"}  # nobody kills what starts from here on
    assert "worker cpu" in factory.up()
    assert factory.pid("worker cpu") != worker.pid
    done = factory.wait(run)
    assert (done["state"]["type"], done["run_count"]) == ("COMPLETED", 2), done["state"]
    after = shards(factory.folder)
    assert len(after) == TRAIN
    assert {name: after[name] for name in finished} == finished
    made = json.loads((factory.folder / "data/reports/extract_cams.json").read_text())
    assert (made["rows_computed"], made["rows_copied"]) == (
        TRAIN - ENOUGH,
        ENOUGH,
    )  # DVC rewrites files, it computes none
    assert factory.tasks(run)["prepare"]["state"]["name"] == "Up to date"
