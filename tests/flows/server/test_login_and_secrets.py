"""A server with a login, and secrets planted in the environment and in a Prefect block: they work, and appear nowhere."""

import base64
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
from databases import with_databases
from factory import SETTINGS, Factory, running_in, wait_until
from listener import Listener
from small_line import small_project
from warm_python import warm_python
from workspace import BIN

from flows.server.webhook import WEBHOOK_BLOCK

LOGIN = "keeper:rosebud-in-the-login"
PLANTED = {
    "AWS_SECRET_ACCESS_KEY": "rosebud-in-the-bucket",
    "MLFLOW_TRACKING_PASSWORD": "rosebud-in-mlflow",
    "PREFECT_API_AUTH_STRING": LOGIN,
    "PREFECT_SERVER_API_AUTH_STRING": LOGIN,
}
IN_BLOCK = "rosebud-in-the-block"
CONTROL = "the-stage-was-here"
"""Printed by the same stage that prints all secrets: what looks for them would find them."""


def without_login(factory: Factory, *words: str) -> str:
    """What a person types who does not know the login."""
    stranger = Factory(factory.folder)
    kept = os.environ.pop("PREFECT_API_AUTH_STRING")
    try:
        return stranger.type(*words, code=2)
    finally:
        os.environ["PREFECT_API_AUTH_STRING"] = kept


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    """Where runs say how they ended."""
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture(scope="module")
def factory(tmp_path_factory) -> Iterator[Factory]:
    """12 images; a server that wants a login; the environment of its worker holds secrets."""
    folder = with_databases(small_project(tmp_path_factory.mktemp("login") / "project", 12))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_AUTH_STRING", LOGIN)
        factory = Factory(folder, {**SETTINGS, **PLANTED})
        try:
            factory.up()
            yield factory
        finally:
            factory.type("down")
            assert running_in(folder) == []


@pytest.mark.slow
@pytest.mark.endurance
@pytest.mark.timeout(1800)
def test_who_does_not_know_the_login_is_refused(factory):
    """In two lines that name the variable; with it the same command works."""
    for words in (("deploy",), ("run", "--on", "cpu")):
        shown = without_login(factory, *words)
        assert "the server expects other credentials (401)" in shown
        assert "PREFECT_API_AUTH_STRING" in shown
        assert "Traceback" not in shown
    assert "label-factory/cpu" in factory.type("deploy")


