"""`labelfactory run`: check everything, bring the line up to date, print its table."""

from collections.abc import Sequence
from typing import Annotated

import typer

from app.record import remember
from app.table import print_table
from flows.line.dvc_line import reproduce
from flows.line.summary import quality_falls, read_summary
from flows.line.unfinished import finishing_withdrawals
from flows.run.checks import check_run, check_targets
from flows.run.git_tree import Tree, check_tree
from flows.server.api import find_api
from flows.server.submit import submit
from labelfactory.console import say
from labelfactory.errors import DataError, ParamsError, did_you_mean
from labelfactory.interrupt import interrupted

RUNNERS = ("local", "dask", "ray")


def run(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Stages to bring up to date. Default: the whole line.")
    ] = None,
    no_retrain: Annotated[
        bool, typer.Option("--no-retrain", help="Leave models and thresholds as they are; label new images with them.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also run stages that are up to date.")] = False,
    on: Annotated[str, typer.Option(help="Submit the run to a worker of this pool, and return at once.")] = "",
    runner: Annotated[
        str, typer.Option(help="With --on: local, or dask or ray to spread images over a cluster.")
    ] = "local",
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a git tree that is not clean; fail if quality fell.")
    ] = False,
    here: Annotated[
        bool, typer.Option("--here", help="With --on: run every stage on that pool, whatever pool dvc.yaml names.")
    ] = False,
) -> None:
    """Run what is stale: `dvc repro` with checks before and a table after."""
    if runner not in RUNNERS:
        raise ParamsError(f"--runner {runner!r} is unknown{did_you_mean(runner, RUNNERS)}", "Use local, dask or ray.")
    tree = check_tree(strict=strict)
    if on:
        check_targets(targets or ())
        wanted = {"targets": targets or None, "retrain": not no_retrain, "force": force, "runner": runner}
        wanted |= {"strict": strict, "stay": here}
        run = submit(find_api(), on, wanted)
        typer.echo(f"{run.name}: {run.page}")
        return
    if runner != "local":
        raise ParamsError(f"--runner {runner} needs a worker", f"Type `labelfactory run --on cpu --runner {runner}`.")
    bring_up_to_date(targets or (), tree, retrain=not no_retrain, force=force, strict=strict)


def bring_up_to_date(
    targets: Sequence[str], tree: Tree, *, retrain: bool, force: bool = False, strict: bool = False
) -> None:
    """Check, run, record, and print the table.

    Raises:
        DataError: `strict`, and the quality of masks fell; all is done nevertheless.
    """
    with finishing_withdrawals("labelfactory run"):
        check_run(targets, retrain=retrain)
        remember(tree)  # outputs made since the last record, which the run may overwrite
        try:
            ran = reproduce(targets, retrain=retrain, force=force)
        finally:
            if not interrupted():  # the next run records them
                remember(tree)  # finished stages, even if a later one failed
    if not ran:
        say("everything is up to date")
    print_table(read_summary())
    if strict and ran and (fell := quality_falls(ran)):
        raise DataError(" ".join(fell), "The run has finished. `labelfactory quality` shows the masks, worst first.")
