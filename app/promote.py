"""`labelfactory promote`: make a segmenter the champion."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from labelfactory.console import say
from labelfactory.digests import digest_json
from labelfactory.errors import DataError
from lineage.deliver import deliver
from lineage.ledger import Ledger, events_table
from lineage.lookup import open_ledger
from lineage.outbox import Outbox
from lineage.record import record


def promote(
    model: Annotated[
        str, typer.Argument(help="A segmenter: latest, 3, segmenter@3, or the digits of its digest.")
    ] = "latest",
) -> None:
    """Give a segmenter the alias `champion`, in the ledger and in MLflow's registry."""
    record()
    ledger = Ledger()
    lookup = open_ledger(ledger)
    segmenter = lookup.model(model)
    if segmenter.name != "segmenter":
        raise DataError(f"{segmenter.label} is not a segmenter", "Name a segmenter by its version.")
    if segmenter.digest in lookup.withdrawn_models():
        raise DataError(
            f"{segmenter.label} learnt from withdrawn images", "Type `labelfactory run`, and promote the new segmenter."
        )
    if lookup.aliases().get("champion") == segmenter.digest:
        say(f"promote: {segmenter.label} is the champion already")
    else:
        detail = {"alias": "champion", "model": segmenter.digest}
        now = datetime.now(UTC).replace(microsecond=0)
        with ledger.locked():
            Outbox(ledger.folder / "outbox").put("promoted", digest_json([detail, now.isoformat()]), detail)
            ledger.append("events", events_table([("promoted", segmenter.digest, detail, now)]))
        say(f"promote: {segmenter.label} is the champion")
    delivered = deliver()
    if delivered.waiting:
        say(f"promote: MLflow did not answer ({delivered.problem}); the next `labelfactory record` delivers it")
