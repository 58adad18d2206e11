"""`labelfactory record`: write new masks, models and runs into the ledger, and deliver them to MLflow."""

from flows.run.git_tree import Tree
from labelfactory.console import say
from labelfactory.errors import UserError
from lineage.deliver import Delivered, deliver
from lineage.record import Recorded
from lineage.record import record as record_on_disk


def record() -> None:
    """Record what is on the disk: masks, models, runs. Recording the same state again adds nothing."""
    report(record_on_disk(), deliver())


def remember(tree: Tree | None = None) -> None:
    """Record for another command; a problem is printed, not raised."""
    try:
        recorded = record_on_disk({"git_tree": str(tree)} if tree else None)
    except UserError as error:
        say(f"record: {error.problem}; nothing was recorded")
        return
    delivered = deliver()
    if recorded.masks or recorded.models or recorded.executions or delivered.waiting:
        report(recorded, delivered)


def report(recorded: Recorded, delivered: Delivered) -> None:
    """Print what is new, and what waits for MLflow."""
    if not (recorded.masks or recorded.models or recorded.executions or delivered.taken or delivered.waiting):
        say("record: nothing new")
        return
    models = f"; models: {', '.join(recorded.models)}" if recorded.models else ""
    say(f"record: {len(recorded.executions)} stages, {recorded.masks} new masks{models}")
    if delivered.waiting:
        say(
            f"record: {delivered.waiting} records wait in data/ledger/outbox: {delivered.why}; "
            "the next `labelfactory record` tries them again"
        )
