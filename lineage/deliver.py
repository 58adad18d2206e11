"""Deliver the outbox to MLflow: in order, each letter once. If MLflow does not answer, the letters stay in the outbox."""

from dataclasses import dataclass

from labelfactory.digests import digest_json
from labelfactory.masking import masked
from lineage.ledger import Ledger
from lineage.mlflow_home import quiet, tracking_uri, write_address
from lineage.outbox import Letter, Outbox

DECISIONS = ("promoted", "withdrawn")
"""Letters of what people decide. All others are derived from what is on the disk, and written again where they are missing."""


@dataclass(frozen=True)
class Delivered:
    """How many letters MLflow took, how many wait, and why."""

    taken: int
    waiting: int
    problem: str = ""


def track_at(uri: str) -> None:
    """From now on MLflow's runs of this project are kept there; its tables are made at once, not by the first runs.

    Args:
        uri: without a password, since it is written to a file.
    """
    quiet()
    from lineage.tracking import Tracking

    Tracking(uri, head={})
    write_address(uri)


def deliver(outbox: Outbox | None = None, ledger: Ledger | None = None) -> Delivered:
    """Replay what waits. A letter that MLflow took is gone; the first that it does not take stops the delivery."""
    outbox, ledger = outbox or Outbox(), ledger or Ledger()
    if not outbox.letters():
        return Delivered(0, 0)
    quiet()
    taken = 0
    with outbox.locked() as mine:
        if not mine:
            return Delivered(0, len(outbox.letters()), "another process is delivering")
        try:
            from lineage.tracking import Tracking  # MLflow takes seconds to import, so only where something waits

            tracking = Tracking(tracking_uri(), head=ledger.head())
            for letter in _recorded(outbox, ledger):
                tracking.take(letter)
                letter.done()
                taken += 1
        except Exception as error:  # whatever ails MLflow must not stop the line
            reason = masked(" ".join(str(error).split()))[:200]
            return Delivered(taken, len(outbox.letters()), f"{type(error).__name__}: {reason}")
    return Delivered(taken, 0)


def _recorded(outbox: Outbox, ledger: Ledger) -> list[Letter]:
    """The letters that wait, in order. A decision that is not in the ledger is deleted: its writer was killed before that."""
    with ledger.locked():  # no writer is between its letter and its event
        events = ledger.events(*DECISIONS)
        known = {e["subject"] for e in events} | {digest_json([e["detail"], e["time"].isoformat()]) for e in events}
        waiting = []
        for letter in outbox.letters():
            if letter.kind not in DECISIONS or letter.id in known:
                waiting.append(letter)
            else:
                letter.done()
    return waiting
