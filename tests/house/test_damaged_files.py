"""Every file of ours that is read back, damaged in every way: two lines and exit code 2, or made again; never a traceback."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from made_line import MadeLine
from visiting import leave_scores, project, visit

import app.status
from app.doctor import doctor
from app.quarantine import list_
from app.table import print_table
from flows.line.dvc_line import StageState
from flows.run.checks import check_run
from flows.server.api import find_page
from labelfactory.dataset.left_out import LeftOut, write_left_out
from labelfactory.dataset.prepared import read_dataset
from labelfactory.errors import UserError
from labelfactory.settings.wiring import read_wiring
from lineage.audit import audit_mask, audit_model
from lineage.deliver import deliver
from lineage.diff import diff
from lineage.lookup import open_ledger
from lineage.mlflow_home import tracking_uri, write_address
from lineage.record import record
from lineage.verify import verify

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore:.*httpx.*:DeprecationWarning"),  # Starlette's own, about its test client
]

PAGES = ("/", "/images", "/image?id=image-1", "/models", "/models/segmenter/1", "/diff?a=1&b=now", "/picture/mask?id=image-1",
         "/picture/truth?id=image-1", "/image/pixel?id=image-1&x=1&y=1", "/diff/pixels?a=1&b=now")  # fmt: skip


def parquet(**columns: list) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "garbage": lambda data: b"\xff\x00PAR1\x9d" * 20,
    "half": lambda data: data[: len(data) // 2],
    "a list": lambda data: b"[]",
    "a mapping": lambda data: b"{}",
    "a list of lists": lambda data: b'[[1], "a", null]',
    "other types": lambda data: json.dumps({key: [1, {"a": None}] for key in known(data)}).encode(),
    "a deep list": lambda data: b"[" * 100_000,
    "a long number": lambda data: b'{"sequence": ' + b"9" * 5000 + b"}",
    "other columns": lambda data: parquet(other=[1, 2]),
    "columns of other types": lambda data: parquet(**{key: [[1], [2]] for key in known(data)}),
}


def known(data: bytes) -> list[str]:
    """The keys of a JSON object, or the columns of a table."""
    try:
        return pq.read_schema(io.BytesIO(data)).names
    except pa.ArrowInvalid:
        pass
    try:
        content = json.loads(data)
    except ValueError:
        return ["key"]
    return list(content if isinstance(content, dict) else content[0])


FILES = (
    "data/ledger/HEAD",
    "data/ledger/seen.json",
    "data/ledger/withdrawn.json",
    "data/ledger/index-*.duckdb",
    "data/ledger/*-events.parquet",
    "data/ledger/*-masks.parquet",
    "data/ledger/*-training.parquet",
    "data/ledger/outbox/*-line.json",
    "data/ledger/outbox/*-model.json",
    "data/import/left_out.json",
    "data/import/manifest.parquet",
    "data/corrections/corrections.parquet",
    "data/dataset/images.parquet",
    "data/reports/refine_crf.json",
    "data/reports/prepare.json",
    "data/evaluation/metrics.json",
    "data/evaluation/images.parquet",
    "data/walk_threshold/thresholds.json",
    "data/cams/shard-00000.parquet",
    "data/masks/shard-00000.parquet",
    "data/segmenter/checkpoint.safetensors",
    "data/segmenter/training_rows.parquet",
    "data/segmenter/curve.csv",
    "data/mlflow/address",
    ".dvc/cache/files/md5/*/*.dir",
    ".labelfactory/services.json",
    "dvc.lock",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project of four images with everything that is read back."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        MadeLine()
        record()
        truth = {r.image_id: pa.array([0]).to_numpy() for r in ()}
        import numpy as np

        truth = {r.image_id: np.ones((r.height, r.width), np.uint8) for r in read_dataset().records}
        leave_scores(truth)
        write_left_out([LeftOut("a", "b", "c", "d")])
        write_address("sqlite:///" + str(folder / "mlflow.db"))
        Path(".labelfactory").mkdir()
        Path(".labelfactory/services.json").write_text('{"api": "http://127.0.0.1:1/api", "services": []}')
        from labelfactory.dataset.corrections import store_mask, write_corrections

        first = read_dataset().records[0]
        mask = np.ones((first.height, first.width), np.uint8)
        write_corrections([store_mask(first.image_id, first.sha256, mask, read_dataset().classes)])
        open_ledger().masks("image-1")  # makes the index
        Path("data/ledger/withdrawn.json").write_text('{"last": "", "photographs": [], "image_ids": []}')
    return folder


def pages() -> None:
    """Every page answers, if only with what is wrong."""
    with visit(project()) as client:
        for address in PAGES:
            assert client.get(address).status_code in (200, 404, 409), address


def ask(what: str) -> None:
    """What a command does, without the programs that it starts."""
    actions: dict[str, Callable[[], object]] = {
        "status": app.status.status,
        "report": print_table,
        "record": record,
        "audit mask": lambda: audit_mask(open_ledger(), "image-1"),
        "audit model": lambda: audit_model(open_ledger(), "latest"),
        "diff": lambda: diff("1", "now"),
        "audit verify": verify,
        "quarantine list": lambda: list_(),
        "check of a run": check_run,
        "serve": find_page,
        "pages": pages,
        "deliver": lambda: deliver() if not Path("mlflow.db").exists() else tracking_uri(),
        "doctor": doctor,
    }
    actions[what]()


ACTIONS = ("status", "report", "audit verify", "audit mask", "audit model", "diff", "quarantine list", "check of a run",
           "serve", "pages", "record")  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_an_error_of_two_parts_or_made_again(made, tmp_path, monkeypatch, name):
    """By whichever command it is read: each command ends well, or with the problem and what to type."""
    states = [StageState(stage, "stale", ("params.yaml",)) for stage in read_wiring(made / "dvc.yaml")]
    monkeypatch.setattr(app.status, "line_status", lambda: states)
    monkeypatch.setattr(app.status, "locked_stages", lambda: set())
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    wrong: list[str] = []
    for damage, spoil in DAMAGES.items():
        folder = tmp_path / damage.replace(" ", "-")
        shutil.copytree(made, folder)
        monkeypatch.chdir(folder)
        paths = sorted(folder.glob(name))
        assert paths, f"the project has no {name}"
        for path in paths:
            path.write_bytes(spoil(path.read_bytes()))
        for what in ACTIONS:
            try:
                ask(what)
            except UserError as error:
                if not error.remedy or "Traceback" in str(error):
                    wrong.append(f"{damage}, {what}: no remedy: {error}")
            except typer.Exit as error:
                if error.exit_code not in (0, 2):
                    wrong.append(f"{damage}, {what}: exit code {error.exit_code}")
            except Exception as error:
                import traceback

                frames = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)][-6:]
                wrong.append(f"{damage}, {what}: {type(error).__name__}: {str(error)[:150]} {frames}")
        shutil.rmtree(folder)
    assert not wrong, "\n" + "\n".join(wrong)
