"""Commands of `labelfactory` as forks of a process that has loaded what they load: each starts at once.

Only for programs of their own, such as two_at_once.py: what is forked must come from a process that runs nothing else.
"""

import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from app import main as app_main
from labelfactory.stage.runner import stage_class

LIBRARIES = (
    *(
        "lineage.tracking",
        "mlflow.store.tracking.sqlalchemy_store",
        "alembic.command",
        "onnx",
        "onnxruntime",
        "exports.coco",
    ),
    *("dvc.repo.index", "dvc.repo.stage", "dvc.repo.plots", "dvc.repo.artifacts", "dvc.repo.datasets", "dvc.cachemgr"),
    *("dvc.data_cloud", "dvc_data.index.fetch", "dvc_data.index.push", "dvc_data.index.checkout", "pyarrow.dataset"),
)
STAGES = ("prepare", "extract_cams", "label_affinity", "random_walk", "refine_crf", "train_segmenter")
LONGEST = 120.0
"""Seconds after which a command hangs."""


def load() -> None:
    """Load what the commands load. Opens no database and starts no thread."""
    os.environ |= {"LABELFACTORY_DEVICE": "cpu", "LABELFACTORY_WORKERS": "1", "COLUMNS": "200"}
    torch.set_num_threads(1)
    os.fsync = lambda fd: None  # as in all tests: a kill needs no flush, only a power cut does
    for name in (*(f"app.{command.module}" for command in app_main.COMMANDS.values()), *LIBRARIES):
        importlib.import_module(name)
    for name in STAGES:
        stage_class(name)


def fork(folder: Path, log: Path, run: Callable[[], None]) -> int:
    """Fork a process that runs something in a folder; what it prints goes to the log. Gives its pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.chdir(folder)
        printed = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        os.setpgid(0, 0)
        run()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def command(*words: str) -> Callable[[], None]:
    """What a process does that types `labelfactory …`."""

    def run() -> None:
        sys.argv = ["labelfactory", *words]
        app_main.main()

    return run


def wait(pid: int) -> int:
    """The exit code of a fork; one that hangs is killed and gives -9."""
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
