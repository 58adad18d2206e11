"""What every test stands on: one thread, a small project in a temporary folder, and the command line."""

import dataclasses
import hashlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from brightness import Brightness, Outline
from golden import hold
from PIL import Image
from workspace import ROOT, copy_workspace, make_workspace

from app import main as app_main
from labelfactory.dataset.prepared import Dataset, ImageRecord, write_dataset
from labelfactory.schema import Classes
from labelfactory.settings.params import read_yaml

os.environ["LABELFACTORY_STORE_GB"] = "0"  # what a test deletes is to be computed again; `workspace.call` has a store
# not the cache of the person who runs the tests; one for all of their processes, which are to compute alike
os.environ.setdefault("LABELFACTORY_CACHE", str(Path(tempfile.gettempdir(), f"labelfactory-tests-{os.getuid()}")))
torch.set_num_threads(1)
cv2.setNumThreads(0)

pytest_plugins = ("whole_session", "marks")
IMAGES_PER_SHARD = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/golden --rewrite-golden`: after values were moved on purpose."""
    parser.addoption("--rewrite-golden", action="store_true", help="write the figures of tests/golden anew")


class Workspace:
    """A project of a few photographs of 6×5 pixels, two to a shard, in the current folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.records: list[ImageRecord] = []
        self.classes = ("cat", "dog")
        self.max_bad_fraction = 0.5
        self.compression = "zstd"
        (root / "photographs").mkdir()
        (root / "code").mkdir()
        (root / "code" / "science.py").write_text("answer = 42\n")

    def wire(self, *stages: str, **bodies: dict[str, Any]) -> None:
        """Write a dvc.yaml whose meta and outs are those of the shipped one, and a file for each stage that imports
        code/science.py. `bodies`: stages that the shipped line has not, and what dvc.yaml says of them.
        """
        shipped = read_yaml(ROOT / "dvc.yaml")["stages"]
        wired = {}
        for name in (*stages, *bodies):
            own = bodies.get(name) or {key: shipped[name][key] for key in ("meta", "outs") if name in shipped}
            wired[name] = {"cmd": f"python -m stages.{name}", "deps": ["data/dataset", "code"], "params": [name], **own}
        (self.root / "dvc.yaml").write_text(json.dumps({"stages": wired}))
        (self.root / "stages").mkdir(exist_ok=True)
        for name in wired:
            (self.root / "stages" / f"{name}.py").write_text("from code.science import answer\n")

    def add(self, image_id: str, tags: str = "cat", *, split: str = "train", position: int | None = None) -> None:
        """Add a photograph of noise that follows from its name."""
        if position is None:
            position = max((r.position for r in self.records), default=-1) + 1
        record = ImageRecord(
            image_id=image_id,
            path=f"photographs/{image_id}.png",
            sha256="",
            lists=("train",),
            tags=tuple(tags.split()),
            mask_path=None,
            mask_sha256=None,
            position=position,
            width=6,
            height=5,
            split=split,
            shard=position // IMAGES_PER_SHARD,
            status="ok",
            reason="",
        )
        self.records.append(record)
        self.repaint(image_id, seed=sum(image_id.encode()))

    def repaint(self, image_id: str, seed: int) -> None:
        """Give a photograph other pixels, as if it had been imported with them."""
        pixels = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format="PNG")
        (self.root / "photographs" / f"{image_id}.png").write_bytes(stream.getvalue())
        self.change(image_id, sha256=hashlib.sha256(stream.getvalue()).hexdigest())

    def change(self, image_id: str, **changes: object) -> None:
        """Change fields of a record and write the data set."""
        self.records = [dataclasses.replace(r, **changes) if r.image_id == image_id else r for r in self.records]
        self.save()

    def remove(self, image_id: str) -> None:
        """Take a photograph out; the others keep their positions."""
        self.records = [r for r in self.records if r.image_id != image_id]
        self.save()

    def dataset(self) -> Dataset:
        """The data set as it stands."""
        return Dataset(
            Classes(self.classes),
            {0: 0, 1: 1, 2: 2},
            "train",
            "val",
            self.max_bad_fraction,
            tuple(self.records),
            shard_size=IMAGES_PER_SHARD,
            compression=self.compression,
        )

    def save(self) -> None:
        """Write data/dataset/images.parquet."""
        write_dataset(self.dataset(), self.root / "data" / "dataset" / "images.parquet")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Five photographs a, b | c, d | e in three shards; the current folder; one worker on the CPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_WORKERS", "1")
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    made = Workspace(tmp_path)
    for image_id, tags in (("a", "cat"), ("b", "dog"), ("c", "cat dog"), ("d", ""), ("e", "dog")):
        made.add(image_id, tags)
    return made


@pytest.fixture
def project(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The workspace with two small stages that have done nothing yet."""
    workspace.wire("brightness", "outline", "brightness2")
    for kind in (Brightness, Outline):
        monkeypatch.setattr(kind, "processed", [])
        monkeypatch.setattr(kind, "failing", {})
    return workspace


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """A workspace without any import."""
    return make_workspace(tmp_path_factory.mktemp("bare") / "template", git=True)


@pytest.fixture
def here(template, tmp_path, monkeypatch) -> Path:
    """A fresh workspace, and this process stands in it."""
    folder = copy_workspace(template, tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    return folder


@pytest.fixture
def hold_golden(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`golden.hold`, which writes where that is asked for."""
    return partial(hold, rewrite=request.config.getoption("--rewrite-golden"))


@pytest.fixture
def labelfactory(monkeypatch, capsys):
    """Run the command in this process: `labelfactory("run", "--force", code=2)` gives what it printed."""

    def run(*words: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["labelfactory", *words])
        with pytest.raises(SystemExit) as caught:
            app_main.main()  # typer ends even a good command so
        printed = capsys.readouterr()
        assert (caught.value.code or 0) == code, printed
        return printed.out + printed.err

    return run
