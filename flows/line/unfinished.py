"""Finish withdrawals that were interrupted, before and after what a command does. Loads DVC only where there is one."""

from collections.abc import Iterator
from contextlib import contextmanager

from labelfactory.dataset.withdrawn import LEDGER, remembered_photographs, withdrawn_in
from lineage.ledger import Ledger
from lineage.withdrawals import Withdrawal, open_withdrawals


@contextmanager
def finishing_withdrawals(command: str, *, thorough: bool = False) -> Iterator[list[Withdrawal]]:
    """Before the body, delete what open withdrawals name; after it, whether it failed or not, sign their reports.

    A ledger that was restored from before a withdrawal is told of it again.

    Args:
        command: as it is typed, for those who wait.
        thorough: search all of data/ and DVC's cache for what came back of complete ones, which takes as long as a withdrawal.

    Yields:
        The open withdrawals.

    Raises:
        BusyError: a withdrawal is open, and another process runs the line.
    """
    forgotten = remembered_photographs() - withdrawn_in(LEDGER).photographs
    back = _came_back() if thorough else []
    if not forgotten and not back and not open_withdrawals(Ledger()):
        yield []
        return
    from flows.line.learnt_withdrawals import begin_again
    from flows.line.withdrawals import delete_open, sign_and_say

    if forgotten:
        begin_again(forgotten, command, by="this project", reason="withdrawn here before the ledger was restored")
    found = delete_open(command, back)
    try:
        yield found
    except Exception:
        sign_and_say(found)
        raise
    sign_and_say(found)


def _came_back() -> list[str]:
    """Ids of the complete withdrawals of which something is there again."""
    from lineage.came_back import came_back  # it searches, and loads what that takes

    return [each.id for each in came_back()]
