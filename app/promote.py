"""`labelfactory promote`: make a segmenter the champion."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from labelfactory.console import say
from labelfactory.digests import digest_json
from labelfactory.errors import DataError
from labelfactory.settings.wiring import read_wiring
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
    promoted = lookup.model(model)
    name = read_wiring().model.noun
    if promoted.name != name:
        raise DataError(f"{promoted.label} is not a {name}", f"Only a {name} is promoted; name one by its version.")
    if promoted.digest in lookup.withdrawn_models():
        raise DataError(
            f"{promoted.label} learnt from withdrawn images", "Type `labelfactory run`, and promote the new one."
        )
    with ledger.locked():
        if lookup.aliases().get("champion") == promoted.digest:
            say(f"promote: {promoted.label} is the champion already")
        else:
            detail = {"alias": "champion", "model": promoted.digest}
            now = datetime.now(UTC).replace(microsecond=0)
            ledger.append("events", events_table([("promoted", promoted.digest, detail, now)]))
            say(f"promote: {promoted.label} is the champion")
        _tell_mlflow(ledger)
    delivered = deliver()
    if delivered.waiting:
        say(f"promote: {delivered.waiting} records wait: {delivered.why}; the next `labelfactory record` tries again")


def _tell_mlflow(ledger: Ledger) -> None:
    """Put the letter of the last promotion into the outbox, unless it waits there; MLflow may take it twice.

    After the event, and again by the next `promote`: a kill in between is made good.
    """
    last = ledger.events("promoted")[-1]
    identity = digest_json([last["detail"], last["time"].isoformat()])
    outbox = Outbox(ledger.folder / "outbox")
    if all(letter.id != identity for letter in outbox.letters()):
        outbox.put("promoted", identity, last["detail"])
