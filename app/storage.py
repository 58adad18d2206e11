"""`labelfactory push` and `labelfactory pull`: data, outputs and photographs in a shared bucket."""

from typing import Annotated

import typer

from flows.line.learnt_withdrawals import learn_refused
from flows.line.remote_removal import clean_remote
from flows.line.shared_import import SHOWN
from flows.line.storage import pull as fetch
from flows.line.storage import push as send
from flows.line.unfinished import finishing_withdrawals
from flows.line.withdrawals import sign_and_say
from labelfactory.console import first_of, say
from labelfactory.errors import DataError, UserError
from lineage.came_back import came_back
from lineage.lookup import Lookup
from lineage.traces import in_project
from lineage.withdrawal_report import traces_of

NEWER_LOCK = (
    "This dvc.lock may name outputs that were deleted with withdrawn images. Take the newer dvc.lock (`git pull`) and pull again, "
    "or type `labelfactory run`."
)


def push(
    give_up: Annotated[
        bool,
        typer.Option(
            "--give-up",
            help="Also where other machines pushed what this folder's import lacks, or all that was pushed is gone.",
        ),
    ] = False,
) -> None:
    """Send photographs, the import and the line's outputs to DVC's remote; only what it does not have."""
    learn_refused("labelfactory push")
    with finishing_withdrawals("labelfactory push") as withdrawals:
        for each in withdrawals:
            if in_project(traces_of(Lookup(), each)):
                raise DataError(
                    f"the outputs still contain withdrawn images ({each.names})",
                    "Type `labelfactory run`, then `labelfactory push`.",
                )
        try:
            moved = send(give_up=give_up)
        except DataError:  # the shared import has changed meanwhile, by a withdrawal perhaps
            _take_back()
            raise
        _take_back()
    say(f"pushed: {moved.pictures} photographs and masks, {moved.outputs} files of outputs")


def _take_back() -> None:
    """Delete at the remote, and withdraw here, what was withdrawn elsewhere while this machine was sending."""
    clean_remote()
    learn_refused("labelfactory push")


def pull(
    give_up: Annotated[
        bool, typer.Option("--give-up", help="Take the pushed import as it is, without what was changed here since.")
    ] = False,
) -> None:
    """Fetch what another machine pushed, so that this clone continues from there."""
    learn_refused("labelfactory pull")
    with finishing_withdrawals("labelfactory pull") as withdrawals:
        try:
            moved = fetch(give_up=give_up)
        except UserError as error:
            raise UserError(error.problem, NEWER_LOCK if withdrawals else error.remedy) from error
    if moved.kept:
        say(
            f"pull: other bytes were pushed for files that are here, which stay as they are: "
            f"{first_of(moved.kept, SHOWN)}; the import "
            "has the pushed ones in data/raw/pulled. Import a file again to take yours."
        )
    sign_and_say(came_back())  # outputs that were pulled may be older than a withdrawal
    say(f"pulled: {moved.pictures} photographs and masks, {moved.outputs} files of outputs")
