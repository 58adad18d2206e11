"""Masks that people drew of some photographs: those in use, and earlier ones that DVC's cache or the ledger still tells of."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.dataset.audits import AUDITS
from labelfactory.dataset.audits import MASKS as AUDITED
from labelfactory.dataset.corrections import CORRECTIONS, SCHEMA, TABLE, Correction, corrections_in
from labelfactory.dataset.manifest import MANIFEST, read_manifest
from labelfactory.digests import digest_file, digest_json
from labelfactory.dvc_cache import cache_folder
from labelfactory.errors import DataError
from labelfactory.settings.wiring import read_wiring
from lineage.lookup import Lookup

PNG = b"\x89PNG"


def drawn_masks(lookup: Lookup, image_ids: Collection[str], photographs: Collection[str]) -> dict[str, int | None]:
    """Every mask that people drew of these photographs, as far as something here still tells of it.

    Tables of corrections and of audits name them, the current ones and those in DVC's cache. The ledger has the digest of each
    that the line used, over its file and the names of its classes; by it, the file is known among all PNGs here.

    Args:
        lookup: the ledger.
        image_ids: under which they were drawn.
        photographs: SHA-256; a mask of theirs counts under any id.

    Returns:
        SHA-256 of its file → bytes; None where the file is not here. Not those that another image has now.
    """

    def is_ours(image_id: str, photograph: str) -> bool:
        return image_id in image_ids or photograph in photographs

    current = [*_rows(CORRECTIONS / TABLE), *_rows(AUDITED)]
    rows = [*current, *(row for path in _cached(b"PAR1") for row in _rows(path))]
    ours = [row for row in rows if is_ours(row.image_id, row.photograph)]
    manifest = read_manifest() if MANIFEST.exists() else None
    others = [e for e in (manifest.entries if manifest else ()) if not is_ours(e.image_id, e.sha256)]
    of_others = {row.mask for row in current if row not in ours} | {entry.mask_sha256 for entry in others}
    named, used = {row.mask for row in ours} - of_others, _recorded(lookup, photographs)
    classes = {tuple(model.passport.classes) for model in lookup.models.values()} | {row.classes for row in rows}
    classes |= {manifest.classes.names} if manifest else set()
    found: dict[str, int | None] = dict.fromkeys(named)
    for path in (
        [*sorted(CORRECTIONS.glob("*.png")), *sorted(AUDITS.glob("*.png")), *_cached(PNG)] if named or used else ()
    ):
        sha256 = digest_file(path)
        if sha256 in named or (
            sha256 not in of_others and used & {digest_json([sha256, list(names)]) for names in classes}
        ):
            found[sha256] = path.stat().st_size
    return found


def _recorded(lookup: Lookup, photographs: Collection[str]) -> set[str]:
    """`Correction.digest` of every correction that the line used for these photographs."""
    noun = read_wiring().masks.noun
    recipes = (json.loads(mask["recipe"]).get(noun, {}) for mask in lookup.masks_of(photographs))
    return {str(recipe["correction"]) for recipe in recipes if "correction" in recipe}


def _rows(path: Path) -> list[Correction]:
    """Corrections in a file; none where it is no table of them, or damaged."""
    try:
        return corrections_in(path) if set(pq.read_schema(path).names) == set(SCHEMA.names) else []
    except (OSError, ValueError, pa.ArrowException, DataError):
        return []


def _cached(start: bytes) -> Iterator[Path]:
    """Files in DVC's cache that begin so."""
    for path in sorted(cache_folder().glob("*/*")):
        if path.is_file():
            with path.open("rb") as stream:
                if stream.read(len(start)) == start:
                    yield path
