"""Finish withdrawals that were interrupted, before and after what a command does. Loads DVC only where there is one."""

from collections.abc import Iterator
from contextlib import contextmanager

from lineage.ledger import Ledger
from lineage.withdrawals import Withdrawal, open_withdrawals


@contextmanager
def finishing_withdrawals(command: str) -> Iterator[list[Withdrawal]]:
    """Before the body, delete what open withdrawals name; after it, whether it failed or not, sign their reports.

    Args:
        command: as it is typed, for those who wait.

    Yields:
        The open withdrawals.

    Raises:
        BusyError: a withdrawal is open, and another process runs the line.
    """
    if not open_withdrawals(Ledger()):
        yield []
        return
    from flows.line.withdrawals import delete_open, sign_and_say

    found = delete_open(command)
    try:
        yield found
    except Exception:
        sign_and_say(found)
        raise
    sign_and_say(found)
