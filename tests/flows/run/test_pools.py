"""Two pools with a worker each, on a real server: stages go where they belong, and one at a time computes on a device."""

import os
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from databases import with_databases
from factory import Factory, running_in, wait_until
from prefect.utilities.urls import url_for
from small_line import small_project
from visiting import UNKNOWN
from workspace import call

from flows.run.pool_of_stage import wanted_pool
from flows.server.services import known_workers
from labelfactory.settings.wiring import read_wiring
from lineage.ledger import Ledger
from pages.links import run_links
from pages.project import PageAddresses, Project

pytestmark = [pytest.mark.slow, pytest.mark.endurance, pytest.mark.timeout(1500)]

GPU = (
    "train_classifier",
    "extract_cams",
    "calibrate_seeds",
    "train_affinity",
    "train_teacher",
    "random_walk",
    "train_segmenter",
    "segment_images",
    "train_upper_bound",
    "evaluate",
)
SLOT = f"cpu of {platform.node()}"
"""The device of these workers, which have no GPU."""


@pytest.fixture(scope="module")
def factory(tmp_path_factory) -> Iterator[Factory]:
    """12 images; a worker for cpu and one for gpu; deployed; nothing has run."""
    folder = with_databases(small_project(tmp_path_factory.mktemp("pools") / "project", 12))
    factory = Factory(folder)
    try:
        shown = factory.type("up", "--port", str(factory.port), "--pool", "cpu", "--pool", "gpu")
        assert "worker gpu: pid" in shown
        assert "label-factory-stage/gpu" in factory.type("deploy")
        yield factory
    finally:
        factory.type("down")
        assert running_in(folder) == []


def children(factory: Factory, run: str) -> dict[str, dict[str, Any]]:
    """What a run sent elsewhere: stage → its flow run."""
    found = factory.api.post("/flow_runs/filter", {"flow_runs": {"tags": {"all_": [f"of {run}"]}}})
    return {child["parameters"]["stage"]: child for child in found}


def logs(factory: Factory, run: str) -> str:
    """What a run has logged."""
    found = factory.api.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"})
    return "\n".join(entry["message"] for entry in found)


def story(factory: Factory, run: str) -> str:
    """What happened, for who must mend it: the run's log, and the end of the other pool's worker's."""
    return f"{logs(factory, run)}\nworker gpu:\n{factory.log('worker gpu')[-3000:]}"


@contextmanager
def slot_taken(factory: Factory) -> Iterator[None]:
    """While the body runs, somebody else computes on this device."""
    wish = {"names": [SLOT], "slots": 1, "mode": "concurrency", "lease_duration": 600}
    lease = factory.api.post("/v2/concurrency_limits/increment-with-lease", wish)
    try:
        yield
    finally:
        factory.api.post("/v2/concurrency_limits/decrement-with-lease", {"lease_id": lease["lease_id"]})


def free_slots(factory: Factory) -> int:
    """How many may still compute on this device."""
    found = factory.api.get(f"/v2/concurrency_limits/{SLOT.replace(' ', '%20')}")
    return int(found["limit"] - found["active_slots"])


def test_dvc_yaml_says_which_stage_wants_a_gpu():
    """All that runs networks, and the walk; the rest runs wherever the flow is."""
    assert [stage for stage in read_wiring() if wanted_pool(stage) == "gpu"] == list(GPU)
    assert {wanted_pool(stage) for stage in read_wiring()} == {"", "gpu"}


