"""`labelfactory withdraw`: remove images from the data and all outputs, with a signed report."""

import getpass
from collections.abc import Sequence
from typing import Annotated

import typer

from flows.line.dvc_line import HeldLine, held_line
from flows.line.failure import StageFailedError
from flows.line.withdrawals import remove_open, say_reports, sign
from labelfactory.console import say
from labelfactory.errors import UserError
from labelfactory.interrupt import interrupted
from labelfactory.lock import project_lock
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.record import record
from lineage.withdraw import Touched, begin, touched_by
from lineage.withdrawals import Inputs, read_withdrawals


def withdraw(
    image_ids: Annotated[list[str], typer.Argument(help="Images by their ids in the import.")],
    by: Annotated[str, typer.Option(help="Name that signs the report. Default: the current user.")] = "",
    reason: Annotated[str, typer.Option(help="Reason for the report.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the affected masks and models.")] = False,
    later: Annotated[
        bool, typer.Option("--later", help="Do not rerun the line now; the report lists what is left.")
    ] = False,
) -> None:
    """Remove images, mark every model that learnt from them, rerun what is stale, check that nothing is left."""
    if dry_run:
        record()
        _describe(image_ids)
        typer.echo("withdraw: --dry-run: nothing was changed")
        return
    with project_lock("labelfactory withdraw"), held_line() as line:
        record()
        touched = _describe(image_ids)
        ledger = Ledger()
        if _is_new(ledger, touched):
            begin(ledger, touched, by=by or getpass.getuser(), reason=reason)
        found = remove_open(also=touched.image_ids)
        failed = not later and not _rerun(line)
        complete = say_reports(sign(found), later=later)
    if failed or not (complete or later):
        raise typer.Exit(2)


def _describe(image_ids: Sequence[str]) -> Touched:
    """Print what the images touched."""
    lookup = Lookup()
    touched = touched_by(lookup, image_ids)
    labels = {digest: model.label for digest, model in lookup.models.items()}
    typer.echo(f"withdraw: {', '.join(image_ids)}: {len(touched.masks)} versions of masks")
    if touched.twins:
        typer.echo(f"withdraw: other ids of the same photographs, which go too: {', '.join(touched.twins)}")
    typer.echo(f"withdraw: models that learnt from these images and must go: {_names(touched.models, labels)}")
    typer.echo(f"withdraw: models that were made with those and must go: {_names(touched.descendants, labels)}")
    return touched


def _names(models: list[str], labels: dict[str, str]) -> str:
    return ", ".join(labels.get(digest, digest[:12]) for digest in models) or "none"


def _is_new(ledger: Ledger, touched: Touched) -> bool:
    """Whether the ledger has to learn something: of an image, its files or its models.

    A withdrawal that was begun and of which nothing is signed yet names the files that are still there.
    """
    before = [each for each in read_withdrawals(ledger) if set(each.images) & set(touched.image_ids)]
    known = {image_id for each in before for image_id in each.images}
    marked = {digest for each in before for digest in each.models}
    return bool(set(touched.image_ids) - known or set(touched.all_models) - marked) or any(
        map(Inputs.now().hold, [each for each in before if each.left is not None])
    )


def _rerun(line: HeldLine) -> bool:
    """Run the line without the images, and record it; a stage that fails is printed, since the report must be signed anyway."""
    try:
        line.reproduce()
    except (StageFailedError, UserError) as error:
        say(f"error: {error}")
        say(
            "withdraw: the images are out of the import; mend the line and type `labelfactory run`, which finishes the rest"
        )
        return False
    finally:
        if not interrupted():  # whatever finishes the withdrawal records it
            record()
    return True
