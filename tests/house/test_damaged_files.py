"""Every file of ours that is read back, damaged in every way: two lines and exit code 2, or made again; never a traceback."""

import io
import json
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from made_line import MadeLine
from visiting import leave_scores, project, visit

from app import status
from app.doctor import _audits
from app.quarantine import list_
from app.table import print_table
from flows.line.stage_states import StageState
from flows.line.summary import read_summary
from flows.run.checks import check_run
from flows.server.api import find_page
from labelfactory.dataset.audits import AUDITS, AnsweredPoints, write_audits, write_points, write_sample
from labelfactory.dataset.corrections import store_mask, write_corrections
from labelfactory.dataset.left_out import LeftOut, write_left_out
from labelfactory.dataset.level_record import write_level
from labelfactory.dataset.manifest import read_manifest
from labelfactory.dataset.prepared import read_dataset
from labelfactory.dataset.withdrawn import withdrawn
from labelfactory.errors import UserError
from labelfactory.review.estimate import estimate_level
from labelfactory.review.sample import draw_sample
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.level_now import level_sentence, present_level
from lineage.audit import audit_file, audit_model
from lineage.diff import diff
from lineage.lookup import open_ledger
from lineage.mask_audit import audit_mask
from lineage.mlflow_home import tracking_uri, write_address
from lineage.outbox import Outbox
from lineage.record import record
from lineage.verify import verify
from reporting.level import level_table
from sources._batch import Batch, Candidate
from sources._import_plan import ImportOptions
from sources.intake import import_batch

