"""Take withdrawn images out of the manifest at a remote, out of its earlier versions too, with what only their rows name."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.line.pulled_manifest import read_pushed
from flows.line.remote_deletion import Deletion
from flows.line.remote_store import Store
from flows.line.replaced_images import pictures_of
from labelfactory.dataset.manifest import Entry, write_manifest
from labelfactory.dataset.withdrawn import Withdrawn
from labelfactory.errors import UserError


def clean_manifest(store: Store, gone: Withdrawn, known: Collection[str], *, is_own: bool = True) -> set[str]:
    """Take the rows of withdrawn images out of the manifest there, and delete those of their pictures that are not `known`, if
    the folder there is this project's; gives digests of all pictures that it still names.

    The known ones are deleted afterwards: a manifest that names what is gone would be damaged.
    """
    address = store.address("manifest.parquet")
    data = store.get(address)
    if data is None:
        return set()
    manifest = read_pushed(data, address)
    kept, pictures = _split(manifest.entries, gone)
    if is_own:  # first: only their rows know them
        Deletion(store).delete(map(store.picture, sorted(pictures.difference(known))))
    if len(kept) < len(manifest.entries):
        with TemporaryDirectory() as folder:
            path = Path(folder, "manifest.parquet")
            write_manifest(replace(manifest, entries=kept), path)
            store.put(path.read_bytes(), address)
    return pictures_of(kept)


def _split(entries: Collection[Entry], gone: Withdrawn) -> tuple[tuple[Entry, ...], set[str]]:
    """Rows that stay, and the digests of all that only withdrawn images have: photographs that another machine imported under
    their ids too, which no withdrawal names."""
    kept = gone.kept(entries)
    return kept, pictures_of(entries) - pictures_of(kept)


def forget_rows(store: Store, removal: Deletion, gone: Withdrawn, named: Collection[str], *, is_own: bool) -> None:
    """Delete earlier versions of the manifest that name withdrawn images, and what only these rows name; own ones that cannot be
    read too.

    `named`: digests of pictures that the manifest names now.
    """
    address, versions = store.address("manifest.parquet"), removal.versions
    for version in versions.of(address) if versions else ():
        if version.is_latest or not version.etag:
            continue
        entries: tuple[Entry, ...] = ()
        with suppress(UserError):
            entries = read_pushed(versions.read(version), address).entries  # type: ignore[union-attr]
        kept, pictures = _split(entries, gone)
        if is_own:
            removal.delete(map(store.picture, sorted(pictures.difference(named))))
        if (is_own and not entries) or len(kept) < len(entries):
            versions.delete(version)  # type: ignore[union-attr]
