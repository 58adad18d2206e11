"""Carry out withdrawals: delete here and at the remote, sign the reports. One that was interrupted is finished by the next command.

A withdrawal is open until a signed report finds nothing left, and again when something of it came back, such as an import from a
backup. flows/line/unfinished.py finishes what is open, without loading DVC where nothing is.
"""

from collections.abc import Collection, Sequence
from typing import Any

from flows.line.dvc_line import held_line
from flows.line.kept_answers import forget
from flows.line.remote_removal import remove_at_remotes
from labelfactory.console import first_of, say
from labelfactory.lock import project_lock
from lineage.deliver import deliver
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.record import record
from lineage.removal import remove, remove_cached
from lineage.withdraw import again_if_more_known, tell_mlflow
from lineage.withdrawal_report import last_report, make_report, search, sign_off, traces_of
from lineage.withdrawals import Withdrawal, open_withdrawals

RUN = "type `labelfactory run`, which finishes it; delete what is no output of the line yourself"
SHOWN = 20
Report = dict[str, Any]


def remove_open(also: Collection[str] = ()) -> list[Withdrawal]:
    """Delete what open withdrawals name, and those of the images or ids `also`; gives them. The caller holds project and line."""
    ledger = Ledger()
    found = open_withdrawals(ledger, also)
    for each in found:
        remove(each)
        if each.left is None:
            with ledger.locked():
                tell_mlflow(ledger, each)
    return found


def sign(withdrawals: Sequence[Withdrawal]) -> list[Report]:
    """Search for what is left of them, delete it from DVC's cache, at the remote and in kept answers, and sign a report of each.

    A report that would say what the last one said is not signed again.
    """
    ledger, reports = Ledger(), []
    if withdrawals:
        forget()
    for each in withdrawals:
        each = again_if_more_known(ledger, each)
        lookup = Lookup(ledger)
        before, found = last_report(ledger, each), search(traces_of(lookup, each), each.cache)
        objects = sorted({*each.cache, *found.cached, *before.get("deleted_from_cache", ())})
        remote = remove_at_remotes([each], {*objects, *each.objects})
        remove_cached(found.old)
        report = make_report(lookup, each, found, remote, objects)
        same = before.get("left_over") == report["left_over"] and each.left != 0
        report["path"] = (
            str(ledger.folder / "withdrawals" / each.report) if same else str(sign_off(ledger, each, report))
        )
        reports.append(report)
    if withdrawals:
        deliver()
    return reports


def delete_open(command: str, also: Collection[str] = ()) -> list[Withdrawal]:
    """`remove_open` for a command that holds nothing yet; models that learnt from the images since are recorded first.

    Raises:
        BusyError: another process runs the line.
    """
    with project_lock(command), held_line():
        record()
        found = remove_open(also)
    for each in found:
        say(f"withdraw: finishing the withdrawal of {each.names}")
    return found


def sign_and_say(found: Sequence[Withdrawal]) -> None:
    """Record the line, sign the reports and print them."""
    if found:
        record()
        say_reports(sign(found))


def say_reports(reports: Sequence[Report], *, later: bool = False) -> bool:
    """Print what each report says; whether all of them are complete."""
    for report in reports:
        for line in report["left_over"][:SHOWN]:
            say(f"withdraw: still there: {line}")
        if len(report["left_over"]) > SHOWN:
            say(f"withdraw: … and {len(report['left_over']) - SHOWN} more, in the report")
        if report["elsewhere"]:
            say(f"withdraw: these are yours to delete or to edit: {first_of(report['elsewhere'], SHOWN)}")
        for line in report["not_ours"]:
            say(f"withdraw: not deleted here: {line}")
        say(f"withdraw: signed report: {report['path']}")
        names = ", ".join(report["images"]) or report["reason"]
        if report["complete"]:
            say(f"withdraw: the current outputs contain nothing of these images ({names})")
        else:
            say(f"withdraw: {names}: {RUN}" if later else f"withdraw: {names}: not complete: {RUN}")
    return all(report["complete"] for report in reports)
