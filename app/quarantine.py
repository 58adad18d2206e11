"""`labelfactory quarantine`: list quarantined samples, retry them, or release them for the next run."""

import json
from typing import Annotated

import typer

from app.run import bring_up_to_date
from flows.run.git_tree import check_tree
from labelfactory.console import say, show
from labelfactory.dataset.manifest import imported_classes
from labelfactory.errors import UserError
from labelfactory.lock import project_lock
from labelfactory.stage.preflight import check_kept_networks
from labelfactory.stage.quarantine import SetAside, let_out, set_aside

cli = typer.Typer(no_args_is_help=True, help="Samples that could not be processed: list, retry, release.")

Ids = Annotated[list[str] | None, typer.Argument(metavar="[IMAGE_ID]...", help="Image ids. Default: all of a --stage.")]
OfStage = Annotated[
    str, typer.Option("--stage", help="All samples that this stage quarantined; `all` for every stage.")
]


@cli.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List each sample in quarantine with its stage and the reason."""
    samples = set_aside()
    if as_json:
        typer.echo(json.dumps([item.__dict__ for item in samples], indent=2, ensure_ascii=False))
        return
    for item in samples:
        show(f"{item.image_id}  {item.stage}  {item.reason}")
    say(f"{len(samples)} in quarantine")


@cli.command()
def release(ids: Ids = None, stage: OfStage = "") -> None:
    """Release samples: the next run tries them again. Other rows keep their bytes."""
    released = _let_out(ids, stage)
    say(f"{len(released)} released; `labelfactory run` tries them again, and nothing else")


@cli.command()
def retry(
    ids: Ids = None,
    stage: OfStage = "",
    no_retrain: Annotated[bool, typer.Option("--no-retrain", help="Leave models and thresholds as they are.")] = False,
) -> None:
    """Release samples and run the line."""
    if no_retrain:  # before a sample is released
        check_kept_networks(imported_classes().names)
    with project_lock("labelfactory quarantine retry"):
        tried = {item.image_id for item in _let_out(ids, stage)}
    bring_up_to_date((), check_tree(strict=False), retrain=not no_retrain)
    left = [item for item in set_aside() if item.image_id in tried]
    for item in left:
        show(f"{item.image_id}  {item.stage}  {item.reason}")
    say(f"{len(tried) - len(left)} of {len(tried)} are out of quarantine")


def _let_out(ids: list[str] | None, stage: str) -> list[SetAside]:
    if bool(ids) == bool(stage):
        raise UserError(
            "name image ids or a --stage, not both",
            "Type `labelfactory quarantine list`; `--stage all` means everything.",
        )
    wanted = set(ids or ()) or {item.image_id for item in set_aside() if stage in ("all", item.stage)}
    if not wanted:
        say(f"nothing of {stage} is in quarantine")
        raise typer.Exit
    return let_out(wanted)
