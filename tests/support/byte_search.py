"""Search every byte of folders for one photograph: its id, its digests, its pixels and those of its true mask.

Written apart from `lineage.traces`, which it checks: through Parquet, zip, pictures, pictures inside HTML, and git's objects.
"""

import base64
import hashlib
import io
import re
import subprocess
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

SMALL = (16, 16)
"""Size at which pictures are compared: the report shows them reduced."""
ALIKE = 8.0
"""Mean difference of grey values below which two reduced pictures show the same."""
INSIDE = re.compile(rb"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)")


class Sought:
    """One photograph and its true mask, as they were before they went."""

    def __init__(self, image_id: str, photograph: Path, mask: Path | None = None) -> None:
        self.words = {image_id.encode(): "id"}
        for path in filter(None, (photograph, mask)):
            data = path.read_bytes()
            for name in ("sha256", "md5"):
                state = hashlib.new(name, data)
                self.words |= {state.hexdigest().encode(): f"{name}", state.digest(): f"{name}, as bytes"}
            self.words[data[-80:-16]] = "bytes of a file"
        self.pixels = np.array(Image.open(photograph).convert("RGB"))
        self.mask = np.array(Image.open(mask)) if mask else None

    def in_bytes(self, data: bytes) -> set[str]:
        """What some bytes hold, whatever they are."""
        found = {what for word, what in self.words.items() if word in data}
        if data.startswith(b"PAR1"):
            found |= self._in_table(data)
        elif data.startswith(b"PK\x03\x04"):
            found |= self._in_zip(data)
        for inside in INSIDE.findall(data):
            found |= self._in_picture(base64.b64decode(inside))
        return found | self._in_picture(data)

    def _in_table(self, data: bytes) -> set[str]:
        found: set[str] = set()
        table = pq.read_table(pa.BufferReader(data))
        for value in (value for column in table.columns for cell in column.to_pylist() for value in _leaves(cell)):
            found |= self.in_bytes(value if isinstance(value, bytes) else str(value).encode())
        return found | self.in_bytes(repr(table.schema.metadata).encode())

    def _in_zip(self, data: bytes) -> set[str]:
        found: set[str] = set()
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                found |= self.in_bytes(name.encode()) | self.in_bytes(archive.read(name))
        return found

    def _in_picture(self, data: bytes) -> set[str]:
        if not data.startswith((b"\xff\xd8\xff", b"\x89PNG", b"RIFF")):
            return set()
        with Image.open(io.BytesIO(data)) as opened:
            if self.mask is not None and opened.mode in ("P", "L") and np.array_equal(np.array(opened), self.mask):
                return {"pixels of the true mask"}
            return {"pixels"} if _alike(np.array(opened.convert("RGB")), self.pixels) else set()

    def in_folder(self, folder: Path) -> dict[str, set[str]]:
        """File, below the folder → what it holds; git's objects, which are packed, under `.git`."""
        found = {}
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            held = (
                {"id, in a name"}
                if any(word in name.encode() for word, what in self.words.items() if what == "id")
                else set()
            )
            if path.is_file() and not path.is_symlink():
                held |= self.in_bytes(path.read_bytes())
            if held:
                found[name] = held
        if (folder / ".git").exists() and (held := self.in_bytes(_git(folder))):
            found[".git"] = held
        return found


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list) and value and isinstance(value[0], (str, bytes, dict, list)):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, (str, bytes)):
        yield value


def _alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    if abs(one.shape[0] / one.shape[1] - other.shape[0] / other.shape[1]) > 0.05:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = [np.array(Image.fromarray(each).resize(SMALL), dtype=float) for each in (one, other)]
    return float(np.abs(small[0] - small[1]).mean()) < ALIKE


def _git(folder: Path) -> bytes:
    words = ["git", "cat-file", "--batch-all-objects", "--batch"]
    return subprocess.run(words, cwd=folder, capture_output=True, check=True, timeout=120).stdout