@pytest.mark.slow
@pytest.mark.endurance
@pytest.mark.timeout(1800)
def test_bare_prefect_deploy_registers_the_same(factory):
    """prefect.yaml is Prefect's own form: `prefect deploy --all` makes the same deployments, and a run of one works."""
    factory.type("deploy")
    ours = deployments(factory)
    assert ours
    for deployment in ours.values():
        factory.api.call("DELETE", f"/deployments/{deployment['id']}")
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PREFECT_API_URL": factory.api.url,
        "PREFECT_HOME": str(factory.folder / ".labelfactory/prefect"),
        "PYTHONPATH": str(factory.folder),
    }
    words = [str(warm_python() / "python"), "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(words, cwd=factory.folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    theirs = deployments(factory)
    for name, deployment in ours.items():
        for what in (
            "entrypoint",
            "work_pool_name",
            "description",
            "parameter_openapi_schema",
            "enforce_parameter_schema",
        ):
            assert filled(theirs[name][what]) == filled(deployment[what]), (name, what)
        assert [s["active"] for s in theirs[name]["schedules"]] == [s["active"] for s in deployment["schedules"]]
    assert {theirs[name]["work_pool_name"] for name in set(theirs) - set(ours)} == {
        "gpu"
    }  # for which there is no worker here
    assert factory.wait(factory.run("prepare"))["state"]["type"] == "COMPLETED"


def filled(value: Any) -> Any:
    """Without what is empty: Prefect's own command leaves that out."""
    return {k: v for k, v in value.items() if v != {}} if isinstance(value, dict) else value


def deployments(factory: Factory) -> dict[str, dict]:
    """All of them by flow and name."""
    flows = {flow["id"]: flow["name"] for flow in factory.api.post("/flows/filter", {})}
    return {f"{flows[d['flow_id']]}/{d['name']}": d for d in factory.api.post("/deployments/filter", {})}


@pytest.mark.slow
@pytest.mark.endurance
@pytest.mark.timeout(1800)
def test_a_planted_secret_appears_nowhere(factory, listener):
    """The line runs, one stage prints its whole environment, one fails with it: no log, artifact, report or record holds it."""
    make_block(factory, f"{listener.address}/{IN_BLOCK}")
    factory.type("deploy")
    talkative = f"import os; print({CONTROL!r}, dict(os.environ), flush=True)"
    change(
        factory.folder / "stages/prepare.py",
        'if __name__ == "__main__":',
        f'if __name__ == "__main__":\n    {talkative}',
    )
    done = factory.wait(factory.run())
    assert done["state"]["type"] == "COMPLETED", done["state"]
    change(factory.folder / "stages/prepare.py", "flush=True)", "flush=True); raise SystemExit(f'error: {os.environ}')")
    failed = factory.wait(factory.run("prepare"))
    assert failed["state"]["type"] == "FAILED"
    wait_until(lambda: len(listener.heard) >= 2)  # the webhook's address came from the block alone
    assert listener.heard[-1]["run_id"] == failed["id"]

    secrets = [IN_BLOCK, *(part for value in PLANTED.values() for part in value.split(":") if "rosebud" in part)]
    forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), coded(secret))} | {coded(LOGIN)}
    places = {**everything_on_the_server(factory), **everything_on_disk(factory.folder)}
    assert [name for name, text in places.items() if any(form.encode() in text for form in forms)] == []
    with_control = {name for name, text in places.items() if CONTROL.encode() in text}
    assert "logs" in with_control
    assert any(name.endswith("worker-cpu.log") for name in with_control)
    assert any("ledger" in name for name in places)
    assert any(name.endswith("mlflow.db") for name in places)


def make_block(factory: Factory, value: str) -> None:
    """A Prefect Secret block, made with Prefect's own library as its manual says."""
    program = f"from prefect.blocks.system import Secret; Secret(value={value!r}).save({WEBHOOK_BLOCK!r})"
    environment = {
        **os.environ,
        "PREFECT_API_URL": factory.api.url,
        "PREFECT_HOME": str(factory.folder / ".labelfactory/prefect"),
    }
    call_python = [str(BIN / "python"), "-c", program]
    subprocess.run(call_python, env=environment, check=True, capture_output=True, timeout=300)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def everything_on_the_server(factory: Factory) -> dict[str, bytes]:
    """All that its API tells, page by page."""
    found = {}
    for what in (
        "logs",
        "flow_runs",
        "task_runs",
        "artifacts",
        "deployments",
        "block_documents",
        "work_pools",
        "variables",
    ):
        pages, offset = [], 0
        while True:
            page = factory.api.post(f"/{what}/filter", {"limit": 200, "offset": offset})
            pages += page
            offset += len(page)
            if len(page) < 200:
                break
        found[what] = str(pages).encode()
        if what == "flow_runs":
            states = [factory.api.get(f"/flow_run_states/?flow_run_id={run['id']}") for run in pages]
            found["flow_run_states"] = str(states).encode()
    found["events"] = str(factory.api.post("/events/filter", {"limit": 50})).encode()
    return found


def everything_on_disk(folder: Path) -> dict[str, bytes]:
    """Each file of the project as it is, and what stands in its Parquet files, which are compressed."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found[str(path)] = path.read_bytes()
            if path.suffix == ".parquet":
                table = pq.read_table(path)
                found[f"{path} decoded"] = f"{table.schema.metadata} {table.to_pydict()}".encode()
    return found
