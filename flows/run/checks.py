"""Checks before a run, so that problems do not appear after hours."""

from collections.abc import Sequence

from flows.line.put_aside import put_back
from labelfactory.dataset.manifest import read_manifest
from labelfactory.errors import ParamsError, did_you_mean
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.preflight import check_kept_networks, check_line
from labelfactory.stage.runner import read_sections


def check_run(targets: Sequence[str] = (), *, retrain: bool = True) -> None:
    """Check the names of stages, params.yaml, the lists that it names, and files of weights; without `retrain` also that the
    networks were trained for the classes of the import.

    Raises:
        UserError: a check fails.
    """
    put_back()
    sections = read_sections()
    check_targets(targets)
    manifest = read_manifest()
    check_line(sections)
    if not retrain:
        check_kept_networks(manifest.classes.names, targets)


def check_targets(targets: Sequence[str]) -> None:
    """Check that each target is a stage of dvc.yaml.

    Raises:
        ParamsError: one is not.
    """
    known = read_wiring()
    for target in targets:
        if target not in known:
            raise ParamsError(
                f"{target!r} is not a stage{did_you_mean(target, known)}", "Type `labelfactory status` to list them."
            )
