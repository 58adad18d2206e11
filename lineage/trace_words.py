"""What is looked for of withdrawn images, in texts and in names: ids, digests and keys.

An id stands in text in many spellings (JSON, HTML, file names). Where it is a part of another known id or path, such as `IMG_1` in
`IMG_1~2`, that one is meant. Names of files are compared as a whole. An id that says nothing by itself, such as `12`, `seed` or
the name of a class, is looked for in columns of ids and in file names alone.
"""

import html
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePath
from typing import Any, Self
from urllib.parse import quote

from labelfactory.dataset.left_out import LEFT_OUT, read_left_out
from labelfactory.dataset.manifest import MANIFEST, read_manifest
from labelfactory.errors import UserError
from labelfactory.names import file_name
from labelfactory.settings.wiring import DATA
from lineage.program_words import words_among

ID, PHOTOGRAPH, KEY = "the image's id", "the photograph or a mask of it", "a mask's key"
MODEL = "a model that learnt from it"


@dataclass(frozen=True)
class TraceWords:
    """What is looked for, as far as texts and names tell it."""

    image_ids: frozenset[str]
    digests: frozenset[str]  # of photographs, and of true and drawn masks
    keys: frozenset[str]
    sizes: Mapping[str, int] = field(default_factory=dict)  # digest → bytes, as far as they are known
    common: frozenset[str] = frozenset()  # names of classes and lists, and ids that are words of the program
    weights: frozenset[str] = frozenset()  # digests of models, where these are looked for
    others: frozenset[str] = frozenset()  # ids of other images, and paths of their files

    @classmethod
    def of(
        cls,
        image_ids: Iterable[str],
        digests: Iterable[str],
        keys: Iterable[str],
        sizes: Mapping[str, int] | None = None,
    ) -> Self:
        """What is looked for in this project."""
        ids, photographs = frozenset(image_ids), frozenset(digests)
        manifest = read_manifest() if MANIFEST.exists() else None
        entries = manifest.entries if manifest else ()
        common = {name for entry in entries for name in entry.lists}
        common |= set(manifest.classes.with_background if manifest else ())
        common |= words_among(ids)
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

    def with_weights(self, digests: Iterable[str]) -> Self:
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
