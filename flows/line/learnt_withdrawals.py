"""Begin withdrawals that this project's ledger does not know: of other machines, and of a ledger that was here before."""

from dvc.config import ConfigError
from dvc_objects.fs.base import RemoteMissingDepsError

from flows.line.dvc_line import held_line
from flows.line.dvc_repo import open_repo
from flows.line.refused_at_remote import refused_at
from flows.line.remote_removal import address_of
from flows.line.remote_store import Store
from labelfactory.console import say
from labelfactory.dataset.withdrawn import LEDGER, withdrawn_in
from labelfactory.errors import UserError, in_short
from labelfactory.lock import project_lock
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.record import record
from lineage.withdraw import begin, begin_elsewhere, touched_with


def learn_refused(command: str) -> None:
    """Withdraw here what was withdrawn on other machines that push to the same remote; the next command finishes it.

    Raises:
        BusyError: something was withdrawn there, and another process runs the line.
        UserError: the list there is damaged or cannot be read: a machine that does not know it neither sends nor takes photographs.
    """
    with open_repo() as repo:
        try:
            store = Store(repo)
        except (ConfigError, RemoteMissingDepsError, ImportError):  # push or pull cannot open it either
            return
        where = address_of(repo)
        try:
            refused = refused_at(store)
        except UserError:
            raise
        except Exception as error:  # what a connection can end in; it may answer again when the photographs are sent
            problem = f"{where}: the list of withdrawn photographs cannot be read: {in_short(error)}"
            raise UserError(problem, f"Type `{command}` again when it answers.") from error
    new = refused - withdrawn_in(LEDGER).photographs
    if not new:
        return
    say(f"withdraw: {len(new)} photographs were withdrawn on another machine ({where}); they are withdrawn here too")
    begin_again(new, command, by="another machine", reason=f"withdrawn at {where}")


def begin_again(photographs: frozenset[str], command: str, *, by: str, reason: str) -> None:
    """Begin the withdrawal of photographs that were withdrawn elsewhere, or here before this ledger; the next command finishes it.

    Args:
        photographs: SHA-256 of each.
        command: as it is typed, for those who wait.
        by: who withdrew them.
        reason: where that is known from.

    Raises:
        BusyError: another process runs the line.
    """
    ledger = Ledger()
    with project_lock(command), held_line():
        record()
        touched = touched_with(Lookup(ledger), photographs)
        if touched.image_ids or touched.masks or touched.all_models:  # its id may show another photograph by now
            begin(ledger, touched, by=by, reason=reason)
        else:
            begin_elsewhere(ledger, photographs, by=by, reason=reason)
