"""`labelfactory run`: check everything, bring the line up to date, print what was made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from app.table import print_table
from flows.line import reproduce
from labelfactory.digests import digest_file
from labelfactory.errors import MissingError, ParamsError, did_you_mean
from labelfactory.manifest import read_manifest
from labelfactory.params import Section
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
    _check_lists(sections)
    _check_weights(sections)
    ran = reproduce(targets or (), retrain=not no_retrain, force=force)
    if not ran:
        say("everything is up to date")
    print_table()


def _check_lists(sections: Mapping[str, Section]) -> None:
    """A list that no image stands on would come to light only when all is trained."""
    known = {name for entry in read_manifest().entries for name in entry.lists}
    evaluate: Any = sections["evaluate"]
    for name in evaluate.lists:
        if name not in known:
            raise ParamsError(
                f"evaluate.lists: no image stands on the list {name!r}{did_you_mean(name, known)}",
                f"Mend params.yaml; the import has the lists {', '.join(sorted(known))}.",
            )


def _check_weights(sections: Mapping[str, Section]) -> None:
    """So would a file of weights that is not there, or is another."""
    for name, section in sections.items():
        weights: str = getattr(section, "weights", "random")
        if weights in ("package", "random", "classifier") or weights.startswith(("http://", "https://")):
            continue
        if not Path(weights).is_file():
            raise MissingError(f"{name}.weights: there is no file {weights}", "Correct the path, or give a URL.")
        found, wanted = digest_file(Path(weights)), getattr(section, "weights_sha256", "")
        if found != wanted.lower():
            raise ParamsError(
                f"{name}.weights: {weights} has the SHA-256 {found}, not {wanted}",
                f"If you trust this file, write its digest as {name}.weights_sha256; otherwise fetch it again.",
            )
