"""Search files for what is left of withdrawn images: ids, digests and keys as text, photographs and masks by their bytes.

Parquet is read by its columns of text, of bytes and of records, archives by their members. Not read are other packages: Arrow
files, archives inside archives, pictures written as text (base64), pickles.
An id stands in text in many spellings (JSON, HTML, file names). Where it is a part of another known id or path, such as `IMG_1` in
`IMG_1~2`, that one is meant. Columns of ids, columns of paths and names of files are compared as a whole.
One that says nothing by itself, such as `12` or the name of a class, is looked for in columns of ids and in file names alone.
"""

import gzip
import hashlib
import html
import json
import lzma
import mmap
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.dataset.left_out import LEFT_OUT, read_left_out
from labelfactory.dataset.manifest import MANIFEST, read_manifest
from labelfactory.digests import digest_bytes, digest_file
from labelfactory.dvc_cache import cache_folder, cached, is_ours
from labelfactory.errors import UserError
from labelfactory.foreign_files import PHOTOGRAPHS
from labelfactory.names import file_name
from labelfactory.settings.wiring import DATA
from lineage.cached_names import named_in_cache
from lineage.current_report import report_without
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
ID, PHOTOGRAPH, KEY = "the image's id", "the photograph or a mask of it", "a mask's key"
MODEL = "a model that learnt from it"
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


@dataclass(frozen=True)
class Traces:
    """What is looked for."""

    image_ids: frozenset[str]
    digests: frozenset[str]  # of photographs, and of true and drawn masks
    keys: frozenset[str]
    sizes: Mapping[str, int] = field(default_factory=dict)  # digest → bytes, as far as they are known
    common: frozenset[str] = frozenset()  # names of classes and lists
    weights: frozenset[str] = frozenset()  # digests of models, where these are looked for
    others: frozenset[str] = frozenset()  # ids of other images, and paths of their files

    @classmethod
    def of(
        cls,
        image_ids: Iterable[str],
        digests: Iterable[str],
        keys: Iterable[str],
        sizes: Mapping[str, int] | None = None,
    ) -> "Traces":
        """What is looked for in this project."""
        ids, photographs = frozenset(image_ids), frozenset(digests)
        manifest = read_manifest() if MANIFEST.exists() else None
        entries = manifest.entries if manifest else ()
        common = {name for entry in entries for name in entry.lists}
        common |= set(manifest.classes.with_background if manifest else ())
        others = [e for e in entries if e.image_id not in ids and e.sha256 not in photographs]
        names = {name for e in others for name in (e.image_id, e.path, e.mask_path) if name} | _left_out(ids)
        return cls(ids, photographs, frozenset(keys), sizes or {}, frozenset(common), others=frozenset(names))

    def has(self, image_id: str, sha256: str) -> bool:
        """Whether an image or its photograph is among what is looked for."""
        return image_id in self.image_ids or sha256 in self.digests

    @cached_property
    def words(self) -> dict[str, str]:
        """Text → what it is."""
        return dict.fromkeys(self._spelt, ID) | self._marks

    @cached_property
    def _spelt(self) -> dict[str, str]:
        """Spelling of an id that stands out → that id."""
        return {spelling: i for i in self.image_ids if self._stands_out(i) for spelling in _spellings(i)}

    @cached_property
    def _marks(self) -> dict[str, str]:
        """What is looked for beside ids → what it is."""
        marks = dict.fromkeys(self.digests, "the photograph's digest") | dict.fromkeys(self.keys, KEY)
        return marks | dict.fromkeys(self.weights, MODEL)

    @cached_property
    def _names(self) -> dict[str, str]:
        """What files of the images are called, without suffix → id."""
        return {name: i for i in self.image_ids for name in _file_names(i)}

    @cached_property
    def _other_names(self) -> frozenset[str]:
        """The same of other images, and their files by their paths."""
        return frozenset(name for other in self.others for name in _file_names(other)).difference(self._names)

    def with_weights(self, digests: Iterable[str]) -> "Traces":
        """The same, and models by the digests of their weights."""
        return replace(self, weights=frozenset(digests))

    def _stands_out(self, image_id: str) -> bool:
        """Whether an id in a text means the image."""
        return len(image_id) > 3 and not (image_id.isdigit() and len(image_id) < 6) and image_id not in self.common

    def in_text(self, text: str) -> set[str]:
        """What a text holds."""
        return self._among(self.words, text)

    def in_name(self, path: PurePath) -> set[str]:
        """What the path of a file says. Its name may be an id, also before a suffix or two, and so may a folder's; the longest
        known id owns it."""
        found = self._among(self._marks, path.as_posix())
        return found | ({ID} if path.as_posix() not in self.others and self._is_named(path) else set())

    def is_others(self, name: str) -> bool:
        """Whether files of another image are called so, without suffix."""
        return name in self._other_names

    def _is_named(self, path: PurePath) -> bool:
        if not any(name in path.as_posix() for name in self._names):  # quick
            return False
        inside = path.relative_to(DATA) if path.is_relative_to(DATA) else path
        for place in (inside, *inside.parents[:-1]):
            owner = next((end for end in _ends(place) if end in self._names or end in self._other_names), "")
            if self.is_others(owner):
                return False
            if owner and (place == inside or self._stands_out(self._names[owner])):
                return True
        return False

    def _among(self, words: Mapping[str, str], data: Any) -> set[str]:
        """What stands in a text, or in the bytes of a file, as a word of its own."""
        kind = str if isinstance(data, str) else bytes
        return {
            meaning
            for word, meaning in words.items()
            if data.find(_as(kind, word)) >= 0 and self._is_alone(word, data, kind)
        }

    def _is_alone(self, word: str, data: Any, kind: type) -> bool:
        """Whether a word is there where it is no part of a longer one, of another image's id or of a path of its files."""
        return any(not self._is_others(word, match.start(), data, kind) for match in _alone(word, kind).finditer(data))

    def _is_others(self, word: str, at: int, data: Any, kind: type) -> bool:
        for (before, length), names in self._longer(word, kind).items():
            start = at - before
            name = names.get(data[start : start + length]) if start >= 0 else None
            if name is not None and _alone(name, kind).match(data, start):
                return True
        return False

    def _longer(self, word: str, kind: type) -> dict[tuple[int, int], dict[Any, str]]:
        """Names of other images that contain a word: how far it is from their start, and their length → each."""
        if (word, kind) not in self._longer_names:
            image_id = self._spelt.get(word)
            near = [other for other in self.others if image_id in other] if image_id else []
            found: dict[tuple[int, int], dict[Any, str]] = {}
            part = _as(kind, word)
            for name in {spelling for other in near for spelling in _spellings(other)} - {word}:
                whole = _as(kind, name)
                at = whole.find(part)
                while at >= 0:
                    found.setdefault((at, len(whole)), {})[whole] = name
                    at = whole.find(part, at + 1)
            self._longer_names[word, kind] = found
        return self._longer_names[word, kind]

    @cached_property
    def _longer_names(self) -> dict[tuple[str, type], dict[tuple[int, int], dict[Any, str]]]:
        return {}

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


