"""The options that all imports share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from labelfactory.dataset.manifest import MANIFEST, read_manifest
from labelfactory.dataset.prepared import COMPRESSION, SHARD_SIZE
from labelfactory.errors import DataError, UserError
from labelfactory.settings.params import PARAMS_FILE, read_yaml
from labelfactory.typed_names import split_names, split_pair
from sources._import_plan import ImportOptions
from stages.prepare import PrepareConfig

NamedClasses = Annotated[
    str,
    typer.Option(
        "--classes",
        help="Classes, in order, with commas (in a name: `\\,`); with --append new ones follow. Default: all.",
    ),
]
Rename = Annotated[
    list[str] | None,
    typer.Option("--rename", help="old=new: another name for a class; old= drops it; may be repeated."),
]
ValFraction = Annotated[
    float | None,
    typer.Option("--val-fraction", help="Share of the list val, the same in every class. Default: 0.2 without lists."),
]
Append = Annotated[bool, typer.Option("--append", help="Add new images to those imported before.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Let images go that were imported before and are not in this import.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count, list every problem, write nothing.")]
DEMO_SOURCE = "import demo "
"""Prefix of the source in a demo's manifest."""


def import_options(
    classes: str,
    rename: Sequence[str] | None,
    val_fraction: float | None,
    *,
    append: bool,
    replace: bool = False,
    dry_run: bool,
    **more: Any,
) -> ImportOptions:
    """The options that all imports share, with the limits of params.yaml.

    Raises:
        UserError: an option has the wrong form.
    """
    renamed: dict[str, str] = {}
    for text in rename or ():
        pair = split_pair(text)
        if pair is None:
            raise UserError(f"--rename {text!r} is not of the form old=new", "Type it like this: --rename sofa=couch")
        renamed[pair[0]] = pair[1]
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise UserError(
            f"--val-fraction {val_fraction:g} must be between 0 and 1", "Type it like this: --val-fraction 0.2"
        )
    if append and replace:
        raise UserError(
            "--append keeps the images that are here, --replace lets them go",
            "Type one of the two, or neither where no image would go.",
        )
    limits = _limits()
    return ImportOptions(
        classes=tuple(split_names(classes)),
        rename=renamed,
        val_fraction=val_fraction,
        max_bad_fraction=limits.max_bad_fraction,
        train_list=limits.train_list,
        val_list=limits.val_list,
        append=append,
        replace=replace,
        dry_run=dry_run,
        **more,
    )


def _limits() -> PrepareConfig:
    """Section `prepare` of params.yaml; the strictest limits if there is none."""
    path = Path(PARAMS_FILE)
    try:
        return PrepareConfig.model_validate(read_yaml(path).get("prepare") if path.exists() else None)
    except ValidationError:  # `labelfactory run` reports the problem
        return PrepareConfig(
            train_list="train", val_list="val", max_bad_fraction=0, shard_size=SHARD_SIZE, compression=COMPRESSION
        )


def refuse_other_data(source: str) -> None:
    """Refuse to replace an import of another source: `make demo` must not replace a user's own photographs."""
    old = read_manifest() if MANIFEST.exists() else None
    if old is not None and not old.source.startswith(source):
        raise DataError(
            f"this folder has another data set: {len(old.entries)} images ({old.source})",
            "Type `make demo` in a fresh clone, or `labelfactory import demo --replace` to let it go.",
        )
