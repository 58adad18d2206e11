"""Complete withdrawals of which something is there again, such as outputs that were pulled, or folders from a backup.

This searches all that a withdrawal searches and takes its time. What every command looks at is `open_withdrawals`.
"""

from collections.abc import Collection

from labelfactory.dvc_cache import is_ours
from lineage.cached_objects import unneeded
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.traces import Traces, in_cache, joined, searched
from lineage.withdrawal_report import lines_of, traces_of
from lineage.withdrawals import Withdrawal, read_withdrawals


def came_back() -> list[Withdrawal]:
    """Complete withdrawals of which files under data/, or DVC's cache where it is ours, hold something again."""
    complete = [each for each in read_withdrawals(Ledger()) if each.left == 0]
    if not complete:
        return []
    lookup = Lookup()
    every = [traces_of(lookup, each) for each in complete]
    if not _is_back(joined(every), [md5 for each in complete for md5 in each.cache]):
        return []
    return [each for each, traces in zip(complete, every, strict=True) if _is_back(traces, each.cache)]


def _is_back(traces: Traces, objects: Collection[str]) -> bool:
    """Whether a search finds something of this, or these objects of the cache are there again.

    Pages in the cache are not looked at: whether an old report shows an image, its bytes alone do not tell.
    """
    if lines_of(searched(traces)):
        return True
    return is_ours() and bool(unneeded(objects) or in_cache(traces, with_pages=False))