def _left_out(image_ids: Collection[str]) -> set[str]:
    """Ids and paths of other images in the list of what an import left out."""
    try:
        items = read_left_out() if LEFT_OUT.exists() else []
    except UserError:
        return set()
    return {name for item in items if item.image_id not in image_ids for name in (item.image_id, item.path) if name}


def _file_names(image_id: str) -> set[str]:
    """An id as names of files and folders have it."""
    return {image_id, file_name(image_id), quote(image_id, errors="surrogatepass")}


def _ends(path: PurePath) -> Iterator[str]:
    """What a path may be named after, longest first: its end from any folder on, with its suffixes and without one or two."""
    *folders, name = (path.parts[1:] if path.anchor else path.parts) or ("",)
    stem = PurePath(name).stem
    forms = dict.fromkeys((name, stem, PurePath(stem).stem))
    for start in range(len(folders) + 1):
        yield from ("/".join((*folders[start:], form)) for form in forms)


def _as(kind: type, text: str) -> Any:
    """A text, or its bytes as files have them."""
    return text if kind is str else text.encode("utf-8", "surrogatepass")


def _spellings(image_id: str) -> set[str]:
    """An id as JSON, CSV, HTML, addresses and file names write it."""
    return {
        image_id,
        json.dumps(image_id)[1:-1],
        json.dumps(image_id, ensure_ascii=False)[1:-1],
        image_id.replace('"', '""'),
        html.escape(image_id),
        html.escape(image_id).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),  # as Jinja writes it
        html.escape(image_id, quote=False),
        quote(image_id, errors="surrogatepass"),
        file_name(image_id),
    }


def _alone(word: str, kind: type = str) -> Any:
    """A pattern of the word where it is no part of a longer one; a number not where it is a part of a decimal one."""
    pattern = rf"(?<![\w.-]){re.escape(word)}(?![\w-]{'|[.][0-9]' if word.isdigit() else ''})"
    return re.compile(_as(kind, pattern))


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
