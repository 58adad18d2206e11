"""Search files for what is left of withdrawn images: ids, digests and keys as text, photographs and masks by their bytes.

Parquet is read by its columns (`table_values.py`), archives by names and digests of their members (`archive_members.py`), single
packed files by their content. Not read are other packages: Arrow files, archives inside archives, pictures written as text
(base64), pickles. Columns of ids and columns of paths are compared as a whole; how texts and names are read: `trace_words.py`.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import mmap
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from labelfactory.digests import digest_bytes, digest_file
from labelfactory.dvc_cache import cache_folder, cached, is_ours
from labelfactory.foreign_files import FORMATS, PHOTOGRAPHS
from labelfactory.settings.wiring import DATA
from lineage.archive_members import begins_as_archive, is_archive, members_of
from lineage.cached_names import named_in_cache
from lineage.current_report import report_without
from lineage.packed_streams import has_more
from lineage.table_values import Leaf, leaves, values_of
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
"""First bytes of pictures, which are compared as a whole. A text may begin so, too: a picture is what Pillow takes for one."""
PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}
"""First bytes of one packed file → how it was packed."""
SEALED = (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x1f\x9d", b"\x1f\xa0", b"LZIP", b"MSCF")
"""First bytes of archives that nothing here opens."""
PART, NEAR = 2**24, 4096
"""Bytes that are unpacked at once, and what is looked at around a word."""
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
        if start.startswith((b"PAR1", b"PARE")):
            return self._in_table(path)
        found = {PHOTOGRAPH} if self._may_be(path.stat().st_size) and digest_file(path) in self.digests else set()
        if not start or (_is_picture(start, path) and not zipfile.is_zipfile(path)):
            return found
        packed = next((name for begin, name in PACKED.items() if start.startswith(begin)), "")
        if start.startswith(SEALED) or has_more(path, packed):
            found.add(UNREAD)
        if is_archive(path):
            found |= self._in_archive(path)
        elif packed:
            found |= self._in_packed(path, packed)
        return found | self._in_bytes(path)

    def _in_packed(self, path: Path, packed: str) -> set[str]:
        """What one file holds that was packed by itself."""
        digest, end, found = hashlib.sha256(), b"", set[str]()
        try:
            with _unpacked(path, packed) as stream:
                while part := stream.read(PART):
                    if not end and begins_as_archive(part):
                        found.add(UNREAD)
                    digest.update(part)
                    found |= self._in_part(self._words_without_keys, end + part)
                    end = part[-NEAR:]
        except UNREADABLE:
            found.add(UNREAD)
        return found | ({PHOTOGRAPH} if digest.hexdigest() in self.digests else set())

    def _in_part(self, words: Mapping[str, str], data: Any) -> set[str]:
        """What stands in bytes as a word of its own, in UTF-8 or UTF-16."""
        found = self._among(words, data)
        for code in ("utf-16-le", "utf-16-be") if data.find(b"\0") >= 0 else ():
            for word, meaning in words.items():
                wide = word.encode(code, "surrogatepass")
                at = data.find(wide) if meaning not in found else -1
                while at >= 0 and meaning not in found:
                    near = data[max(at % 2, at - NEAR) : at + len(wide) + NEAR]
                    found |= self._among({word: meaning}, near.decode(code, "replace"))
                    at = data.find(wide, at + 1)
        return found

    def _may_be(self, size: int) -> bool:
        return any(self.sizes.get(digest, size) == size for digest in self.digests)

    def _in_bytes(self, path: Path) -> set[str]:
        size = path.stat().st_size
        words = self._words_without_keys if size > LARGE else self.words
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return self._in_part(words, data)

    def _in_archive(self, path: Path) -> set[str]:
        """What members of an archive hold: their names, and pictures by their bytes."""
        found: set[str] = set()
        try:
            for name, size, read in members_of(path):
                found |= self.in_name(PurePath(name)) | self._in_member(size, read)
        except UNREADABLE:  # the list of its members, or more than these
            found.add(UNREAD)
        return found

    def _in_member(self, size: int, read: Callable[[], bytes]) -> set[str]:
        try:
            return {PHOTOGRAPH} if self._may_be(size) and digest_bytes(read()) in self.digests else set()
        except UNREADABLE:
            return {UNREAD}

    def _in_table(self, path: Path) -> set[str]:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            is_ours = b"labelfactory" in (schema.metadata or {})
            found = self._in_notes(schema, with_names=not is_ours)
            columns = {field.name: field for field in schema}
            if len(columns) < len(schema):  # of several columns of a name, values are found by the name alone
                found.add(UNREAD)
            for column in columns.values():
                kinds = list(leaves(column))
                if is_ours and any(leaf.in_record or not leaf.is_text for leaf in kinds):
                    continue  # payload: what the line makes is no photograph
                try:
                    for leaf, value in values_of(file, column):
                        found |= self._in_value(leaf, value)
                except UNREADABLE:
                    found.add(UNREAD)
                if not all(leaf.is_known for leaf in kinds):
                    found.add(UNREAD)
        return found

    def _in_notes(self, schema: pa.Schema, *, with_names: bool) -> set[str]:
        """What the metadata of a table and of its columns say, and the names of these."""
        notes = [schema.metadata, *(field.metadata for field in schema)]
        texts = [text for note in notes for name, value in (note or {}).items() for text in _texts(name, value)]
        if with_names:
            texts += [name for field in schema for name in (field.name, *(leaf.name for leaf in leaves(field)))]
        return {each for text in texts for each in self.in_text(text)}

    def _in_value(self, leaf: Leaf, value: str | bytes) -> set[str]:
        """What a value in a table holds."""
        if isinstance(value, bytes) and (leaf.name == "image_id" or leaf.name in PATHS):
            return self._in_value(leaf, value.decode("utf-8", "replace"))
        if isinstance(value, bytes):
            is_picture = self._may_be(len(value)) and digest_bytes(value) in self.digests
            words = {} if _is_picture(value, io.BytesIO(value)) else self._words_without_keys
            return self._in_part(words, value) | ({PHOTOGRAPH} if is_picture else set())
        return self._in_column(leaf.name, value) | (self.in_text(value) if leaf.in_record else set())

    def _in_column(self, column: str, value: str) -> set[str]:
        """What a value in a column of text holds: ids and paths are compared as a whole."""
        if column == "image_id":
            is_file = PurePath(value).suffix.lower() in PHOTOGRAPHS
            return {ID} if value in self.image_ids else self.in_name(PurePath(value)) if is_file else set()
        return self.in_name(PurePath(value)) if column in PATHS else self.in_text(value)

    @cached_property
    def _words_without_keys(self) -> dict[str, str]:
        """Without keys of rows, of which there may be hundreds."""
        return {word: meaning for word, meaning in self.words.items() if meaning != KEY}


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


def in_cache(traces: Traces, *, with_pages: bool = True) -> list[str]:
    """MD5 of the objects in DVC's cache that hold any of it: versions of outputs, current ones included.

    A picture counts by its name in a list of the cache too. A report shows photographs, and its text may not name them as they are
    looked for. Every report counts, therefore, but the one that was made of the data set on disk, if the images are not in that;
    without `with_pages` a report counts as any other file does.
    """
    paths = sorted(path for path in cache_folder().glob("*/*") if path.is_file())
    named = named_in_cache(traces.image_ids)
    held = {f"{path.parent.name}{path.name}" for path in paths if traces.in_file(path)} | named.lists
    held |= {md5 for md5 in named.pictures if cached(md5).is_file()}
    if with_pages and is_ours() and traces.image_ids:
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


def _texts(name: bytes, value: bytes) -> list[str]:
    """A note in a table; of how Arrow wrote down the schema, nothing."""
    return [] if name == b"ARROW:schema" else [part.decode("utf-8", "replace") for part in (name, value)]


def _is_picture(start: bytes, source: Path | BinaryIO) -> bool:
    """Whether a file that begins so is a picture, by its header alone."""
    if not start.startswith(PICTURES):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Image.open(source, formats=list(FORMATS)).close()
    except Exception:  # headers of anything fail in any way; what is no picture is searched
        return False
    return True


def _unpacked(path: Path, packed: str) -> Any:
    """The content of a packed file, as a stream of bytes."""
    openers: dict[str, Any] = {"gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}
    return openers[packed](path) if packed in openers else pa.input_stream(str(path), compression=packed)
