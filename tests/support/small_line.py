"""A line of seconds: the settings that make every stage small, and the project in which it has run."""

import compileall
from pathlib import Path

from databases import with_databases
from once import once
from starts import starts
from workspace import call, copy_workspace, make_workspace

from labelfactory.settings.wiring import read_wiring

SMALL = {
    "train_classifier": {
        "epochs": 1,
        "least_steps": 0,
        "batch_size": 8,
        "crop": 97,
        "long_side_min": 96,
        "long_side_max": 128,
        "backbone": "tiny",
        "weights": "random",
    },
    "extract_cams": {"scales": "[1.0]", "flip": "false"},
    "calibrate_seeds": {"images": 4},
    "label_affinity": {"method.crf.steps": 1},
    "train_affinity": {
        "epochs": 1,
        "least_steps": 0,
        "batch_size": 8,
        "crop": 97,
        "long_side_min": 96,
        "long_side_max": 128,
    },
    "random_walk": {"method.steps": 16},
    "refine_crf": {"method.crf.steps": 2, "method.crf.bilateral_compat": 10},
    "train_segmenter": {
        "epochs": 1,
        "least_steps": 0,
        "batch_size": 8,
        "crop": 65,
        "long_side_min": 64,
        "long_side_max": 96,
        "backbone": "tiny",
        "weights": "random",
        "freeze_stages": 0,
        "net.width": 16,
    },
    "train_teacher": {"enabled": "false", "epochs": 1, "least_steps": 0},
    "train_upper_bound": {"enabled": "false"},
    "evaluate": {"scales": "[1.0]", "flip": "false", "gallery": 1},
}


IMAGES = 24


def small(**others: object) -> list[str]:
    """What `labelfactory profile` is told for it; `others` are settings of a test's own, with `__` for the dot."""
    values = {f"{name}.{key}": value for name, keys in SMALL.items() for key, value in keys.items()}
    values |= {name.replace("__", "."): value for name, value in others.items()}
    return [f"--set={name}={value}" for name, value in values.items()]


def small_project(folder: Path, images: int, **settings: object) -> Path:
    """Make a workspace with drawn images and params for seconds; nothing has run. Gives its folder."""
    make_workspace(folder, git=True)
    call(folder, "labelfactory", "import", "demo", "--count", str(images))
    call(folder, "labelfactory", "profile", "demo", *small(**settings))
    return folder


@starts("starts_program")
def imported_line() -> Path:
    """A project of 24 drawn images and fresh databases; nothing has run. One for all tests, which copy it."""

    def make(folder: Path) -> None:
        with_databases(small_project(folder, IMAGES))
        compileall.compile_dir(folder, quiet=1)  # here, not in each copy anew

    return once("imported", make)


@starts("starts_program")
def finished_line() -> Path:
    """A copy of it after `dvc repro`, which has run every stage. One for all tests, which copy it."""

    def run(folder: Path) -> None:
        copy_workspace(imported_line(), folder)
        assert ran(call(folder, "dvc", "repro"), folder) == list(read_wiring(folder / "dvc.yaml"))

    return once("finished", run)


def ran(output: str, folder: Path) -> list[str]:
    """Stages that DVC says it has run, in dvc.yaml's order."""
    return [name for name in read_wiring(folder / "dvc.yaml") if f"Running stage '{name}'" in output]
