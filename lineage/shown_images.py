"""Which photograph and true mask an image ever had: from the import, the data set, and versions of both in DVC's cache.

The ledger's masks and training rows know the images that went through the line; of one that is only scored, nothing else tells.
"""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.console import say
from labelfactory.dataset.manifest import MANIFEST
from labelfactory.dataset.prepared import IMAGES
from labelfactory.digests import SHA256
from labelfactory.dvc_cache import cache_folder, is_ours
from labelfactory.errors import DataError, first_line
from lineage.artifacts import KnownFiles
from lineage.ledger import SCHEMAS, Ledger
from lineage.ledger_rows import without_known

SHOWN = ["image_id", "image", "mask"]
"""What tells a row from another."""
COLUMNS = ["image_id", "sha256", "mask_sha256"]
"""The same in an import or a data set, by which one is known in DVC's cache."""


def new_images(ledger: Ledger, known_files: KnownFiles) -> pa.Table:
    """Rows of the ledger that it does not hold yet.

    Args:
        ledger: where the first call looks at everything in DVC's cache, since earlier versions have not looked there for this.
        known_files: by these, later calls open new files alone.
    """
    every = not ledger.files("images")
    paths = [path for path in _paths() if (known_files.is_new(path) or every) and _is_table(path)]
    known, tables = ledger.read("images", SHOWN) if paths else None, [SCHEMAS["images"].empty_table()]
    for path in paths:
        table = without_known(_rows(path), known, SHOWN)
        known = pa.concat_tables([known, table.select(SHOWN)])
        tables.append(table)
    return pa.concat_tables(tables)


def record_import() -> None:
    """Write what the import names into the ledger, before another one takes its place. Nothing where there is no import, or
    where the ledger is damaged, which stops no import.
    """
    ledger = Ledger()
    if MANIFEST.exists():
        try:
            with ledger.locked():  # what else was read is not noted, since no mask of it is recorded yet
                ledger.append("images", new_images(ledger, KnownFiles(ledger.folder / "seen.json")))
        except DataError as error:
            say(
                f"the images of the last import are not recorded: {first_line(error)}; type `labelfactory audit verify`"
            )


def _paths() -> list[Path]:
    """What may be an import or a data set, oldest first. A cache of several projects has other people's under the same ids."""
    cached = cache_folder().glob("*/*") if is_ours() else ()
    paths = [path for path in cached if path.suffix != ".dir" and path.is_file()]
    return sorted(
        [*paths, *(path for path in (IMAGES, MANIFEST) if path.is_file())], key=lambda p: p.stat().st_mtime_ns
    )


def _is_table(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"PAR1"


def _rows(path: Path) -> pa.Table:
    """Rows of the ledger from an import or a data set; none of another file, or of a damaged one."""
    empty, time = SCHEMAS["images"].empty_table(), datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
    try:
        if not set(COLUMNS) <= set(pq.read_schema(path).names):
            return empty
        read = pq.read_table(path, columns=COLUMNS, partitioning=None).to_pylist()
        rows = [
            {
                "image_id": row["image_id"],
                "image": bytes.fromhex(row["sha256"]),
                "mask": bytes.fromhex(row["mask_sha256"]) if row["mask_sha256"] else None,
                "time": time.replace(microsecond=0),
            }
            for row in read
            if SHA256.fullmatch(row["sha256"] or "") and SHA256.fullmatch(row["mask_sha256"] or row["sha256"])
        ]
        return pa.Table.from_pylist(rows, schema=SCHEMAS["images"])
    except (OSError, ValueError, TypeError, pa.ArrowException):
        return empty
