"""`labelfactory doctor`: check everything that the line needs, and print what to type if something is missing."""

import importlib.metadata
import platform
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import typer
from rich.console import Console
from rich.markup import escape

import labelfactory
from app._mixed_code import mixed_code, mixed_remedy
from labelfactory.dataset.audits import SAMPLE, read_audits, read_points, read_sample
from labelfactory.dataset.manifest import MANIFEST, read_manifest
from labelfactory.devices import cores, has_bfloat16, pick_device
from labelfactory.environment import own_cache_folder
from labelfactory.errors import UserError
from labelfactory.measured_precision import kept_here, precision_folder
from labelfactory.settings.params import PARAMS_FILE
from labelfactory.stage.runner import read_sections
from labelfactory.store.entries import held_in_words
from lineage.outbox import Outbox
from models.backbones._weights import package_weights

Finding = tuple[bool, str, str]
"""Whether a check passed, its result, and what to type if it failed."""

LEAST_FREE_GB = 5


def doctor() -> None:
    """Check Python, the code, torch, weights, DVC, disk, GPU, params and the import; exit 2 if a check fails."""
    console = Console()
    bad = 0
    for check in (
        _python,
        _code,
        _torch,
        _gpu,
        _cache,
        _weights,
        _dvc,
        _git,
        _disk,
        _store,
        _params,
        _import,
        _audits,
        _letters,
    ):
        for passed, result, remedy in check():
            console.print(
                f"[{'green' if passed else 'red'}]{'ok  ' if passed else 'BAD '}[/] {escape(result)}", soft_wrap=True
            )
            if not passed:
                bad += 1
                console.print(f"     {escape(remedy)}", soft_wrap=True)
    if bad:
        raise typer.Exit(2)


def _python() -> Iterator[Finding]:
    supported = (3, 11) <= sys.version_info[:2] < (3, 15)
    yield (
        supported,
        f"Python {platform.python_version()}, {cores()} cores",
        "Install Python 3.11 to 3.14 and type `make install`.",
    )


def _code() -> Iterator[Finding]:
    mixed = mixed_code()
    yield not mixed, mixed or f"code of {Path(labelfactory.__file__).resolve().parent.parent}", mixed_remedy()


def _torch() -> Iterator[Finding]:
    version = torch.__version__.split("+")[0]
    supported = (2, 10) <= tuple(int(part) for part in version.split(".")[:2]) < (2, 14)
    yield supported, f"torch {torch.__version__}", "Type `make install`."


def _gpu() -> Iterator[Finding]:
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield True, f"GPU: {', '.join(names)}", ""
    else:
        yield True, "no GPU: the line runs on the CPU; use the profile demo or photographs-cpu", ""
    try:
        device = pick_device()
        yield True, f"computes on {device}; precision auto is {_auto_on(device)}", ""
    except UserError as error:
        yield False, error.problem, error.remedy


def _auto_on(device: torch.device) -> str:
    """What `precision: auto` is there, by the measurements of earlier runs."""
    if not has_bfloat16(device):
        return "32-true there: it has no bfloat16 of its own"
    counts = Counter(each.precision for each in kept_here(device))
    if not counts:
        return "measured there when a network first runs"
    chosen = ", ".join(f"{precision} for {count}" for precision, count in sorted(counts.items()))
    return f"measured there: {chosen} networks; seconds of each: {precision_folder()}"


def _cache() -> Iterator[Finding]:
    """Whether machine code and measured precisions are kept: each process makes them anew otherwise, in half a minute."""
    try:
        yield True, f"keeps machine code in {own_cache_folder('machine-code')}", ""
    except OSError as error:
        yield False, f"machine code is not kept: {error}", "Name a folder of yours: export LABELFACTORY_CACHE=/a/folder"


def _weights() -> Iterator[Finding]:
    for name in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"):
        yield _tried(lambda name=name: package_weights(name), f"ImageNet weights of {name}")  # type: ignore[misc]


def _dvc() -> Iterator[Finding]:
    has_folder = Path(".dvc").is_dir()
    yield (
        has_folder,
        f"DVC {importlib.metadata.version('dvc')}{'' if has_folder else ', but no .dvc folder'}",
        "Type `dvc init`.",
    )


def _git() -> Iterator[Finding]:
    program = shutil.which("git")
    yield program is not None, f"git: {program or 'not found'}", "Install git: DVC and the passports need it."


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(".").free / 2**30
    yield free >= LEAST_FREE_GB, f"{free:.0f} GiB free on this disk", f"Free at least {LEAST_FREE_GB} GiB."


def _store() -> Iterator[Finding]:
    try:
        yield True, held_in_words(), ""
    except UserError as error:
        yield False, error.problem, error.remedy


def _params() -> Iterator[Finding]:
    yield _tried(read_sections, PARAMS_FILE)


def _import() -> Iterator[Finding]:
    if not MANIFEST.exists():
        yield False, "nothing is imported yet", "Type `labelfactory import demo` or `labelfactory import voc DIR`."
        return
    yield _tried(lambda: read_manifest(), f"import: {MANIFEST}")


def _audits() -> Iterator[Finding]:
    if not SAMPLE.exists():
        return
    try:
        sample, answers = read_sample(), {*read_audits(), *read_points()}
    except UserError as error:
        yield False, f"audits: {error.problem}", error.remedy
        return
    drawn = [image.image_id for image in sample.drawn]
    done = sum(image_id in answers for image_id in drawn)
    yield True, f"audits: {done} of {len(drawn)} images of the sample have an answer", ""


def _letters() -> Iterator[Finding]:
    for letter in Outbox().refused():
        result = f"MLflow does not take a record: {letter.line}"
        yield False, result, "Mend what it names, and type `labelfactory record`, which tries it again."


def _tried(action: Callable[[], object], name: str) -> Finding:
    """Run a check and turn a UserError into a finding."""
    try:
        action()
    except UserError as error:
        return False, f"{name}: {error.problem}", error.remedy
    return True, name, ""
