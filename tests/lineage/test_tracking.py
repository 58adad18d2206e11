"""MLflow hears of everything once, in order, whenever it answers; a real SQLite store, no mock."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from made_line import MadeLine
from workspace import ROOT

from app.doctor import _letters
from app.record import report
from labelfactory.digests import digest_rows
from labelfactory.rows.shards import ShardFolder
from labelfactory.settings.params import read_yaml
from labelfactory.stage.output_state import passport_of
from lineage.audit import audit_file
from lineage.deliver import Delivered, deliver, track_at
from lineage.ledger import Ledger, events_table
from lineage.lookup import Lookup
from lineage.mlflow_home import tracking_uri
from lineage.outbox import Outbox
from lineage.record import Recorded, record
from lineage.tracking import Tracking
from lineage.verify import verify

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
def apart(told, tmp_path, monkeypatch) -> Path:
    """A copy of the project, whose MLflow a test may spoil."""
    folder = tmp_path / "apart"
    shutil.copytree(told, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


def store():
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri(), tracking_uri())


@pytest.fixture
def client(here):
    return store()


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


def test_letters_wait_for_mlflow_and_follow_once_in_order(apart, monkeypatch):
    """Nobody listens: they wait. A run that was begun before a kill is thrown away. A letter that was taken is not twice."""
    client = store()
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


def test_a_locked_store_costs_the_line_nothing_but_the_wait(apart):
    """Another program holds the database: the letter waits, and follows."""
    with Ledger().locked():
        Outbox().put("line", "locked", {"stages": {}, "executed": [], "tags": {}})
    other = sqlite3.connect(apart / "data/mlflow/mlflow.db")
    other.execute("BEGIN EXCLUSIVE")
    held = deliver()
    other.rollback()
    other.close()
    assert (held.taken, held.waiting) == (0, 1)
    assert deliver() == Delivered(1, 0)


def test_a_model_gets_its_run_when_its_stage_has_ended(apart):
    """Recorded before its stage's report, it has a run of its own; that becomes the run of its execution, in a new store too."""
    line = MadeLine.here()
    line.killed = "train_segmenter"
    parents = {noun: passport_of(noun) for noun in ("classifier", "affinity")}
    line.train("segmenter", parents, seed=5)
    record()
    assert deliver().waiting == 0

    def run_of_third():
        (version,) = [v for v in store().search_model_versions("name = 'segmenter'") if int(v.version) == 3]
        return store().get_run(version.run_id)

    before = run_of_third()
    assert (before.data.tags["recovered"], before.data.params) == ("its execution is not known", {})
    assert before.data.metrics["loss"] == 0.25
    line.killed = ""
    line.train("segmenter", parents, seed=5)
    record()
    for _ in range(2):
        assert deliver().waiting == 0
        after, model = run_of_third(), Lookup().model("3")
        assert after.info.run_id == before.info.run_id
        assert after.data.tags["labelfactory.id"] == model.run
        assert "recovered" not in after.data.tags
        assert "mlflow.parentRunId" in after.data.tags
        assert after.data.params
        ids = [run.data.tags.get("labelfactory.id") for run in runs(store())]
        assert ids.count(model.run) == 1
        with Ledger().locked():  # a letter that was taken may come again
            (detail,) = [e["detail"] for e in Ledger().events("model") if e["subject"] == model.digest]
            Outbox().put("model", model.digest, detail)


# --- letters that are refused -----------------------------------------------------------------------------------------

LINE = {"stages": {}, "executed": [], "tags": {}}


def put(*letters: tuple[str, str, dict]) -> None:
    with Ledger().locked():
        for letter in letters:
            Outbox().put(*letter)


def test_a_letter_that_mlflow_refuses_holds_up_no_other(apart, capsys):
    """It is set aside with its reason, said wherever one looks, and tried again; what needs it waits with it."""
    put(
        ("line", "bad-line", {"stages": {}}),
        ("execution", "of-bad-line", {"line": "bad-line"}),
        ("line", "good-line", LINE),
    )
    delivered = deliver()
    assert (delivered.taken, delivered.waiting, delivered.problem) == (1, 2, "")
    assert delivered.refused[0].startswith("line bad-line: KeyError: ")
    assert delivered.refused[1] == "execution of-bad-line: waits for line"
    ids = [run.data.tags.get("labelfactory.id") for run in runs(store())]
    assert ids.count("good-line") == 1
    report(Recorded(), delivered)
    assert (
        "2 records wait in data/ledger/outbox: MLflow refuses 2 of them (line bad-line: KeyError"
        in capsys.readouterr().err
    )
    assert [f.what.split(":")[0] for f in verify()] == ["MLflow does not take it"] * 2
    assert [passed for passed, _, _ in _letters()] == [False, False]
    first, second = Outbox().letters()
    first.path.write_text(json.dumps({"kind": "line", "id": "bad-line", "detail": LINE}))
    second.done()
    assert deliver() == Delivered(1, 0)


