"""The ledger's rows in a DuckDB file, for queries in milliseconds; made from the chain alone.

data/ledger/index-00000012-<digest>.duckdb holds the files up to number 12, whose last one has that digest. A longer chain
gets a new file, made from a copy of the old one under the ledger's lock; open readers of the old file go on. It
may be deleted at any time, and is made again where it is damaged.
    masks      the ledger's columns, and `sequence`: the number of the file
    training   the same, and the mask's figures of quality where the row is a mask of the line
    images     the same as masks
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb

from labelfactory.files import disk_errors, temporary_path
from lineage.ledger import SCHEMAS, Kind, Ledger, LedgerFile

QUALITY = ("mean_confidence", "void_share", "agreement")
KINDS: tuple[Kind, ...] = ("masks", "training", "images")
SOURCE = "read_parquet(?, filename = true)"
SEQUENCE = "CAST(split_part(parse_filename(t.filename), '-', 1) AS INTEGER)"
TYPES = {
    "string": "VARCHAR",
    "fixed_size_binary[32]": "BLOB",
    "float": "FLOAT",
    "timestamp[ms, tz=UTC]": "BIGINT",  # milliseconds since 1970
}


def rows_digest_sql(image_id: str, digest: str) -> str:
    """SQL of `labelfactory.digests.digest_rows` over two expressions; rows without a digest are left out."""
    return f"sha256(string_agg({image_id} || chr(0) || {digest} || chr(10), '' ORDER BY {image_id}))"


def open_index(ledger: Ledger) -> duckdb.DuckDBPyConnection:
    """The index of the whole chain, for reading; brought up to date first."""
    path = _path(ledger)
    if not path.exists():
        with ledger.locked():
            path = _path(ledger)
            if not path.exists():
                _extend(ledger, path)
    try:
        return _opened(path)
    except duckdb.Error:
        return rebuilt_index(ledger)


def rebuilt_index(ledger: Ledger) -> duckdb.DuckDBPyConnection:
    """The same after the index files, which are damaged, were made again from the chain."""
    with ledger.locked():
        for old in ledger.folder.glob("index-*.duckdb*"):
            old.unlink()
        path = _path(ledger)
        _extend(ledger, path)
    return _opened(path)


def _opened(path: Path) -> duckdb.DuckDBPyConnection:
    """An index for reading. Raises duckdb.Error where the file is damaged or another database."""
    connection = duckdb.connect(str(path), read_only=True)
    for kind in KINDS:
        connection.execute(f"SELECT {', '.join(SCHEMAS[kind].names)}, sequence FROM {kind} LIMIT 1").fetchall()
    connection.execute("SELECT model, sequence FROM model_files LIMIT 1").fetchall()
    return connection


def fresh_index(ledger: Ledger) -> duckdb.DuckDBPyConnection:
    """The same in memory, read anew from every file: for those who trust no file but the chain's."""
    connection = duckdb.connect(":memory:")
    _create(connection)
    _load(connection, ledger.files())
    return connection


def _path(ledger: Ledger) -> Path:
    sequence, digest = ledger.last()
    return ledger.folder / f"index-{sequence:08d}-{digest[:16]}.duckdb"


def _extend(ledger: Ledger, path: Path) -> None:
    """Make the index of the chain as it is, from the last older one that fits it. Raises DiskError where the disk is full."""
    temporary = temporary_path(path)
    try:
        with disk_errors(path):
            done = _copied(ledger, temporary)
            with duckdb.connect(str(temporary)) as connection:
                if not done:
                    _create(connection)
                _load(connection, [f for f in ledger.files() if f.sequence > done])
            for old in ledger.folder.glob("index-*.duckdb"):
                old.unlink()
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        Path(f"{temporary}.wal").unlink(missing_ok=True)


def _copied(ledger: Ledger, temporary: Path) -> int:
    """Copy the last index that fits the chain; gives the number of the last file in it, 0 where there is none."""
    files = ledger.files()
    for old in sorted(ledger.folder.glob("index-*.duckdb"), reverse=True):
        name = re.fullmatch(r"index-(\d+)-([0-9a-f]*)", old.stem)
        if name is None:
            continue
        sequence, digest = name.groups()
        following = next((f for f in files if f.sequence == int(sequence) + 1), None)
        if following is not None and following.previous().startswith(digest):
            shutil.copyfile(old, temporary)
            try:
                _opened(temporary).close()
            except duckdb.Error:  # damaged: a newer or older one may do, else all is read again
                temporary.unlink()
                continue
            return int(sequence)
    return 0


def _create(connection: duckdb.DuckDBPyConnection) -> None:
    for kind in KINDS:
        columns = [f"{field.name} {TYPES[str(field.type)]}" for field in SCHEMAS[kind]]
        columns += [f"{name} FLOAT" for name in QUALITY if kind == "training"]
        connection.execute(f"CREATE TABLE {kind} ({', '.join(columns)}, sequence INTEGER)")
    connection.execute("CREATE TABLE model_files (model BLOB, sequence INTEGER)")


def _load(connection: duckdb.DuckDBPyConnection, files: Sequence[LedgerFile]) -> None:
    """Add files. Masks come first: the quality of a training row is that of the mask, whose file may be as new."""
    paths = {kind: [str(f.path) for f in files if f.kind == kind] for kind in KINDS}
    for kind in KINDS:
        if paths[kind] and kind != "training":
            connection.execute(
                f"INSERT INTO {kind} SELECT {_columns(kind)}, {SEQUENCE} FROM {SOURCE} t ORDER BY {SEQUENCE}, t.image_id",
                [paths[kind]],
            )
    training = paths["training"]
    if training:
        quality = ", ".join(f"m.{name}" for name in QUALITY)
        connection.execute(
            f"""INSERT INTO training SELECT {_columns("training")}, {quality}, {SEQUENCE} FROM {SOURCE} t
            LEFT JOIN masks m ON t.image_id = m.image_id AND t.digest = m.digest AND t.key = m.key
            ORDER BY {SEQUENCE}, t.image_id""",
            [training],
        )
        connection.execute(f"INSERT INTO model_files SELECT DISTINCT t.model, {SEQUENCE} FROM {SOURCE} t", [training])
    for kind in KINDS:
        connection.execute(f"CREATE INDEX IF NOT EXISTS {kind}_image ON {kind} (image_id)")


def _columns(kind: Kind) -> str:
    return ", ".join("epoch_ms(t.time)" if name == "time" else f"t.{name}" for name in SCHEMAS[kind].names)
