"""MLflow hears of everything once, in order, whenever it answers; a real SQLite store, no mock."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from made_line import MadeLine
from workspace import ROOT

from labelfactory.digests import digest_rows
from labelfactory.rows.shards import ShardFolder
from labelfactory.settings.params import read_yaml
from lineage.audit import audit_file
from lineage.deliver import Delivered, deliver
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.mlflow_home import tracking_uri
from lineage.outbox import Outbox
from lineage.record import record

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own, about libraries that it uses
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # its pool of SQLite connections is closed at exit
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Path:
    """A project of two runs, the second with other masks, and an MLflow store that heard of both."""
    folder = tmp_path_factory.mktemp("told")
    before = Path.cwd()
    os.chdir(folder)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    try:
        line = MadeLine()
        record({"prefect.flow_run": "42"})
        line.run(refine_crf="changed")
        record()
        assert deliver().problem == ""
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def here(told, monkeypatch) -> Path:
    monkeypatch.chdir(told)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return told


@pytest.fixture
def client(here):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri(), tracking_uri())


def runs(client) -> list:
    experiment = client.get_experiment_by_name("labelfactory")
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"], max_results=100)


def named(client, name: str) -> list:
    return [run for run in runs(client) if run.info.run_name == name]


def test_each_executed_stage_is_a_run_under_its_line(client):
    """Eleven stages, then the three that ran again; the others are linked to the runs that made them."""
    lines = sorted(named(client, "line"), key=lambda r: -len(r.data.tags["executed"]))
    assert [len(run.data.tags["executed"].split()) for run in lines] == [11, 3]
    for run in lines:
        children = [r for r in runs(client) if r.data.tags.get("mlflow.parentRunId") == run.info.run_id]
        assert sorted(r.info.run_name for r in children) == sorted(run.data.tags["executed"].split())
    first, second = ({k: v for k, v in run.data.tags.items() if k.startswith("run.")} for run in lines)
    assert len(first) == len(second) == 11
    again = {stage for stage in first if first[stage] != second[stage]}
    assert again == {"run.refine_crf", "run.train_segmenter", "run.evaluate"}
    assert lines[0].data.tags["prefect.flow_run"] == "42"
    assert all(run.info.status == "FINISHED" for run in runs(client))
    assert {"git_dirty", "dvc_lock", "params", "ledger.head"} <= set(lines[0].data.tags)


def test_a_run_holds_parameters_curves_tags_and_data(client, here):
    """Its own section alone; the loss at each epoch; seconds; the row set that it read, by its digest."""
    run = max(named(client, "train_segmenter"), key=lambda r: r.info.start_time)
    settings = read_yaml(Path("params.yaml"))["train_segmenter"]
    assert run.data.params["train_segmenter.epochs"] == str(settings["epochs"])
    assert all(name.startswith("train_segmenter.") for name in run.data.params)
    curve = client.get_metric_history(run.info.run_id, "curve/loss")
    assert [(point.step, point.value) for point in curve] == [(1, 0.5), (2, 0.25)]
    assert {name: run.data.tags[name] for name in ("seconds", "peak_memory_mb", "device")} == {
        "seconds": "1.5",
        "peak_memory_mb": "100",
        "device": "cpu",
    }
    rows = digest_rows((s.image_id, s.digest) for s in ShardFolder(here / "data/masks").all_states())
    newest = [r for r in named(client, "train_segmenter") if r.data.tags["output.segmenter"] in _model(here, 2)]
    inputs = {i.dataset.name: i.dataset.digest for i in newest[0].inputs.dataset_inputs}
    assert inputs["masks"] == rows[:36]
    found = client.search_runs([run.info.experiment_id], f"dataset.digest = '{rows[:36]}'")
    assert newest[0].info.run_id in {r.info.run_id for r in found}
    scores = named(client, "evaluate")[0].data.metrics
    assert scores["miou/val/model"] == 0.5


def _model(here: Path, version: int) -> str:
    return Lookup(Ledger(here / "data/ledger")).model(f"segmenter@{version}").digest


def test_checkpoints_are_logged_models_and_the_segmenter_is_registered(client, here):
    """One model a checkpoint with its file; versions in the ledger's order; `latest` is the newest."""
    experiment = client.get_experiment_by_name("labelfactory").experiment_id
    models = {m.name: m for m in client.search_logged_models([experiment])}
    assert set(models) == {"classifier-1", "affinity-1", "segmenter-1", "segmenter-2"}
    versions = client.search_model_versions("name = 'segmenter'")
    tags = {int(v.version): v.tags["labelfactory.id"] for v in versions}
    assert tags == {n: _model(here, n) for n in (1, 2)}
    kept = audit_file(Path(models["segmenter-2"].artifact_location.removeprefix("file://")))
    assert (kept["weights"], kept["problems"]) == (_model(here, 2), [])
    assert client.get_registered_model("segmenter").latest_versions[0].version in ("2", 2)


def test_a_second_delivery_says_nothing(client):
    """The outbox is empty, and stays so."""
    count = len(runs(client))
    assert deliver() == Delivered(0, 0)
    record()
    assert deliver() == Delivered(0, 0)
    assert len(runs(client)) == count


def test_letters_wait_for_mlflow_and_follow_once_in_order(client, here, monkeypatch):
    """Nobody listens: they wait. A run that was begun before a kill is thrown away. A letter that was taken is not twice."""
    count = len(runs(client))
    outbox = Outbox()
    detail = {"stages": {}, "executed": [], "tags": {}}
    with Ledger().locked():
        for number in range(3):
            outbox.put("line", f"letter-{number}", detail)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    waiting = deliver()
    assert (waiting.taken, waiting.waiting) == (0, 3)
    assert waiting.problem
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    experiment = client.get_experiment_by_name("labelfactory").experiment_id
    client.create_run(experiment, tags={"labelfactory.id": "letter-0"}, run_name="line")  # killed in the middle
    done = client.create_run(experiment, tags={"labelfactory.id": "letter-1"}, run_name="line")
    client.set_terminated(done.info.run_id)  # killed before the letter was thrown away
    assert deliver() == Delivered(3, 0)
    ids = [run.data.tags.get("labelfactory.id") for run in runs(client)]
    assert [ids.count(f"letter-{n}") for n in range(3)] == [1, 1, 1]
    assert len(ids) == count + 3


def test_a_locked_store_costs_the_line_nothing_but_the_wait(client, here):
    """Another program holds the database: the letter waits, and follows."""
    with Ledger().locked():
        Outbox().put("line", "locked", {"stages": {}, "executed": [], "tags": {}})
    other = sqlite3.connect(here / "data/mlflow/mlflow.db")
    other.execute("BEGIN EXCLUSIVE")
    held = deliver()
    other.rollback()
    other.close()
    assert (held.taken, held.waiting) == (0, 1)
    assert deliver() == Delivered(1, 0)


def test_commands_that_need_no_mlflow_do_not_import_it():
    """It takes seconds: only a delivery of letters may."""
    program = "import sys, app.main, lineage.verify, lineage.diff; sys.exit('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=200, check=False)
    assert done.returncode == 0
