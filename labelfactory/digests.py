"""SHA-256 digests of bytes, files, JSON values, arrays and source code."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SHA256 = re.compile(r"[0-9a-f]{64}")
"""The form of a digest."""


def digest_bytes(data: bytes) -> str:
    """SHA-256 of bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON: keys sorted, no spaces, floats by repr. NaN is refused."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return digest_bytes(text.encode())


def digest_payload(columns: Mapping[str, Any]) -> str:
    """SHA-256 of named arrays, bytes and scalars: over names, dtypes, shapes and every byte, in any order of names."""
    import numpy as np  # most commands that digest something have no array, and it takes a tenth of a second to load

    state = hashlib.sha256()
    for name in sorted(columns):
        value = columns[name]
        if isinstance(value, bytes):
            header, body = f"{name}|bytes|{len(value)}|", value
        elif isinstance(value, str):
            body = value.encode()
            header = f"{name}|str|{len(body)}|"
        else:
            array = np.ascontiguousarray(value)
            header, body = f"{name}|{array.dtype.str}|{np.shape(value)}|", array.tobytes()
        state.update(header.encode())
        state.update(body)
    return state.hexdigest()


def digest_rows(rows: Iterable[tuple[str, str]]) -> str:
    """Digest of a set of rows: (image_id, digest) pairs in any order."""
    state = hashlib.sha256()
    for image_id, digest in sorted(rows):
        state.update(f"{image_id}\0{digest}\n".encode())
    return state.hexdigest()


def digest_code(paths: Iterable[Path], root: Path) -> str:
    """Digest of the .py files among `paths`; folders are searched. Names are relative to `root`."""
    files = {f for p in paths for f in ([p] if p.is_file() else p.rglob("*.py")) if f.suffix == ".py"}
    return digest_rows((f.relative_to(root).as_posix(), digest_file(f)) for f in files)
