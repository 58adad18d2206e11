"""The pages of a made line, asked without a network, and helpers to read what they answer."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fastapi.testclient import TestClient
from html_page import Page

from labelfactory.dataset.tables import HEAD
from labelfactory.rows.columns import MaskColumn
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.output_state import states
from pages.project import PageAddresses, Project
from pages.site import make_site
from pages.slow_query import SlowQuery

UNKNOWN = SlowQuery([], lambda: None)


def project(**looks: SlowQuery) -> Project:
    """The project in the current folder; DVC and MLflow are asked nothing unless a look is given."""
    places = PageAddresses("http://127.0.0.1:5000", "http://127.0.0.1:4200")
    return Project(looks.get("state", UNKNOWN), looks.get("runs", UNKNOWN), places)


def visit(project: Project, **guard) -> TestClient:
    """A visitor of its pages, at the address that a browser on this machine would use."""
    client = TestClient(make_site(project, **guard), base_url="http://127.0.0.1:8600", follow_redirects=False)
    client.headers["host"] = "127.0.0.1:8600"
    return client


def read(client: TestClient, address: str, status: int = 200) -> Page:
    """A page, or a piece of one, read; its status is held against what is expected."""
    answer = client.get(address)
    assert answer.status_code == status, f"{address}: {answer.status_code}\n{answer.text[-2000:]}"
    return Page(answer.text)


def saying(value: object) -> list[str]:
    """A command that prints a value as JSON."""
    return [sys.executable, "-S", "-c", f"print({json.dumps(json.dumps(value))})"]


def leave_scores(truths: dict[str, np.ndarray], model: float = 0.5) -> None:
    """data/evaluation/images.parquet, as `evaluate` would have left it of these true masks."""
    path = Path("data/evaluation/images.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    truth = [MaskColumn().encode(truths[i], i) for i in sorted(truths)]
    table = pa.table(
        {
            "image_id": sorted(truths),
            **{made: pa.array([model] * len(truths), pa.float32()) for made in ("seeds", "walks", "masks", "model")},
            "upper_bound": pa.array([None] * len(truths), pa.float32()),
            "truth": pa.array(truth, MaskColumn().arrow_type),
        }
    )
    measured = states(read_wiring()["evaluate"].inputs, ("train", "val"))
    table = table.replace_schema_metadata({HEAD: json.dumps({"measured": measured})})
    pq.write_table(table, path, row_group_size=2)