pytestmark = [
    pytest.mark.endurance,
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


TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "garbage": lambda data: b"\xff\x00PAR1\x9d" * 20,
    "half": lambda data: data[: len(data) // 2],
    "a list": lambda data: b"[]",
    "a mapping": lambda data: b"{}",
    "a list of lists": lambda data: b'[[1], "a", null]',
    "other types": lambda data: json.dumps({key: [1, {"a": None}] for key in known(data)}).encode(),
    "a deep list": lambda data: b"[" * 100_000,
    "a long number": lambda data: b'{"sequence": ' + b"9" * 5000 + b"}",
}


TABLES: dict[str, Callable[[bytes], bytes]] = {
    **{name: TEXTS[name] for name in ("empty", "garbage", "half")},
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


FILES = {
    "data/ledger/HEAD": "record, audit verify, pages",
    "data/ledger/seen.json": "record",
    "data/ledger/withdrawn.json": "withdrawn",
    "data/ledger/index-*.duckdb": "audit mask, audit model, pages",
    "data/ledger/*-events.parquet": "record, audit model, audit verify, withdrawn, pages",
    "data/ledger/*-masks.parquet": "record, audit mask, audit verify, pages",
    "data/ledger/*-training.parquet": "record, audit model, audit verify, pages",
    "data/ledger/outbox/*.json": "audit verify, letters",
    "data/import/account.json": "status, import",
    "data/import/left_out.json": "status, pages",
    "data/import/manifest.parquet": "status, check of a run",
    "data/corrections/corrections.parquet": "audit verify, record",
    "data/audits/sample.parquet": "doctor, estimate",
    "data/audits/audits.parquet": "doctor, estimate, audit verify",
    "data/audits/points.parquet": "doctor, estimate",
    "data/audits/estimate.json": "report, levels",
    "data/dataset/images.parquet": "status, record, audit verify, quarantine list, pages",
    "data/reports/refine_crf.json": "status, report, record, pages",
    "data/reports/prepare.json": "status, report, record, pages",
    "data/evaluation/metrics.json": "status, report, record, pages",
    "data/evaluation/images.parquet": "pages",
    "data/walk_threshold/thresholds.json": "status, report, record, pages",
    "data/cams/shard-00000.parquet": "status, record, audit verify, quarantine list, pages",
    "data/masks/shard-00000.parquet": "status, record, audit verify, diff, quarantine list, pages",
    "data/segmenter/checkpoint.safetensors": "status, record, audit verify, pages",
    "data/segmenter/training_rows.parquet": "record, audit verify, audit file",
    "data/segmenter/curve.csv": "record",
    "data/mlflow/address": "tracking",
    ".dvc/cache/files/md5/*/*.dir": "audit verify",
    ".labelfactory/services.json": "serve",
    "dvc.lock": "status, record, audit verify, pages",
}
"""Files, and what reads them."""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project of four images with everything that is read back."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        MadeLine()
        record()
        truth = {r.image_id: np.ones((r.height, r.width), np.uint8) for r in read_dataset().records}
        leave_scores(truth)
        write_left_out([LeftOut("a", "b", "c", "d")])
        append_again()
        write_address("sqlite:///" + str(folder / "mlflow.db"))
        Path(".labelfactory").mkdir()
        Path(".labelfactory/services.json").write_text('{"api": "http://127.0.0.1:1/api", "services": []}')
        first = read_dataset().records[0]
        mask = np.ones((first.height, first.width), np.uint8)
        write_corrections([store_mask(first.image_id, first.sha256, mask, read_dataset().classes)])
        write_sample(draw_sample(read_dataset(), "train", count=4, seed=0, points=1))
        audited = read_dataset().records
        write_audits([store_mask(r.image_id, r.sha256, mask, read_dataset().classes, AUDITS) for r in audited[:3]])
        write_points([AnsweredPoints(audited[3].image_id, audited[3].sha256, (0,), (0,), ("cat",))])
        write_level(estimate_level(read_dataset()))
        open_ledger().masks("image-1")  # makes the index
        Path("data/ledger/withdrawn.json").write_text('{"last": "", "photographs": [], "image_ids": []}')
    return folder


def pages() -> None:
    """Every page answers, if only with what is wrong."""
    with visit(project()) as client:
        for address in PAGES:
            assert client.get(address).status_code in (200, 404, 409), address


def append_again() -> None:
    """Append to the import what it holds already, which writes its account where that cannot be read."""
    manifest = read_manifest()
    candidates = tuple(Candidate(e.image_id, Path(e.path), e.tags, e.lists) for e in manifest.entries)
    batch = Batch(Path("data/raw"), manifest.source, manifest.classes.names, candidates=candidates)
    import_batch(batch, ImportOptions(append=True, val_list="other"))


ACTIONS: dict[str, Callable[[], object]] = {
    "status": lambda: status.status(),
    "import": append_again,
    "report": lambda: print_table(read_summary()),
    "record": record,
    "audit mask": lambda: audit_mask(open_ledger(), "image-1"),
    "audit model": lambda: audit_model(open_ledger(), "latest"),
    "audit file": lambda: audit_file(Path("data/segmenter")),
    "audit verify": verify,
    "diff": lambda: diff(open_ledger(), "1", "now"),
    "quarantine list": list_,
    "check of a run": check_run,
    "serve": find_page,
    "tracking": tracking_uri,
    "withdrawn": withdrawn,
    "doctor": lambda: list(_audits()),
    "estimate": lambda: estimate_level(read_dataset()),
    "levels": lambda: (level_sentence(), present_level(), level_table(["background", "cat"])),
    "letters": lambda: (Outbox().letters(), Outbox().refused(), Outbox().drop_damaged()),
    "pages": pages,
}
"""What commands do, without the programs that they start."""


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_an_error_of_two_parts_or_made_again(made, tmp_path, monkeypatch, name):
    """By whichever command it is read: each command ends well, or with the problem and what to type."""
    states = [StageState(stage, "stale", ("params.yaml",)) for stage in read_wiring(made / "dvc.yaml")]
    monkeypatch.setattr("flows.line.stage_states.line_status", lambda: states)
    monkeypatch.setattr(status, "last_runs", dict)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    wrong: list[str] = []
    for damage, spoil in (TABLES if name.endswith((".parquet", ".duckdb")) else TEXTS).items():
        folder = tmp_path / damage.replace(" ", "-")
        shutil.copytree(made, folder)
        monkeypatch.chdir(folder)
        paths = sorted(folder.glob(name))
        assert paths, f"the project has no {name}"
        for path in paths:
            path.write_bytes(spoil(path.read_bytes()))
        wrong += [f"{damage}, {what}: {problem}" for what in FILES[name].split(", ") if (problem := problem_of(what))]
        shutil.rmtree(folder)
    assert not wrong, "\n" + "\n".join(wrong)


def problem_of(what: str) -> str:
    """What is wrong with how a command ended; empty where it did its work, or said what to type."""
    try:
        ACTIONS[what]()
    except UserError as error:
        return "" if error.remedy and error.problem else f"no remedy: {error}"
    except typer.Exit as error:
        return "" if error.exit_code in (0, 2) else f"exit code {error.exit_code}"
    except Exception:  # what a person would see as a traceback
        return traceback.format_exc(limit=-4)
    return ""
