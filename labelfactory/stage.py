"""What every stage is: a section of params.yaml, folders that it reads, one that it writes, and a report.

`python -m stages.<name>` checks all of params.yaml, runs the stage, and writes data/reports/<name>.json.
"""

import importlib
import inspect
import json
import resource
import sys
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args

from labelfactory.checkpoints import CHECKPOINT, Passport, load_checkpoint, read_passport
from labelfactory.dataset import Dataset, read_dataset
from labelfactory.errors import UserError
from labelfactory.files import make_folder, write_json
from labelfactory.lock import stage_lock
from labelfactory.params import PARAMS_FILE, Section, check_sections, read_yaml
from labelfactory.pool import largest_memory
from labelfactory.pool_process import fork_from_here
from labelfactory.preflight import check_line
from labelfactory.progress import say
from labelfactory.wiring import StageWiring, read_wiring, stage_wiring

if TYPE_CHECKING:
    from torch import Tensor

DATA = Path("data")
REPORTS = DATA / "reports"

C = TypeVar("C", bound=Section)


class Stage(Generic[C]):
    """One stage of the line. A subclass names its folders and writes `run`; its name is its file's name."""

    reads: ClassVar[tuple[str, ...]] = ()
    writes: ClassVar[str]
    section: ClassVar[type[Section]]
    borrows: ClassVar[tuple[str, ...]] = ()
    """Stages whose sections it reads beside its own."""
    spreads: ClassVar[bool] = False
    """Whether its work is spread over processes."""

    def __init_subclass__(cls) -> None:
        """Take the section's model from `Stage[Section]`, unless the class names another."""
        if "section" in cls.__dict__:
            return
        for base in cls.__dict__.get("__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, Section):
                    cls.section = argument

    def __init__(self, cfg: C, borrowed: Mapping[str, Section] | None = None) -> None:
        self.cfg = cfg
        self.borrowed = borrowed or {}

    @classmethod
    def stage_name(cls) -> str:
        """The name of the stage: of its file, its section, its command and its report."""
        return Path(inspect.getfile(cls)).stem

    def run(self) -> dict[str, Any]:
        """Do the work. Returns the metrics for the report."""
        raise NotImplementedError

    def units(self, metrics: Mapping[str, Any]) -> int:
        """How much a run has done, by its metrics, in what its duration grows with; 0 where there was nothing to do."""
        return 1

    def folder(self, noun: str) -> Path:
        """The folder of an output, such as data/cams."""
        return DATA / noun

    @property
    def output(self) -> Path:
        """The folder that this stage writes."""
        return self.folder(self.writes)

    @cached_property
    def dataset(self) -> Dataset:
        """The prepared data set."""
        return read_dataset(self.folder("dataset") / "images.parquet")

    def checkpoint_of(self, noun: str) -> "tuple[dict[str, Tensor], Passport]":
        """Weights (on the CPU) and passport of the checkpoint in a folder that this stage reads."""
        return load_checkpoint(self.folder(noun) / CHECKPOINT)

    def has_checkpoint(self, noun: str) -> bool:
        """Whether there is a checkpoint in a folder that this stage reads: a stage may have been off."""
        return (self.folder(noun) / CHECKPOINT).exists()

    def passport_of(self, noun: str) -> Passport:
        """The passport of the checkpoint in a folder that this stage reads."""
        return read_passport(self.folder(noun) / CHECKPOINT)

    @cached_property
    def wiring(self) -> StageWiring:
        """This stage in dvc.yaml."""
        return stage_wiring(self.stage_name())

    @cached_property
    def code_digest(self) -> str:
        """Digest of the code that dvc.yaml lists as this stage's dependencies."""
        return self.wiring.code_digest()

    @classmethod
    def main(cls) -> None:
        """Run from the command line and exit with 0, 2 (the user can mend it) or 1 (a bug)."""
        if cls.spreads:
            fork_from_here()
        sys.exit(run_guarded(cls.stage_name()))


def stage_class(name: str) -> type[Stage[Any]]:
    """The class of the stage `name`, from stages/<name>.py."""
    module = importlib.import_module(f"stages.{name}")
    for _, member in inspect.getmembers(module, inspect.isclass):
        if issubclass(member, Stage) and member.__module__ == module.__name__:
            return member
    raise LookupError(f"stages/{name}.py holds no stage")


def read_sections(path: Path = Path(PARAMS_FILE)) -> dict[str, Section]:
    """Check every section of params.yaml against its stage, in dvc.yaml's order.

    Raises:
        ParamsError: lists every problem of the file.
    """
    sections = {name: stage_class(name).section for name in read_wiring()}
    return check_sections(read_yaml(path), sections, str(path))


def run_stage(name: str) -> dict[str, Any]:
    """Check the params of the whole line, run one stage in this process and write its report."""
    start = time.monotonic()
    sections = read_sections()
    check_line(sections)
    kind = stage_class(name)
    stage = kind(sections[name], {other: sections[other] for other in kind.borrows})
    with stage_lock(name):
        make_folder(stage.output)
        metrics = stage.run()
    report = {
        "stage": name,
        "seconds": round(time.monotonic() - start, 2),
        "peak_memory_mb": _peak_memory_mb(),
        **metrics,
    }
    report["pace"] = _pace(REPORTS / f"{name}.json", stage.units(metrics), report["seconds"])
    write_json(REPORTS / f"{name}.json", report)
    return report


def _pace(path: Path, units: int, seconds: float) -> dict[str, float] | None:
    """Seconds for so many units, of this run; of an earlier one where that did more than twice as much.

    A small run says little of the pace: most of it is start-up.
    """
    try:
        before: dict[str, float] | None = json.loads(path.read_text(encoding="utf-8")).get("pace")
    except (OSError, ValueError):
        before = None
    if units == 0 or (before and before["units"] > 2 * units):
        return before
    return {"units": units, "seconds": seconds}


def run_guarded(name: str) -> int:
    """`run_stage` for the command line: errors of the user become two lines and exit code 2."""
    try:
        report = run_stage(name)
    except UserError as error:
        say(f"error: {error}")
        return error.exit_code
    say(f"{name}: done in {report['seconds']:.1f} s")
    return 0


def _peak_memory_mb() -> int:
    """Largest resident memory of this process, and of the largest of its children and of its pools' processes, in MiB."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    scale = 1024 if sys.platform != "darwin" else 1024 * 1024
    return max(own, child, largest_memory()) // scale