def test_the_level_of_a_model_is_on_its_run(apart):
    """Figures with their interval as metrics, the sample as a tag; it waits for its model."""
    model = _model(apart, 2)
    record = {"list": "train", "seed": 3, "audited": 50, "by_points": 0, "drawn": 50, "population": 400}
    figures = {"level/train/masks/miou": 0.7, "level/train/masks/miou_low": 0.66, "level/train/masks/miou_high": 0.74}
    put(("level", "one", {"model": model, "figures": figures, "record": record}))
    deliver()
    (run,) = [run for run in runs(store()) if "level.sample" in run.data.tags]
    assert figures.items() <= run.data.metrics.items()
    assert json.loads(run.data.tags["level.sample"]) == record
    assert run.data.tags["labelfactory.id"] == Lookup().models[model].run
    put(("level", "two", {"model": "unknown", "figures": figures, "record": record}))
    deliver()
    assert [letter.id for letter in Outbox().letters()] == ["two"]


def test_a_promotion_follows_its_model_and_never_a_later_one(apart, monkeypatch):
    """A model is refused: the next one waits, to have the ledger's number, and so do promotions of both; the last one holds."""
    one, two = (_model(apart, n) for n in (1, 2))
    lose(apart, monkeypatch)
    refused = {one}
    take = Tracking._log_model

    def log(self, letter, run):
        if letter.id in refused:
            raise ValueError("a figure is not a number")
        return take(self, letter, run)

    monkeypatch.setattr(Tracking, "_log_model", log)
    put(("promoted", "first", {"alias": "champion", "model": one}),
        ("withdrawn", "gone", {"images": ["image-1"], "models": [one, two]}))  # fmt: skip
    assert {letter.kind for letter in Outbox().letters()} == {"promoted", "withdrawn"}
    delivered = deliver()  # the store is new, so all comes from the ledger, before what waits
    assert delivered.problem == ""
    assert {line.partition(" ")[0] for line in delivered.refused} == {"model", "promoted", "withdrawn"}
    assert store().search_model_versions("name = 'segmenter'") == []
    put(("promoted", "second", {"alias": "champion", "model": two}))
    assert deliver().waiting == 5
    refused.clear()
    deliver()
    assert Outbox().letters() == []
    assert numbered() == {1: one, 2: two}
    versions = {v.tags["labelfactory.id"]: v for v in store().search_model_versions("name = 'segmenter'")}
    assert versions[one].tags["withdrawn"] == versions[two].tags["withdrawn"] == "image-1"
    assert store().get_model_version_by_alias("segmenter", "champion").tags["labelfactory.id"] == two


def numbered() -> dict[int, str]:
    """Versions in the registry: number → the ledger's id."""
    versions = store().search_model_versions("name = 'segmenter'")
    return {int(v.version): v.tags.get("labelfactory.id", "") for v in versions}


def another_segmenter(*seeds: int) -> None:
    """Train the segmenter again with each of these seeds, and record it."""
    line, parents = MadeLine.here(), {noun: passport_of(noun) for noun in ("classifier", "affinity")}
    for seed in seeds:
        line.train("segmenter", parents, seed=seed)
        record()


def test_an_upload_that_fails_once_does_not_shift_the_numbers(apart, monkeypatch):
    """The third model is refused, the fourth waits although it could be taken; the classifier's models do not."""
    take, failed = Tracking._log_model, []

    def log(self, letter, run):
        if letter.detail["version"] == 3 and not failed:
            failed.append(letter.id)
            raise OSError("the connection broke")
        return take(self, letter, run)

    monkeypatch.setattr(Tracking, "_log_model", log)
    another_segmenter(5, 6)
    delivered = deliver()
    assert [line.partition(": ")[2] for line in delivered.refused][1:] == ["waits for model"]
    assert set(numbered()) == {1, 2}
    assert deliver().waiting == 0
    assert numbered() == {n: _model(apart, n) for n in (1, 2, 3, 4)}


def test_a_number_that_somebody_took_is_said(apart):
    """A version made by hand has the number of the next one: it is refused, until the registered model is deleted, as is said."""
    (version, *_) = store().search_model_versions("name = 'segmenter'")
    store().create_model_version("segmenter", version.source, version.run_id)
    another_segmenter(5)
    for _ in range(2):
        delivered = deliver()
        assert "the registry is at segmenter 3, the ledger at 3: delete the registered model" in delivered.refused[0]
        assert numbered()[3] == ""
    store().delete_registered_model("segmenter")
    assert deliver().waiting == 0
    assert numbered() == {n: _model(apart, n) for n in (1, 2, 3)}


def test_a_version_that_was_deleted_keeps_its_number(apart):
    """As a model that learnt from a withdrawn image may be: the next one has the ledger's number all the same."""
    store().delete_model_version("segmenter", "2")
    another_segmenter(5)
    assert deliver().waiting == 0
    assert numbered() == {n: _model(apart, n) for n in (1, 3)}


