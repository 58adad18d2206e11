"""`labelfactory run`: check everything, bring the line up to date, print what was made."""

from typing import Annotated

import typer

from app.record import remember
from app.table import print_table
from flows.line import reproduce
from labelfactory.errors import ParamsError, did_you_mean
from labelfactory.manifest import read_manifest
from labelfactory.preflight import check_line
from labelfactory.progress import say
from labelfactory.stage import read_sections
from labelfactory.wiring import read_wiring


def run(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Stages to bring up to date. Default: the whole line.")
    ] = None,
    no_retrain: Annotated[
        bool, typer.Option("--no-retrain", help="Leave models and thresholds as they are; label new images with them.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Ask stages that are up to date as well.")] = False,
) -> None:
    """Run what is stale: `dvc repro` with checks before and a table after."""
    sections = read_sections()
    known = read_wiring()
    for target in targets or ():
        if target not in known:
            raise ParamsError(
                f"{target!r} is no stage{did_you_mean(target, known)}", "Type `labelfactory status` to list them."
            )
    read_manifest()
    check_line(sections)
    remember()  # what was made by other ways since the last record; it may be overwritten now
    try:
        ran = reproduce(targets or (), retrain=not no_retrain, force=force)
    finally:
        remember()  # what is finished, even where a later stage failed
    if not ran:
        say("everything is up to date")
    print_table()
