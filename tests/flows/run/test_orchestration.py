"""Flows on a real Prefect server and worker on loopback: what a person types, and what the server says of it afterwards."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from factory import SETTINGS, Factory, running_in, wait_until
from listener import Listener
from small_line import small_project
from workspace import call

from labelfactory.rows.shards import ShardFolder

pytestmark = [pytest.mark.slow, pytest.mark.starts_program, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    """Where the runs of this module say how they ended."""
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture(scope="module")
def factory(tmp_path_factory, listener) -> Iterator[Factory]:
    """20 images; server and worker are up, the flows are deployed, nothing has run."""
    folder = small_project(tmp_path_factory.mktemp("orchestration") / "project", 20)
    factory = Factory(folder, {**SETTINGS, "LABELFACTORY_WEBHOOK": listener.address})
    try:
        shown = factory.up()
        assert f"server: http://127.0.0.1:{factory.port}" in shown
        assert {"server", "watcher", "worker cpu"} <= set(re.findall(r"^([a-z ]+): pid", shown, re.MULTILINE))
        names = factory.type("deploy").splitlines()
        assert names[:3] == ["label-factory/cpu", "label-new-images/cpu", "label-new-images/nightly"]
        assert not any("/gpu" in name for name in names)  # it would stand there as not ready
        assert any(name.startswith("gpu: no worker") for name in names)
        yield factory
    finally:
        factory.type("down")
        assert running_in(folder) == []


def two_parts(output: str) -> str:
    """The error's first part; there is a remedy and no traceback."""
    assert "Traceback" not in output
    lines = output[output.index("error: ") :].strip().splitlines()
    assert len(lines) >= 2, output
    return lines[0]


@contextmanager
def instead_of_prepare(factory: Factory, program: str) -> Iterator[None]:
    """While the body runs, the stage prepare does this instead of its work."""
    path = factory.folder / "stages/prepare.py"
    good = path.read_text()
    start = 'if __name__ == "__main__":'
    path.write_text(good.replace(start, f"{start}\n    {program}"))
    try:
        yield
    finally:
        path.write_text(good)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "refine_crff", "--on", "cpu"), "'refine_crff' is not a stage; did you mean `refine_crf`?"),
        (("run", "--on", "gpu"), "no worker of the pool 'gpu' is online"),
        (("run", "--on", "cpus"), "there is no work pool 'cpus'; did you mean `cpu`?"),
        (("deploy", "--pool", "nowhere"), "there is no work pool 'nowhere'"),
        (("deploy", "--cron", "every night"), "'every night' is not a cron expression"),
        (("deploy", "--cron", "61 3 * * *"), "'61 3 * * *' is not a cron expression"),
    ],
)
def test_what_cannot_work_is_said_at_once(factory, words, said):
    """Not after an hour of waiting: exit code 2, what is wrong, what to type."""
    assert said in two_parts(factory.type(*words, code=2))


def test_up_twice_starts_nothing(factory):
    """The same processes, by pid; and nobody else gets their port."""
    before = factory.pid("server")
    assert "already up" in factory.up()
    assert factory.pid("server") == before


def test_a_users_error_is_not_tried_again(factory, listener):
    """The state says whose it is and what to do, the task ran once, and the webhook heard of it."""
    call(factory.folder, "labelfactory", "profile", "--set", "prepare.val_list=vla")
    name, _, page = factory.type("run", "prepare", "--on", "cpu").strip().rpartition(": http")
    done = factory.wait(page.rsplit("/", 1)[-1])
    call(factory.folder, "labelfactory", "profile", "--set", "prepare.val_list=val")
    assert done["name"] == name  # what was printed is what Prefect's pages show
    assert (done["state"]["type"], done["state"]["name"]) == ("FAILED", "User error")
    assert "the list 'vla' has no usable image" in done["state"]["message"]
    task = factory.tasks(done["id"])["prepare"]
    assert (task["state"]["name"], task["run_count"]) == ("User error", 1)
    wait_until(lambda: any(heard["run_id"] == done["id"] for heard in listener.heard))
    heard = next(heard for heard in listener.heard if heard["run_id"] == done["id"])
    assert (heard["flow"], heard["state"], heard["type"]) == ("label-factory", "User error", "FAILED")
    assert heard["page"].endswith(done["id"])

    def logs() -> list[dict]:
        return factory.api.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [done["id"]]}}})

    wait_until(lambda: any("User error" in entry["message"] for entry in logs()))  # the server gets them in batches
    assert "geheim" not in str(logs()) + str(factory.artifacts(done["id"])) + str(done)  # the webhook's token
    assert not any("geheim" in factory.log(name) for name in ("worker cpu", "watcher", "server"))


