"""The list of withdrawn photographs at a remote, which tells other machines what to refuse."""

import json
from collections.abc import Collection

from flows.line.remote_store import Store
from labelfactory.errors import DataError

REFUSED = "withdrawn.json"
"""In the remote: SHA-256 of every withdrawn photograph, for other machines; no ids."""


def refuse_at(store: Store, photographs: Collection[str]) -> frozenset[str]:
    """Add digests to the remote's list; gives all of it."""
    known = refused_at(store)
    together = known | frozenset(photographs)
    if together != known:
        store.put(json.dumps({"photographs": sorted(together)}, indent=2).encode(), store.address(REFUSED))
    return together


def refused_at(store: Store) -> frozenset[str]:
    """Digests that were withdrawn on any machine which pushes there.

    Raises:
        DataError: the list is damaged; a new one in its place would forget what others withdrew.
    """
    data = store.get(store.address(REFUSED))
    try:
        listed = json.loads(data)["photographs"] if data is not None else []
        return frozenset(map(str, listed))
    except (ValueError, KeyError, TypeError):
        problem = f"{store.address(REFUSED)}: the list of withdrawn photographs is damaged"
        raise DataError(
            problem, "Restore it from a backup of the remote, or delete it and push from each machine."
        ) from None
