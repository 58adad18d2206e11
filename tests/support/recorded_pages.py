"""The pages of a line that was made twice and recorded: fixtures for the tests of pages."""

import io
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_line import MadeLine
from PIL import Image
from visiting import project, visit

from labelfactory.dataset.prepared import read_dataset, write_dataset
from lineage.record import record


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> MadeLine:
    """Four images; everything was made twice, the second time with other masks, under a flow run. Tests copy it."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("made"))
    try:
        line = MadeLine()
        record()
        line.run(refine_crf="changed")
        record({"prefect.flow_run_id": "flow-42"})
    finally:
        os.chdir(before)
    return line


@pytest.fixture
def line(made, tmp_path, monkeypatch) -> MadeLine:
    """A copy of it, in which the test stands."""
    shutil.copytree(made.root, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    return made


@pytest.fixture
def client(line):
    with visit(project()) as visitor:
        yield visitor


def picture(client, address: str) -> np.ndarray:
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    return np.array(Image.open(io.BytesIO(answer.content)).convert("RGBA"))


def mark(image_id: str, **changes) -> None:
    """Change an image's record in the data set."""
    dataset = read_dataset()
    records = tuple(replace(r, **changes) if r.image_id == image_id else r for r in dataset.records)
    write_dataset(replace(dataset, records=records))
