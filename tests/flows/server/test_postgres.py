"""Server and MLflow on a real PostgreSQL: what `up --database` makes of it, and ten runs at once."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from factory import SETTINGS, Factory, running_in, wait_until
from postgres import PASSWORD, Postgres, running_postgres
from small_line import small_project
from warm_python import warm_python
from workspace import ROOT, copy_workspace

from flows.server.database import read_database
from labelfactory.errors import ParamsError, UserError
from lineage.outbox import Outbox

AT_ONCE = 10
RUN = "from flows.label_factory import label_factory; label_factory(targets=['prepare'])"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as postgres:
        yield postgres


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense", "not the address of a database"),
        ("postgresql://me:geheim@host:port/name", "not the address of a database"),
        ("postgresql://me:geheim@host:5432", "names no database"),
        ("mysql://me:geheim@host/name", "mysql is not PostgreSQL"),
        ("sqlite:////geheim.db", "sqlite is not PostgreSQL"),
    ],
)
def test_what_is_no_postgresql_is_refused_without_being_repeated(address, said):
    """It may hold a password."""
    with pytest.raises(ParamsError, match=said) as caught:
        read_database(address)
    assert "geheim" not in str(caught.value)
    assert "postgresql://USER@HOST" in caught.value.remedy


def test_the_password_leaves_the_address():
    """It goes into the environment, decoded, and nowhere else; TLS is asked for in each driver's own word."""
    database = read_database("postgres://me:a%40b%2Fc@host:5433/name?sslmode=require")
    assert database.password() == {"PGPASSWORD": "a@b/c"}
    server = database.server()
    assert server["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == "postgresql+asyncpg://me@host:5433/name?ssl=require"
    assert database.tracking.startswith("postgresql://me@host:5433/name?")
    assert "sslmode=require" in database.tracking
    assert "options=-csearch_path%3Dmlflow" in database.tracking
    assert "a@b" not in repr(database) + database.shown
    assert read_database("postgresql://host/name").password() == {}
    asked = read_database("postgresql://me@host/name?password=a%40b/c&sslmode=require")
    assert asked.password() == {"PGPASSWORD": "a@b/c"}
    assert "a@b" not in f"{asked.shown}{asked.tracking}{asked.server()}".replace("%40", "@")
    assert "sslmode=require" in asked.tracking
    with pytest.raises(ParamsError, match="sslpassword would be written to files"):
        read_database("postgresql://me@host/name?sslpassword=x")


def test_a_database_that_cannot_be_used_is_said_at_once(postgres):
    """A wrong password, no such database, nobody there: PostgreSQL's own words, and no password in them."""
    wrong = read_database(postgres.address("postgres", password="geheim2"))
    for database, said in (
        (wrong, "password authentication failed"),
        (read_database(postgres.address("nowhere")), 'database "nowhere" does not exist'),
        (read_database("postgresql://me:geheim2@127.0.0.1:1/name"), "Connection refused"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            database.prepare()
        assert "geheim" not in str(caught.value)


@pytest.fixture(scope="module")
def factory(tmp_path_factory, postgres) -> Iterator[Factory]:
    """16 images; `up` was given a database, password and all. Nothing has run."""
    folder = small_project(tmp_path_factory.mktemp("postgres") / "project", 16)
    factory = Factory(folder, {**SETTINGS, "MLFLOW_TRACKING_URI": ""})
    try:
        factory.type("up", "--port", str(factory.port), "--database", postgres.make("factory"))
        factory.type("deploy")
        yield factory
    finally:
        factory.type("down")
        assert running_in(folder) == []


@pytest.mark.slow
@pytest.mark.endurance
@pytest.mark.timeout(900)
def test_up_with_a_database_keeps_server_and_mlflow_there(factory, postgres):
    """A run through the worker is in both schemas, and no SQLite file appears; the password is in no file of the project."""
    done = factory.wait(factory.run("prepare"))
    assert done["state"]["type"] == "COMPLETED", done["state"]
    state = f"SELECT state_name FROM prefect.flow_run WHERE id = '{done['id']}'"
    assert postgres.ask("factory", state) == ["Completed"]
    named = "SELECT value FROM mlflow.tags WHERE key = 'prefect.flow_run_id'"
    wait_until(lambda: postgres.ask("factory", named) == [done["id"]], seconds=120)  # delivered after the run's end
    assert factory.tasks(done["id"])["record"]["state"]["name"] == "Completed"
    outbox = factory.folder / "data/ledger/outbox"
    wait_until(lambda: not list(outbox.glob("*.json")), seconds=120)  # letters go one by one, under the reader's hands
    assert [path for path in factory.folder.rglob("*.db") if ".dvc" not in path.parts] == []
    files = [path for path in factory.folder.rglob("*") if path.is_file()]
    assert not [path for path in files if any(secret in path.read_bytes() for secret in secrets())]


def secrets() -> tuple[bytes, ...]:
    """The password as it is, and as it stands in an address."""
    return PASSWORD.encode(), quote(PASSWORD, safe="").encode()


@pytest.mark.slow
@pytest.mark.endurance
@pytest.mark.timeout(900)
def test_ten_runs_at_once_lose_nothing(factory, postgres):
    """Ten projects run and record at the same moment: each run ends Completed, with its task, and is in MLflow once."""
    folders = [copy_workspace(factory.folder, factory.folder.parent / f"copy-{k}") for k in range(AT_ONCE)]
    for k, folder in enumerate(folders):  # other data sets, so that no two executions are the same one
        shutil.rmtree(folder / "data/ledger", ignore_errors=True)
        params = (folder / "params.yaml").read_text()
        (folder / "params.yaml").write_text(params.replace("max_bad_fraction: 0.05", f"max_bad_fraction: 0.{k + 11}"))
    before = set(flow_runs(factory))
    environment = {
        **os.environ,
        "PREFECT_API_URL": factory.api.url,
        "PREFECT_API_AUTH_STRING": factory.login,
        "MLFLOW_TRACKING_URI": "",
        "PGPASSWORD": PASSWORD,
        "LABELFACTORY_DEVICE": "cpu",
    }
    runs = [started(folder, environment) for folder in folders]
    try:
        codes = [run.wait(800) for run in runs]
    finally:
        for run in runs:
            run.kill()
    said = [(folder / "said").read_text() for folder in folders]
    assert codes == [0] * AT_ONCE, said
    states = {run: state for run, state in flow_runs(factory).items() if run not in before}
    assert list(states.values()) == ["Completed"] * AT_ONCE, said
    ids = ", ".join(f"'{run}'" for run in states)
    asked = f"SELECT name, state_name, count(DISTINCT flow_run_id) FROM prefect.task_run WHERE flow_run_id IN ({ids})"
    every = [f"prepare|Completed|{AT_ONCE}", f"record|Completed|{AT_ONCE}"]
    # the server writes down what became of tasks every five seconds, so after a run's end
    wait_until(
        lambda: sorted(postgres.ask("factory", f"{asked} GROUP BY 1, 2")) == every,
        lambda: str(postgres.ask("factory", f"{asked} GROUP BY 1, 2")),
        seconds=60,
    )
    told = f"SELECT value FROM mlflow.tags WHERE key = 'prefect.flow_run_id' AND value IN ({ids})"
    assert sorted(postgres.ask("factory", told)) == sorted(states)
    stages = "SELECT status, count(*) FROM mlflow.runs WHERE name = 'prepare' GROUP BY status"
    assert postgres.ask("factory", stages) == [f"FINISHED|{AT_ONCE + 1}"]
    assert not [left for folder in folders for left in (folder / "data/ledger/outbox").glob("*.json")]


def started(folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A run of a project's own code; what it says goes into a file."""
    own = {"PYTHONPATH": str(folder), "PREFECT_HOME": str(folder / ".labelfactory/prefect")}
    with (folder / "said").open("wb") as said:
        return subprocess.Popen(
            [warm_python() / "python", "-c", RUN],
            cwd=folder,
            env=environment | own,
            stdout=said,
            stderr=subprocess.STDOUT,
        )


def flow_runs(factory: Factory) -> dict[str, str]:
    """State by id of every run that the server knows."""
    return {run["id"]: run["state"]["name"] for run in factory.api.post("/flow_runs/filter", {})}


@pytest.mark.slow
@pytest.mark.endurance
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, about libraries that it uses
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:mlflow")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # its pool of connections is closed at exit
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ten_models_at_once_get_ten_versions(postgres, tmp_path, monkeypatch):
    """Ten processes deliver at the same moment, with nothing registered before: each version once, with the ledger's number."""
    from lineage.deliver import _deliver_all
    from lineage.tracking import Tracking  # MLflow takes seconds to import

    monkeypatch.chdir(tmp_path)
    shutil.copyfile(ROOT / "dvc.yaml", "dvc.yaml")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    database = read_database(postgres.make("models"))
    database.prepare()
    stores = [Tracking(database.tracking, {}) for _ in range(AT_ONCE)]
    outbox = Outbox(tmp_path / "outbox")
    for number in range(1, AT_ONCE + 1):
        outbox.put("model", f"weights-{number}", trained(f"weights-{number}", number))

    def delivers(store: Tracking) -> None:
        while outbox.waits():
            with outbox.locked() as mine:
                if mine:
                    _deliver_all(store, outbox)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(delivers, stores))
    named = "SELECT t.value, v.version FROM mlflow.model_versions v JOIN mlflow.model_version_tags t"
    rows = postgres.ask("models", f"{named} USING (name, version) WHERE t.key = 'labelfactory.id'")
    assert sorted(rows) == sorted(f"weights-{number}|{number}" for number in range(1, AT_ONCE + 1))


def trained(digest: str, version: int) -> dict[str, Any]:
    """What MLflow is told of a segmenter whose run it never heard of."""
    passport = {
        "stage": "train_segmenter",
        "key": digest,
        "training_rows_digest": "rows",
        "supervision": ["tags"],
        "parents": {},
        "params": {"epochs": 1},
        "metrics": {"loss": 0.5},
    }
    return {"name": "segmenter", "version": version, "run": "", "passport": passport}