def test_stages_run_where_they_belong(factory):
    """From a flow on cpu, what wants a GPU and has work is a flow run on gpu, with the same result; all slots are free again."""
    done = factory.wait(factory.run())
    assert (done["state"]["type"], done["state"]["name"]) == ("COMPLETED", "Completed"), story(factory, done["id"])
    sent = children(factory, done["id"])
    assert set(sent) == set(GPU) - {"train_teacher", "train_upper_bound"}  # off: nothing to do, so nobody is asked
    assert {child["work_pool_name"] for child in sent.values()} == {"gpu"}
    assert {child["state"]["type"] for child in sent.values()} == {"COMPLETED"}
    assert sent["extract_cams"]["name"] == "extract_cams for cpu"
    tasks = factory.tasks(done["id"])
    assert tasks["extract_cams"]["state"]["message"] == sent["extract_cams"]["state"]["message"] == "9 rows computed"
    assert "runs on the pool gpu: http://127.0.0.1" in logs(factory, done["id"])
    assert f"waits for the slot of {SLOT}" in logs(factory, sent["train_classifier"]["id"])
    assert free_slots(factory) == 1
    assert "IntegrityError" not in factory.log("server")  # a limit that is there is not made again
    (line,) = [e["detail"] for e in Ledger(factory.folder / "data/ledger").events("line")]
    assert line["tags"]["prefect.flow_run_id"] == done["id"]
    assert line["tags"]["git_tree"] == "dirty: 1 file differs from the commit: params.yaml"
    assert set(line["stages"]) == set(read_wiring())
    assert "dirty: 1 file differs" in factory.artifacts(done["id"])["line"]
    assert "up to date" in call(factory.folder, "dvc", "status")
    root = f"http://127.0.0.1:{factory.port}"
    ((name, address),) = run_links(Project(UNKNOWN, UNKNOWN, PageAddresses(prefect=root)), "", line["tags"])
    assert (name, address) == ("Prefect", url_for("flow-run", obj_id=done["id"], default_base_url=root))
    page = httpx.get(address, headers={"Accept": "text/html"}, timeout=60)  # as a browser asks
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_work_that_is_up_to_date_waits_for_nobody(factory):
    """While the device is taken, a run of finished work ends, though DVC calls a stage stale whose rows are all there."""
    with slot_taken(factory):
        done = factory.wait(factory.run())
        assert done["state"]["name"] == "Up to date"
        (factory.folder / "data/reports/extract_cams.json").unlink()
        done = factory.wait(factory.run("extract_cams"))
        assert done["state"]["type"] == "COMPLETED"
        assert done["state"]["message"].startswith("1 of ")
        assert children(factory, done["id"]) == {}


def test_a_stage_waits_for_its_device(factory):
    """One training a device: the stage asks, waits as long as another has the slot, then runs."""
    call(factory.folder, "labelfactory", "profile", "--set", "train_classifier.seed=1")
    with slot_taken(factory):
        run = factory.run("train_classifier")
        wait_until(lambda: "train_classifier" in children(factory, run), lambda: story(factory, run))
        child = children(factory, run)["train_classifier"]["id"]
        wait_until(lambda: f"waits for the slot of {SLOT}" in logs(factory, child), lambda: story(factory, run))
        assert running_in(factory.folder, "stages.train_classifier") == []
        assert factory.read(child)["state"]["type"] == "RUNNING"
    assert factory.wait(run)["state"]["message"] == "1 of 3 stages ran: train_classifier."


def test_a_cancelled_run_takes_back_what_it_sent(factory):
    """Cancelled while its stage waits on the other pool: both end, and no slot stays taken."""
    call(factory.folder, "labelfactory", "profile", "--set", "train_classifier.seed=2")
    with slot_taken(factory):
        run = factory.run("train_classifier")
        wait_until(lambda: "train_classifier" in children(factory, run), lambda: story(factory, run))
        child = children(factory, run)["train_classifier"]["id"]
        wait_until(lambda: factory.read(child)["state"]["type"] == "RUNNING", lambda: factory.log("worker gpu"))
        factory.api.post(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
        assert factory.wait(run)["state"]["type"] == "CANCELLED"
        assert factory.wait(child)["state"]["type"] == "CANCELLED"
    wait_until(lambda: free_slots(factory) == 1)


def test_a_pool_whose_worker_is_gone_is_said_at_once(factory):
    """The worker died: the run ends as the user's own, before anything ran; `--here` does without."""
    os.kill(factory.pid("worker gpu"), signal.SIGKILL)
    (worker,) = known_workers(factory.api, "gpu")
    factory.api.call("DELETE", f"/work_pools/gpu/workers/{worker}")
    # a worker of short beats: Prefect counts it as gone within seconds, not within minutes
    factory.api.post("/work_pools/gpu/workers/heartbeat", {"name": worker, "heartbeat_interval_seconds": 1})
    wait_until(lambda: not known_workers(factory.api, "gpu")[worker])
    done = factory.wait(factory.run("train_classifier"))
    assert done["state"]["name"] == "User error"
    assert "train_classifier needs the pool 'gpu', which has no worker online" in done["state"]["message"]
    assert factory.tasks(done["id"]) == {}
    done = factory.wait(factory.run("train_classifier", "--here"))
    assert done["state"]["message"] == "1 of 3 stages ran: train_classifier."
    assert children(factory, done["id"]) == {}
