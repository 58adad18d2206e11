"""Search files for what is left of withdrawn images: ids, digests and keys as text, photographs and masks by their bytes.

Parquet is read by its columns of text, of bytes and of records, archives by their members. Not read are other packages: Arrow
files, archives inside archives, pictures written as text (base64), pickles.
Columns of ids and columns of paths are compared as a whole; how texts and names are read: `trace_words.py`.
"""

import gzip
import hashlib
import lzma
import mmap
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.digests import digest_bytes, digest_file
from labelfactory.dvc_cache import cache_folder, cached, is_ours
from labelfactory.foreign_files import PHOTOGRAPHS
from labelfactory.settings.wiring import DATA
from lineage.cached_names import named_in_cache
from lineage.current_report import report_without
from lineage.trace_words import ID, KEY, PHOTOGRAPH, TraceWords
from lineage.walked_folders import files_below

HISTORY = ("ledger", "mlflow")
"""Folders under data/ that remember what was, ids and digests but no pixels: docs/lineage.md. They are no output of the line."""
PAGE = b"<!doctype html"
LARGE = 5_000_000
"""Bytes; keys of rows, of which there may be hundreds, are not looked for in larger files that are no table, such as weights."""
PATHS = ("path", "mask_path")
"""Columns that name files."""
PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"II*\0", b"MM\0*", b"BM")
"""First bytes of pictures, which are compared as a whole."""
UNREAD = "not all of it could be read and searched"
UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,  # a zip with a password, or in a form that is not known
    pa.ArrowException,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What readers raise at damaged, protected or unknown content."""


class Traces(TraceWords):
    """The same, looked for in files."""

    def in_file(self, path: Path) -> set[str]:
        """What the content of a file holds, as far as it can be read."""
        return self.read(path) - {UNREAD}

    def read(self, path: Path) -> set[str]:
        """The same, and `UNREAD` where not all of it could be read; a file that has gone holds nothing."""
        try:
            return self._in_content(path)
        except FileNotFoundError:
            return set()
        except UNREADABLE:
            return {UNREAD}

    def _in_content(self, path: Path) -> set[str]:
        with path.open("rb") as stream:
            start = stream.read(8)
        if start.startswith(b"PAR1"):
            return self._in_table(path)
        found = {PHOTOGRAPH} if self._may_be(path.stat().st_size) and digest_file(path) in self.digests else set()
        if start.startswith(PICTURES) or not start:
            return found
        if start.startswith(b"PK\x03\x04") or tarfile.is_tarfile(path):
            found |= self._in_archive(path)
        elif start.startswith(b"\x1f\x8b"):
            found |= self._in_gzip(path)
        return found | self._in_bytes(path)

    def _in_gzip(self, path: Path) -> set[str]:
        try:
            with gzip.open(path) as unpacked:
                digest = hashlib.file_digest(unpacked, "sha256").hexdigest()
        except UNREADABLE:
            return {UNREAD}
        return {PHOTOGRAPH} if digest in self.digests else set()

    def _may_be(self, size: int) -> bool:
        return any(self.sizes.get(digest, size) == size for digest in self.digests)

    def _in_bytes(self, path: Path) -> set[str]:
        size = path.stat().st_size
        words = {w: m for w, m in self.words.items() if m != KEY} if size > LARGE else self.words
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return self._among(words, data)

    def _in_archive(self, path: Path) -> set[str]:
        """What members of an archive hold: their names, and pictures by their bytes."""
        found: set[str] = set()
        try:
            for name, size, read in _members(path):
                found |= self.in_name(PurePath(name)) | self._in_member(size, read)
        except UNREADABLE:  # the list of its members
            found.add(UNREAD)
        return found

    def _in_member(self, size: int, read: Callable[[], bytes]) -> set[str]:
        try:
            return {PHOTOGRAPH} if self._may_be(size) and digest_bytes(read()) in self.digests else set()
        except UNREADABLE:
            return {UNREAD}

    def _in_table(self, path: Path) -> set[str]:
        found: set[str] = set()
        schema = pq.read_schema(path)
        for name, value in (schema.metadata or {}).items():
            if name != b"ARROW:schema":
                found |= self.in_text(value.decode("utf-8", "replace"))
        names = [column.name for column in schema if _is_text(column.type)]
        table = pq.read_table(path, columns=names, partitioning=None)
        for name in names:
            for value in _values(table.column(name)):
                found |= self._in_column(name, value)
        return found | (set() if b"labelfactory" in (schema.metadata or {}) else self._in_payload(path, schema))

    def _in_column(self, column: str, value: str) -> set[str]:
        """What a value in a column of text holds: ids and paths are compared as a whole."""
        if column == "image_id":
            is_file = PurePath(value).suffix.lower() in PHOTOGRAPHS
            return {ID} if value in self.image_ids else self.in_name(PurePath(value)) if is_file else set()
        return self.in_name(PurePath(value)) if column in PATHS else self.in_text(value)

    def _in_payload(self, path: Path, schema: pa.Schema) -> set[str]:
        """What columns of bytes and of records hold, such as pictures of a data set; shards of the line have none."""
        names = [
            c.name
            for c in schema
            if pa.types.is_nested(c.type) or pa.types.is_large_binary(c.type) or c.type == pa.binary()
        ]
        found: set[str] = set()
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=64, columns=names) if names else ():
                for value in _leaves(batch.to_pylist()):
                    if isinstance(value, str):
                        found |= self.in_text(value)
                    elif self._may_be(len(value)) and digest_bytes(value) in self.digests:
                        found.add(PHOTOGRAPH)
        return found


def in_project(traces: Traces) -> dict[Path, set[str]]:
    """Files under data/ that still hold any of it, behind links too, but for history, and what they hold."""
    found = {path: held - {UNREAD} for path, held in searched(traces).items()}
    return {path: held for path, held in found.items() if held}


def searched(traces: Traces) -> dict[Path, set[str]]:
    """The same, and the files that could not be searched, or not as a whole: these have `UNREAD` among what they hold."""
    found = {}
    for path in sorted(files_below(DATA, without=[DATA / name for name in HISTORY])):
        held = traces.in_name(path) | traces.read(path)
        if held:
            found[path] = held
    return found


def in_cache(traces: Traces) -> list[str]:
    """MD5 of the objects in DVC's cache that hold any of it: versions of outputs, current ones included.

    A picture counts by its name in a list of the cache too. A report shows photographs, and its text may not name them as they are
    looked for. Every report counts, therefore, but the one that was made of the data set on disk, if the images are not in that.
    """
    paths = sorted(path for path in cache_folder().glob("*/*") if path.is_file())
    named = named_in_cache(traces.image_ids)
    held = {f"{path.parent.name}{path.name}" for path in paths if traces.in_file(path)} | named.lists
    held |= {md5 for md5 in named.pictures if cached(md5).is_file()}
    if is_ours() and traces.image_ids:
        held |= {f"{path.parent.name}{path.name}" for path in paths if _is_page(path)} - {report_without(traces.has)}
    return sorted(held)


def _is_page(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(PAGE)).lower() == PAGE


def joined(traces: Collection[Traces]) -> Traces:
    """What several look for, in one search."""
    sizes: dict[str, int] = {}
    for each in traces:
        sizes |= each.sizes
    ids, digests, keys = (
        {word for each in traces for word in getattr(each, name)} for name in ("image_ids", "digests", "keys")
    )
    return Traces.of(ids, digests, keys, sizes)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind.value_type if pa.types.is_dictionary(kind) else kind))


def _values(column: pa.ChunkedArray) -> Collection[str]:
    """The different texts in a column."""
    values: set[str] = set()
    for value in column.to_pylist():
        values |= {value} if isinstance(value, str) else set(value or ())
    return values - {None}


def _leaves(value: Any) -> Iterator[str | bytes]:
    """Every text and every string of bytes in nested values."""
    if isinstance(value, str | bytes):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)


def _members(path: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Name, bytes and reader of each file in a zip or tar."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                yield info.filename, info.file_size, partial(archive.read, info)
        return
    with tarfile.open(path) as opened:
        for member in opened:
            if member.isfile():
                yield member.name, member.size, partial(_bytes_of, opened, member)


def _bytes_of(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    return stream.read() if stream is not None else b""
