"""`labelfactory withdraw`: take images out of the data and of everything that is made from it, with a signed report."""

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
    by: Annotated[str, typer.Option(help="Who signs the report. Default: the user of this machine.")] = "",
    reason: Annotated[str, typer.Option(help="Why; it stands in the report.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what the images touched.")] = False,
    later: Annotated[
        bool, typer.Option("--later", help="Do not rerun the line now; the report says what is left.")
    ] = False,
) -> None:
    """Remove images, mark every model that learnt from them, rerun what is stale, prove that nothing is left."""
    record()
    ledger = Ledger()
    lookup = Lookup(ledger)
    touched = touched_by(lookup, image_ids)
    labels = {digest: model.label for digest, model in lookup.models.items()}
    typer.echo(f"withdraw: {', '.join(image_ids)}: {len(touched.masks)} versions of masks")
    typer.echo(f"withdraw: models that must go, since they learnt from these images: {_names(touched.models, labels)}")
    typer.echo(f"withdraw: and since they were made with those: {_names(touched.descendants, labels)}")
    if touched.twins:
        typer.echo(f"withdraw: the same photograph stands under other names, which stay: {', '.join(touched.twins)}")
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
    _tell(report, str(path), later=later)


def _names(models: list[str], labels: dict[str, str]) -> str:
    return ", ".join(labels.get(digest, digest[:12]) for digest in models) or "none"


def _tell(report: dict[str, object], path: str, *, later: bool) -> None:
    left, cached, elsewhere = (report[name] for name in ("left_over", "old_versions_in_cache", "elsewhere"))
    for path_left in left if isinstance(left, list) else ():
        say(f"withdraw: still there: {path_left}")
    if elsewhere and isinstance(elsewhere, list):
        say(f"withdraw: these files lie outside the project and are yours to delete: {', '.join(elsewhere)}")
    if cached:
        say(f"withdraw: {cached} old files in DVC's cache still hold it; `dvc gc --workspace` deletes them")
    say(f"withdraw: signed report: {path}")
    if left:
        say(
            "withdraw: type `labelfactory run`, then `labelfactory audit verify`" if later else "withdraw: not complete"
        )
        raise typer.Exit(0 if later else 2)
    say("withdraw: nothing of these images is left in the live outputs")