def lose(folder: Path, monkeypatch) -> None:
    """The project without its MLflow database; elsewhere, as MLflow keeps connections to a database of this name."""
    shutil.rmtree(folder / "data/mlflow")
    monkeypatch.chdir(folder.rename(folder.with_name("moved")))


def everything() -> dict:
    """All that MLflow tells, by the ledger's ids: MLflow's own ids are new in a new store."""
    client = store()
    experiment = client.get_experiment_by_name("labelfactory").experiment_id
    by_run = {run.info.run_id: run.data.tags.get("labelfactory.id") for run in runs(client)}

    def plain(tags: dict) -> dict:
        kept = {k: by_run.get(v, v) for k, v in tags.items() if not k.startswith("ledger.")}
        return {
            k: v for k, v in kept.items() if k.startswith("run.") or "mlflow." not in k or k == "mlflow.parentRunId"
        }

    return {
        "runs": {by_run[r.info.run_id]: (r.info.run_name, plain(r.data.tags), r.data.params, r.data.metrics) for r in runs(client)},
        "models": {m.tags["labelfactory.id"]: (m.name, m.params, {k: v for k, v in m.tags.items() if "mlflow." not in k})
                   for m in client.search_logged_models([experiment])},
        "versions": {int(v.version): v.tags for v in client.search_model_versions("name = 'segmenter'")},
        "aliases": {k: int(v) for k, v in client.get_registered_model("segmenter").aliases.items()},
        "files": {m.name: audit_file(Path(m.artifact_location.removeprefix("file://")))["problems"]
                  for m in client.search_logged_models([experiment])
                  if Path(m.artifact_location.removeprefix("file://")).is_dir()},
    }  # fmt: skip


@pytest.mark.parametrize("loss", ["the database is deleted", "its runs are deleted", "it is made anew by `up`"])
def test_an_mlflow_that_lost_everything_is_told_again(apart, monkeypatch, loss):
    """The same runs, models, versions, aliases and marks of withdrawals; then no letter is taken twice."""
    one, now = _model(apart, 1), datetime.now(UTC).replace(microsecond=0)
    promoted, gone = {"alias": "champion", "model": one}, {"images": ["image-1"], "photographs": {}, "models": [one]}
    with Ledger().locked():
        Outbox().put("promoted", "first", promoted)
        Outbox().put("withdrawn", "gone", gone)
        Ledger().append("events", events_table([("promoted", one, promoted, now), ("withdrawn", "gone", gone, now)]))
    assert deliver() == Delivered(2, 0)
    before = everything()
    assert before["aliases"] == {"champion": 1}
    if loss == "its runs are deleted":
        client = store()
        experiment = client.get_experiment_by_name("labelfactory").experiment_id
        for run in runs(client):
            client.delete_run(run.info.run_id)
        client.delete_experiment(experiment)
        put(("line", "another", LINE))  # what makes the next delivery look
        assert deliver().waiting == 0
        ids = {run.data.tags["labelfactory.id"] for run in runs(store())}
        assert ids == {*before["runs"], "another"}
        return
    lose(apart, monkeypatch)
    if loss == "it is made anew by `up`":
        track_at(tracking_uri())
        put(("line", "another", LINE))
    delivered = deliver()
    assert (delivered.waiting, delivered.problem) == (0, "")
    after = everything()
    after["runs"].pop("another", None)
    kept = {name: problems for name, problems in before["files"].items() if name != "segmenter-1"}
    assert after == {**before, "files": kept}  # the checkpoint of a withdrawn model is not copied again
    assert deliver() == Delivered(0, 0)


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b"{}", b"[" * 100_000, b"\xff\x00", b'{"kind": 1, "id": [], "detail": null}']
)
def test_a_damaged_letter_is_made_again(apart, damage):
    """Its event is in the ledger; the letters behind it do not wait."""
    client = store()
    lost = runs(client)[0].data.tags["labelfactory.id"]
    kind = "line" if runs(client)[0].info.run_name == "line" else "execution"
    client.delete_run(runs(client)[0].info.run_id)
    put((kind, lost, {}), ("line", "behind", LINE))
    Outbox().letters()[0].path.write_bytes(damage)
    delivered = deliver()
    assert (delivered.waiting, delivered.problem, delivered.refused) == (0, "", ())
    ids = [run.data.tags["labelfactory.id"] for run in runs(store())]
    assert (ids.count(lost), ids.count("behind"), len(ids)) == (1, 1, len(set(ids)))


def test_commands_that_need_no_mlflow_do_not_import_it():
    """It takes seconds: only a delivery of letters may."""
    program = "import sys, app.main, lineage.verify, lineage.diff; sys.exit('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=200, check=False)
    assert done.returncode == 0
