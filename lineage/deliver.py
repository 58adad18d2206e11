"""Deliver the outbox to MLflow: in order, each letter once. If MLflow does not answer, the letters stay in the outbox.

A letter that MLflow refuses though it answers stays too, with those that need it, and the others are delivered. An MLflow
without any run of this project gets everything that the ledger knows.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelfactory.errors import in_short
from lineage.ledger import Ledger
from lineage.mlflow_home import SQLITE, quiet, tracking_uri, write_address
from lineage.outbox import Letter, Outbox
from lineage.resend import resend

if TYPE_CHECKING:
    from lineage.tracking import Tracking


@dataclass(frozen=True)
class Delivered:
    """How many letters MLflow took, how many wait, and why."""

    taken: int
    waiting: int
    problem: str = ""  # why MLflow takes nothing
    refused: tuple[str, ...] = ()  # letters that it does not take, each with the reason

    @property
    def why(self) -> str:
        """Why letters wait, in one line."""
        if self.problem:
            return f"MLflow did not answer ({self.problem})"
        return f"MLflow refuses {len(self.refused)} of them ({self.refused[0]})" if self.refused else ""


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
    """Replay what waits. A letter that MLflow took is gone."""
    outbox, ledger = outbox or Outbox(), ledger or Ledger()
    try:
        uri = tracking_uri()
        if not outbox.waits() and not _is_lost(uri, ledger):
            return Delivered(0, 0)
        quiet()
        with outbox.locked() as mine:
            if not mine:
                return Delivered(0, len(outbox.letters()), "another process is delivering")
            from lineage.tracking import Tracking  # MLflow takes seconds to import, so only where something waits

            tracking = Tracking(uri, head=ledger.head())
            damaged = outbox.drop_damaged()
            if tracking.is_empty():
                resend(ledger, outbox)
            elif damaged:
                resend(ledger, outbox, damaged)
            return _deliver_all(tracking, outbox)
    except Exception as error:  # whatever ails MLflow must not stop the line
        return Delivered(0, len(outbox.letters()), _reason(error))


def _deliver_all(tracking: "Tracking", outbox: Outbox) -> Delivered:
    """Each letter in order. One that is refused, and those that need it, are kept for the next time.

    The registry numbers versions as they come: a registered model waits for those before it, to have the ledger's number.
    """
    taken, kept, letters = 0, dict[str, Letter](), outbox.letters()
    waiting = {letter.path: letter for letter in letters if letter.detail.get("name") == tracking.registered}
    for letter in letters:
        missing = {kept[id].kind for id in letter.needs & kept.keys()}
        if letter.path in waiting and any(letter.follows(other) for other in waiting.values()):
            missing.add("model")
        problem = f"waits for {', '.join(sorted(missing))}" if missing else ""
        if not missing or letter.kind == "withdrawn":  # a withdrawal marks at once what is there
            try:
                tracking.take(letter)
            except Exception as error:  # a letter may be refused in many ways
                problem = _reason(error)
                if not tracking.answers():
                    return Delivered(taken, len(outbox.letters()), problem)
        if problem:
            letter.refuse(problem)
            kept[letter.id] = letter
            continue
        if letter.kind == "promoted":  # an older promotion that was refused must not follow this one
            for older in [k for k in kept.values() if k.detail.get("alias", "") == letter.detail["alias"]]:
                kept.pop(older.id).done()
        letter.done()
        waiting.pop(letter.path, None)
        taken += 1
    refused = outbox.refused()
    return Delivered(taken, len(outbox.letters()), refused=tuple(letter.line for letter in refused))


def _is_lost(uri: str, ledger: Ledger) -> bool:
    """Whether the project's own database is gone, which is seen without loading MLflow."""
    return uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists() and bool(ledger.files("events"))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {in_short(error)}"
