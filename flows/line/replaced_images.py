"""What the manifest at a remote named once and names no more: a withdrawal must find it there, though no row leads to it.

labelfactory/replaced.json in the remote has no ids, only digests of them: [[id's, photograph's, true mask's], …].
"""

import json
from collections.abc import Collection, Iterable
from typing import Any

from flows.line.pulled_manifest import DamagedError, read_pushed
from labelfactory.dataset.manifest import Entry, Manifest
from labelfactory.digests import digest_json

REPLACED = "replaced.json"


def note_replaced(store: Any, manifest: Manifest) -> None:
    """Before the manifest at a remote is replaced, note the photographs and true masks that only the old one names."""
    address = store.address("manifest.parquet")
    data = store.get(address)
    try:
        before = read_pushed(data, address).entries if data is not None else ()
    except DamagedError:  # nobody knows what it named
        return
    named = pictures_of(manifest.entries)
    fresh = {_row(entry) for entry in before if not {entry.sha256, entry.mask_sha256} - {None} <= named}
    _keep(store, _replaced(store) | fresh)


def replaced_pictures(store: Any, image_ids: Collection[str], photographs: Collection[str]) -> set[str]:
    """Digests of photographs and true masks of these images that the manifest at a remote named before."""
    return {digest for row in _rows_of(store, image_ids, photographs) for digest in row[1:] if digest}


def forget_replaced(store: Any, image_ids: Collection[str], photographs: Collection[str]) -> None:
    """Take these images out of the list, once their pictures are deleted."""
    _keep(store, _replaced(store) - _rows_of(store, image_ids, photographs))


def pictures_of(entries: Iterable[Entry]) -> set[str]:
    """Digests of their photographs and true masks."""
    return {digest for entry in entries for digest in (entry.sha256, entry.mask_sha256) if digest}


def _row(entry: Entry) -> tuple[str, str, str]:
    return digest_json(entry.image_id), entry.sha256, entry.mask_sha256 or ""


def _rows_of(store: Any, image_ids: Collection[str], photographs: Collection[str]) -> set[tuple[str, str, str]]:
    names = {digest_json(image_id) for image_id in image_ids}
    return {row for row in _replaced(store) if row[0] in names or row[1] in photographs}


def _keep(store: Any, rows: set[tuple[str, str, str]]) -> None:
    if rows != _replaced(store):
        store.put(json.dumps(sorted(rows)).encode(), store.address(REPLACED))


def _replaced(store: Any) -> set[tuple[str, str, str]]:
    """The list; empty where there is none that can be read."""
    data = store.get(store.address(REPLACED))
    try:
        return {(str(name), str(photograph), str(mask)) for name, photograph, mask in json.loads(data or b"[]")}
    except (ValueError, TypeError):
        return set()
