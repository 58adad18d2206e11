"""A withdrawal in the ledger of the current folder, as `labelfactory withdraw` writes it, without anything else of that."""

from datetime import UTC, datetime

from labelfactory.digests import digest_json
from lineage.ledger import Ledger, events_table


def tell_ledger(**photographs: str) -> None:
    """Write that these images were withdrawn: id → SHA-256 of the photograph."""
    detail = {"images": list(photographs), "photographs": photographs, "models": [], "by": "test", "reason": ""}
    ledger = Ledger()
    with ledger.locked():
        ledger.append("events", events_table([("withdrawn", digest_json(detail), detail, datetime.now(UTC))]))
