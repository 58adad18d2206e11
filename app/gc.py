"""`labelfactory gc`: what the store of earlier outputs holds, and removal of what was used longest ago."""

import math
from pathlib import Path
from typing import Annotated

import typer

from labelfactory.console import in_bytes
from labelfactory.errors import UserError
from labelfactory.store.entries import STORE, entries, held_in_words, trim
from labelfactory.store.limit import GB
from labelfactory.store.sharing import share_with_cache
from labelfactory.tournament import TOURNAMENT


def gc(
    keep: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="GB that it may hold by itself. Default: $LABELFACTORY_STORE_GB, else 20 or a tenth of the free disk.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go.")] = False,
) -> None:
    """Show what is kept of earlier outputs, and remove what was used longest ago until the rest is below a limit."""
    if keep is not None and not math.isfinite(keep):
        raise UserError(f"--keep {keep} is not a number of GB", "Type one such as `labelfactory gc --keep 20`.")
    if not dry_run:
        share_with_cache()
    typer.echo(f"gc: {held_in_words()}")
    present = entries()
    gone = trim(None if keep is None else int(keep * GB), dry_run=dry_run)
    goes = {entry.path for entry in gone}
    for noun in dict.fromkeys(entry.noun for entry in present):
        own = [entry for entry in present if entry.noun == noun]
        removed = sum(entry.path in goes for entry in own)
        size = sum(entry.own_bytes for entry in own)
        typer.echo(
            f"  {STORE / noun}: {len(own)} kept, {in_bytes(size) if size else '0 MB'} by itself"
            f"{f'; {removed} go' if removed else ''}"
        )
    if contenders := _bytes_below(TOURNAMENT):
        typer.echo(
            f"  {TOURNAMENT}: {in_bytes(contenders)} of contenders; it may be deleted: the next tournament makes what it needs"
        )
    freed = in_bytes(sum(entry.own_bytes for entry in gone)) if gone else "0 MB"
    if dry_run:
        typer.echo(f"gc: --dry-run: {len(gone)} entries would go, {freed}; nothing was changed")
    else:
        typer.echo(f"gc: {len(gone)} entries are gone, {freed} are free again" if gone else "gc: nothing to remove")


def _bytes_below(folder: Path) -> int:
    """Of all files in a folder, not behind links."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
