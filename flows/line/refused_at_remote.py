"""The list of withdrawn photographs at a remote, which tells other machines what to refuse."""

import json
from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel

from flows.line.remote_store import Store
from labelfactory.errors import DataError
from labelfactory.json_files import Sha256, read_content

REFUSED = "withdrawn.json"
"""In the remote: SHA-256 of every withdrawn photograph, for other machines; no ids."""
RESTORE = "Restore it from a backup of the remote, or delete it and push from each machine."


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
    address = store.address(REFUSED)
    data = store.get(address)
    if data is None:
        return frozenset()
    try:
        return frozenset(read_content(Path(address), data, _Listed, RESTORE).photographs)
    except DataError as error:
        raise DataError(f"{address}: the list of withdrawn photographs is damaged", error.remedy) from None


class _Listed(BaseModel):
    photographs: list[Sha256]
