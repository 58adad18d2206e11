"""What the manifest at a remote named once and names no more: a withdrawal must find it there, though no row leads to it.

labelfactory/replaced.json in the remote has no ids, only digests of them: [[id's, photograph's, true mask's], …].
"""

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from flows.line.pulled_manifest import DamagedError, read_pushed
from flows.line.remote_store import Store
from labelfactory.dataset.manifest import Entry, Manifest
from labelfactory.digests import SHA256, digest_json
from labelfactory.json_files import Sha256, read_content

REPLACED = "replaced.json"
RESTORE = "Restore it from a backup of the remote. If you delete it, no withdrawal finds what it named."
_ROWS = list[tuple[Sha256, Sha256, Annotated[str, Field(pattern=rf"^({SHA256.pattern})?$")]]]


def note_replaced(store: Store, manifest: Manifest) -> None:
    """Before the manifest at a remote is replaced, note the photographs and true masks that only the old one names.

    Raises:
        DataError: the list is damaged. So do all functions here that read it.
    """
    address = store.address("manifest.parquet")
    data = store.get(address)
    try:
        before = read_pushed(data, address).entries if data is not None else ()
    except DamagedError:  # nobody knows what it named
        return
    named = pictures_of(manifest.entries)
    fresh = {_row(entry) for entry in before if not {entry.sha256, entry.mask_sha256} - {None} <= named}
    _keep(store, _replaced(store) | fresh)


def replaced_pictures(store: Store, image_ids: Collection[str], photographs: Collection[str]) -> set[str]:
    """Digests of photographs and true masks of these images that the manifest at a remote named before."""
    return {digest for row in _rows_of(store, image_ids, photographs) for digest in row[1:] if digest}


def forget_replaced(store: Store, image_ids: Collection[str], photographs: Collection[str]) -> None:
    """Take these images out of the list, once their pictures are deleted."""
    _keep(store, _replaced(store) - _rows_of(store, image_ids, photographs))


def pictures_of(entries: Iterable[Entry]) -> set[str]:
    """Digests of their photographs and true masks."""
    return {digest for entry in entries for digest in (entry.sha256, entry.mask_sha256) if digest}


def _row(entry: Entry) -> tuple[str, str, str]:
    return digest_json(entry.image_id), entry.sha256, entry.mask_sha256 or ""


def _rows_of(store: Store, image_ids: Collection[str], photographs: Collection[str]) -> set[tuple[str, str, str]]:
    names = {digest_json(image_id) for image_id in image_ids}
    return {row for row in _replaced(store) if row[0] in names or row[1] in photographs}


def _keep(store: Store, rows: set[tuple[str, str, str]]) -> None:
    if rows != _replaced(store):
        store.put(json.dumps(sorted(rows)).encode(), store.address(REPLACED))


def _replaced(store: Store) -> set[tuple[str, str, str]]:
    """The list; empty where there is none.

    Raises:
        DataError: it is damaged; a new one in its place would forget what a withdrawal must find.
    """
    address = store.address(REPLACED)
    data = store.get(address)
    return set(read_content(Path(address), data, _ROWS, RESTORE)) if data is not None else set()
