"""`labelfactory withdraw`: remove images from the data and all outputs, with a signed report."""

import getpass
from typing import Annotated

import typer

from flows.line.dvc_line import reproduce
from labelfactory.console import say
from lineage.deliver import deliver
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.record import record
from lineage.withdraw import in_cache, left_over, remove, sign_off, tokens, touched_by


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
    record()
    ledger = Ledger()
    lookup = Lookup(ledger)
    touched = touched_by(lookup, image_ids)
    labels = {digest: model.label for digest, model in lookup.models.items()}
    typer.echo(f"withdraw: {', '.join(image_ids)}: {len(touched.masks)} versions of masks")
    typer.echo(f"withdraw: models that learnt from these images and must go: {_names(touched.models, labels)}")
    typer.echo(f"withdraw: models that were made with those and must go: {_names(touched.descendants, labels)}")
    if touched.twins:
        typer.echo(f"withdraw: other ids of the same photographs, which stay: {', '.join(touched.twins)}")
    if dry_run:
        typer.echo("withdraw: --dry-run: nothing was changed")
        return
    words = tokens(touched, image_ids)
    report = remove(ledger, touched, image_ids, by=by or getpass.getuser(), reason=reason)
    if not later:
        reproduce()
        record()
    report["left_over"] = left_over(words)
    report["old_versions_in_cache"] = in_cache(words)
    report["masks"] = [{"image_id": m["image_id"], "digest": m["digest"], "key": m["key"]} for m in touched.masks]
    report["model_names"] = {digest: labels[digest] for digest in touched.all_models if digest in labels}
    path = sign_off(ledger, report)
    deliver()
    _print_report(report, str(path), later=later)


def _names(models: list[str], labels: dict[str, str]) -> str:
    return ", ".join(labels.get(digest, digest[:12]) for digest in models) or "none"


def _print_report(report: dict[str, object], path: str, *, later: bool) -> None:
    left, cached, elsewhere = (report[name] for name in ("left_over", "old_versions_in_cache", "elsewhere"))
    for path_left in left if isinstance(left, list) else ():
        say(f"withdraw: still there: {path_left}")
    if elsewhere and isinstance(elsewhere, list):
        say(f"withdraw: delete these files outside of the project yourself: {', '.join(elsewhere)}")
    if cached:
        say(f"withdraw: {cached} old files in DVC's cache still contain them; `dvc gc --workspace` deletes those")
    say(f"withdraw: signed report: {path}")
    if left:
        say(
            "withdraw: type `labelfactory run`, then `labelfactory audit verify`" if later else "withdraw: not complete"
        )
        raise typer.Exit(0 if later else 2)
    say("withdraw: the current outputs contain nothing of these images")