def test_a_crash_is_tried_again_and_then_named(factory):
    """A stage that kills itself, as where memory runs out: once more after the pause, then `Stage crashed`."""
    with instead_of_prepare(factory, "import os; os.kill(os.getpid(), 9)"):
        done = factory.wait(factory.run("prepare"))
    assert (done["state"]["type"], done["state"]["name"]) == ("FAILED", "Stage crashed")
    assert "was killed by signal 9" in done["state"]["message"]
    assert factory.tasks(done["id"])["prepare"]["run_count"] == 2


def working(factory: Factory) -> list[int]:
    """The processes of the stage prepare."""
    return running_in(factory.folder, "stages.prepare")


def test_a_run_that_was_given_away_ends_itself(factory):
    """Marked as crashed although it lives, as after a broken network: it ends its stage and leaves the state alone."""
    with instead_of_prepare(factory, "import time; time.sleep(600)"):
        run = factory.run("prepare")
        wait_until(lambda: working(factory), lambda: factory.log("worker cpu")[-3000:])
        state = {"type": "CRASHED", "name": "Crashed", "message": "given away"}
        factory.api.post(f"/flow_runs/{run}/set_state", {"state": state, "force": True})
        wait_until(lambda: not working(factory), lambda: factory.log("worker cpu")[-3000:])
        assert "this run was given to another worker" in factory.log("worker cpu")
    assert factory.wait(factory.run("prepare"))["state"]["type"] == "COMPLETED"  # the worker is free again
    assert factory.read(run)["state"]["message"] == "given away"


def test_a_cancelled_run_stops_its_stage_and_the_next_goes_on(factory):
    """Cancelled on Prefect's page in the middle of a stage: nothing works on, nothing stays locked."""
    with instead_of_prepare(factory, "import time; time.sleep(600)"):
        run = factory.run("prepare")
        wait_until(lambda: working(factory), lambda: factory.log("worker cpu")[-3000:])
        factory.api.post(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
        done = factory.wait(run)
        assert done["state"]["type"] == "CANCELLED"
        wait_until(lambda: not working(factory))
    assert factory.wait(factory.run("prepare"))["state"]["type"] == "COMPLETED"


def test_new_images_become_masks_with_nobody_touching_anything(factory, listener):
    """The whole line once; then a cron of every minute finds what was added to the source, and the next run nothing."""
    done = factory.wait(factory.run())
    assert done["state"]["type"] == "COMPLETED", done["state"]
    assert re.fullmatch(r"whole line, \d\d \w+ \d\d:\d\d", done["name"])
    made = factory.artifacts(done["id"])
    assert "| refine_crf | 15 rows computed |" in made["line"]
    assert "mIoU train, %" in made["line"]
    assert "report.html" in made["report"]
    assert made["progress-extract-cams"] == 100.0
    again = factory.wait(factory.run())
    assert (again["state"]["name"], again["state"]["type"]) == ("Up to date", "COMPLETED")

    masks = ShardFolder(factory.folder / "data/masks")
    before = {row.image_id: row.digest for row in masks.all_states()}
    factory.type("deploy", "--cron", "* * * * *", "--source", "demo:26")
    wait_until(lambda: len(masks.all_states()) > len(before), lambda: factory.log("worker cpu")[-3000:])
    find = {"deployments": {"name": {"any_": ["nightly"]}}, "sort": "START_TIME_ASC"}
    first = factory.wait(factory.api.post("/flow_runs/filter", find)[0]["id"])
    second = factory.wait(factory.api.post(f"/deployments/{first['deployment_id']}/create_flow_run", {})["id"])
    factory.type("deploy")
    after = {row.image_id: row.digest for row in masks.all_states()}
    new = set(after) - set(before)
    assert {image: after[image] for image in before} == before
    assert new
    summary = factory.artifacts(first["id"])["new-images"]
    assert all(f"| {image} | a mask |" in summary for image in new)
    assert second["state"]["name"] == "Up to date"
    assert factory.artifacts(second["id"])["new-images"] == "Nothing is new."
    assert any(heard["flow"] == "label-new-images" for heard in listener.heard)


def test_down_ends_what_up_started_and_nothing_else(factory):
    """A pid of ours that another process has taken over is left alone; afterwards the server is said to be down."""
    pids = [factory.pid(name) for name in ("server", "watcher", "worker cpu")]
    os.kill(factory.pid("watcher"), signal.SIGKILL)
    shown = factory.type("down")
    assert "worker cpu, server" in shown
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert "`labelfactory up` started nothing here" in factory.type("down")
    assert "no Prefect server is known here" in two_parts(factory.type("run", "--on", "cpu", code=2))
    assert not Path(factory.folder, ".labelfactory/services.json").exists()
