"""`labelfactory export-lineage`: the ledger as OpenLineage events and PROV-JSON."""

from pathlib import Path
from typing import Annotated

import typer

from labelfactory.console import say
from lineage.export import export_lineage as write
from lineage.lookup import open_ledger
from lineage.record import record


def export_lineage(
    folder: Annotated[Path, typer.Argument(help="Folder for openlineage.jsonl and prov.json.")] = Path(
        "lineage-export"
    ),
) -> None:
    """Write the ledger in the formats of OpenLineage and W3C PROV."""
    record()
    for path in write(open_ledger(), folder):
        say(f"export-lineage: {path}")
