"""Which image an edited mask belongs to: by its id, or by the name of its file as other tools change it."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.foreign_files import PHOTOGRAPHS
from labelfactory.names import file_name

UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of an uploaded file: `cb0618f6-name.png`."""

ROBOFLOW = re.compile(r"(?P<name>.+)_(?:jpe?g|png|webp|bmp|tiff?)\.rf\.[0-9a-zA-Z]{20,32}(?:_mask)?")
"""What Roboflow makes of name.jpg: `name_jpg.rf.<digest>`, and of its mask."""


class ImageNames:
    """The usable images of a data set, by everything that may name one.

    Args:
        records: of the data set.
    """

    def __init__(self, records: Iterable[ImageRecord]) -> None:
        listed = list(records)
        self._ids = {record.image_id: record for record in listed}
        self._files = {file_name(record.image_id): record for record in listed}
        plain = [(_plain(name), record) for name, record in self._files.items()]
        counts = Counter(name for name, _ in plain)
        self._plain = {name: record for name, record in plain if counts[name] == 1}

    @property
    def ids(self) -> list[str]:
        """All image ids, and the names of files that differ from them."""
        return sorted(self._ids.keys() | self._files.keys())

    def find(self, *stated: str) -> ImageRecord | None:
        """The image of the first name that is one's; None if none is.

        Args:
            stated: image ids, names of files with or without a suffix or a path, or addresses of Label Studio.
        """
        for text in filter(None, stated):
            for name in _readings(text):
                record = self._ids.get(name) or self._files.get(name)
                if record is not None:
                    return record
        for text in filter(None, stated):
            for name in _readings(text):
                if (record := self._plain.get(_plain(name))) is not None:
                    return record
        return None

    def meanings(self, *stated: str) -> list[str]:
        """The ids of all images that the first name which is one's may mean: its id, the file that exports call by it, or its
        photograph's file.
        """
        for text in filter(None, stated):
            names = dict.fromkeys((text, _stem(text)))
            found = [known[name].image_id for name in names for known in (self._ids, self._files) if name in known]
            if found:
                return list(dict.fromkeys(found))
        return []


def _readings(text: str) -> list[str]:
    """A name as it is; without its suffix; without its folders; without what uploads put before or behind it."""
    names = [text]
    for path in _paths(text):
        name = path.replace("\\", "/")
        names += [name, _stem(name), PurePosixPath(name).name, _stem(PurePosixPath(name).name)]
    names += [UPLOAD.sub("", name, count=1) for name in names if UPLOAD.match(name)]
    names += [named["name"] for name in names if (named := ROBOFLOW.fullmatch(name))]
    return list(dict.fromkeys(names))


def _stem(name: str) -> str:
    return name.removesuffix(PurePosixPath(name).suffix) if name.lower().endswith(PHOTOGRAPHS) else name


def _paths(text: str) -> list[str]:
    """The path behind `/data/local-files/?d=images/a.jpg`, `/data/upload/1/a.jpg` or `s3://bucket/a.jpg`, with %XX and without."""
    if not (text.startswith("/data/") or "://" in text or "?d=" in text):
        return [text]
    try:
        parts = urlsplit(text)
    except ValueError:
        return [text]
    path = next((part[2:] for part in parts.query.split("&") if part.startswith("d=")), parts.path)
    return [path, unquote(path), unquote(unquote(path))]


def _plain(name: str) -> str:
    """The name without what uploads drop from it."""
    return re.sub(r"[^\w.-]", "", name.replace(" ", "_"))
