"""What an edit of the project costs: which rows and networks are made again, by the digests of the product itself."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from passports import passport

from labelfactory.learning.checkpoints import CHECKPOINT, save_checkpoint
from labelfactory.settings import closure
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import read_sections, stage_class
from labelfactory.stage.training import TrainingStage

ROOT = Path(__file__).resolve().parents[3]
COPIED = ("labelfactory", "models", "reporting", "sources", "stages", "dvc.yaml", "params.yaml")
BACKBONE = "efficientnet_lite0"
CHECKPOINTS = {
    "classifier": {"backbone": BACKBONE},
    "affinity": {"backbone": BACKBONE},
    "segmenter": {"backbone": BACKBONE, "net": "deeplab_v3plus"},
}
KINDS: dict[str, Any] = {name: stage_class(name) for name in read_wiring(ROOT / "dvc.yaml")}
NETWORKS = {name for name, kind in KINDS.items() if issubclass(kind, TrainingStage)}
ROWS = {name for name, kind in KINDS.items() if issubclass(kind, PerImageStage)}


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Path:
    """The project's code with the networks of a finished line; this process stands in it."""
    for name in COPIED:
        source = ROOT / name
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, tmp_path / name, ignore=ignored) if source.is_dir() else shutil.copy(source, tmp_path)
    monkeypatch.chdir(tmp_path)
    for noun, architecture in CHECKPOINTS.items():
        save_checkpoint(Path("data", noun, CHECKPOINT), {}, passport(architecture=architecture))
    return tmp_path


def keys() -> dict[str, tuple[str, str]]:
    """Of each stage that makes rows or a network: the digests of its code and of its section."""
    sections = read_sections()
    stages = {
        name: KINDS[name](sections[name], {other: sections[other] for other in KINDS[name].borrows})
        for name in NETWORKS | ROWS
    }
    return {name: (stage.code_digest, stage.cfg.digest()) for name, stage in stages.items()}


def replaced(path: str, old: str, new: str) -> Callable[[], None]:
    def edit() -> None:
        text = Path(path).read_text()
        assert old in text, f"{path} no longer holds {old!r}: choose another place for this edit"
        Path(path).write_text(text.replace(old, new))

    return edit


def added(path: str, text: str) -> Callable[[], None]:
    return lambda: Path(path).write_text(text) and None  # type: ignore[func-returns-value]


EDITS: dict[str, tuple[Callable[[], None], set[str]]] = {
    "a comment in a value room": (
        replaced("labelfactory/learning/augment.py", "FILL = 127", "FILL = 127  # grey"),
        set(),
    ),
    "a comment in a stage": (
        replaced("stages/extract_cams.py", "class ExtractCams(", "# maps\nclass ExtractCams("),
        set(),
    ),
    "a docstring of a method": (replaced("models/cams/cam.py", '"""CAM:', '"""Class activation maps:'), set()),
    "a docstring of a value room": (
        replaced("labelfactory/dataset/images.py", "Read and write pixels", "In and out"),
        set(),
    ),
    "a message of the training loop": (
        replaced("labelfactory/learning/training.py", "resumed after", "goes on after"),
        set(),
    ),
    "the text of an error": (replaced("models/cams/_multiscale.py", "cannot share a batch", "have other sizes"), set()),
    "a renamed local variable where pixels are read": (
        replaced("labelfactory/dataset/images.py", "smaller", "shrunk"),
        NETWORKS | ROWS,
    ),
    "a renamed local variable in the augmentation": (
        replaced("labelfactory/learning/augment.py", "brightness", "light"),
        NETWORKS,
    ),
    "a new method beside the chosen CAM": (added("models/cams/new.py", "def activation_maps(): ...\n"), set()),
    "a new backbone": (added("models/backbones/new.py", "def build(): ...\n"), set()),
    "a new segmenter": (added("models/segmenters/new.py", "def build(): ...\n"), set()),
    "a CAM that is not chosen": (replaced("models/cams/pcm.py", "TINY = 1e-12", "TINY = 1e-9"), set()),
    "a backbone that is not chosen": (
        replaced("models/backbones/tiny.py", "STEM_CHANNELS = 16", "STEM_CHANNELS = 8"),
        set(),
    ),
    "what backbones share that are not chosen": (replaced("models/backbones/_resnet.py", "nn.ReLU", "nn.GELU"), set()),
    "the pool": (replaced("labelfactory/pool/pool.py", "TRIES = 2", "TRIES = 3"), set()),
    "the engine": (replaced("labelfactory/rows/engine.py", "COPIES = 2", "COPIES = 3"), set()),
    "the checks before a run": (
        added("labelfactory/stage/preflight.py", "from labelfactory.dataset import truth\n"),
        set(),
    ),
    "the scores": (replaced("labelfactory/metrics.py", "BINS = 100", "BINS = 200"), set()),
    "the augmentation": (replaced("labelfactory/learning/augment.py", "FILL = 127", "FILL = 128"), NETWORKS),
    "the training loop": (replaced("labelfactory/learning/training.py", "momentum=0.9", "momentum=0.8"), NETWORKS),
    "how rows are stored": (
        replaced("labelfactory/rows/columns.py", 'dtype: str = "float32"', 'dtype: str = "float64"'),
        NETWORKS | ROWS,
    ),
    "the chosen method's code": (replaced("models/cams/cam.py", ".relu()", ".abs()"), {"extract_cams"}),
    "another method is chosen": (replaced("params.yaml", "method: cam ", "method: grad_cam "), {"extract_cams"}),
    "the chosen backbone's code": (
        replaced(f"models/backbones/{BACKBONE}.py", "width=1.0", "width=1.1"),
        NETWORKS | {"extract_cams", "random_walk", "segment_images"},
    ),
    "the propagation": (
        replaced("models/propagation/chebyshev.py", "import torch", "import numpy as torch"),
        {"random_walk"},
    ),
    "a loss": (
        replaced("models/losses/affinity.py", "import torch", "import numpy as torch"),
        {"train_affinity", "random_walk"},
    ),
    "a person's masks": (
        replaced("labelfactory/dataset/corrections.py", 'HUMAN = "human"', 'HUMAN = "person"'),
        {"refine_crf", "train_segmenter", "rate_masks"},
    ),
    "true masks": (
        replaced("labelfactory/dataset/truth.py", "np.full(256, VOID", "np.full(256, 0"),
        {"train_upper_bound"},
    ),
}


@pytest.mark.parametrize("what", list(EDITS))
def test_an_edit_makes_again(copy, what):
    """What may have changed, and nothing else."""
    edit, expected = EDITS[what]
    before = keys()
    edit()
    after = keys()
    assert {name for name in before if after[name] != before[name]} == expected


def test_the_engines_number_makes_all_again(copy, monkeypatch):
    """It is in every key."""
    before = keys()
    monkeypatch.setattr(closure, "ENGINE_FORMAT", closure.ENGINE_FORMAT + 1)
    assert {name for name, key in keys().items() if key != before[name]} == NETWORKS | ROWS


def test_a_network_of_another_method_brings_that_methods_code(copy):
    """Not params.yaml but the checkpoint says which code reads it: a classifier on another backbone changes the CAMs' key."""
    before = keys()
    save_checkpoint(Path("data/classifier", CHECKPOINT), {}, passport(architecture={"backbone": "resnet50"}))
    assert keys()["extract_cams"] != before["extract_cams"]
    replaced("models/backbones/_resnet.py", "nn.ReLU", "nn.GELU")()
    third = keys()
    replaced("models/backbones/_resnet.py", "nn.GELU", "nn.SiLU")()
    assert keys()["extract_cams"] != third["extract_cams"]
