"""A tournament in the ledger and in MLflow: one run for each contender under one of its own. The same result is recorded once."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from labelfactory.digests import digest_json
from labelfactory.tournament import Contender, Results
from lineage.ledger import Ledger, events_table
from lineage.outbox import Outbox

EVENT = "tournament"
OF_THE_MOMENT = {"time", "contenders"}
"""Parts of a result that the same tournament may give otherwise, or that are long."""


def record_tournament(results: Results, ledger: Ledger | None = None) -> bool:
    """Write a finished tournament into the ledger, with a letter for MLflow; whether it was new.

    Raises:
        DataError: the ledger is damaged.
    """
    ledger = ledger or Ledger()
    detail = {
        **results.model_dump(mode="json", exclude=OF_THE_MOMENT),
        "contenders": [_contender(contender) for contender in results.contenders],
    }
    identity = digest_json(detail)
    with ledger.locked():
        if any(event["subject"] == identity for event in ledger.events(EVENT)):
            return False
        now = datetime.now(UTC).replace(microsecond=0)
        ledger.append("events", events_table([(EVENT, identity, detail, now)]))
        Outbox(ledger.folder / "outbox").put(EVENT, identity, detail)
    return True


def _contender(contender: Contender) -> dict[str, Any]:
    return {
        "name": contender.name,
        "overlay": dict(contender.overlay),
        "state": contender.state,
        "problem": contender.problem,
        "supervision": list(contender.supervision),
        "figures": dict(_figures(contender)),
    }


def _figures(contender: Contender) -> Iterator[tuple[str, float]]:
    """Name of a metric → value; what is not known is left out."""
    found: dict[str, float | None] = {
        "score": contender.score,
        "at_best_threshold": contender.at_best,
        "guess": contender.guess,
    }
    if contender.gain is not None:
        found |= {"gain": contender.gain.value, "gain_low": contender.gain.low, "gain_high": contender.gain.high}
    for run in contender.runs:
        found[f"score/seed_{run.seed}"] = run.score
    for name, gain in contender.class_gains.items():
        found[f"gain/{name}"] = gain.value
    for key, value in found.items():
        if value is not None:
            yield key, value
