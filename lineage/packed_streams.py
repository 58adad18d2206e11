"""Whether something lies behind the last packed stream of a file: Python's readers of bz2 and xz pass over it without a word."""

import bz2
import lzma
from pathlib import Path
from typing import Any, BinaryIO

PART = 2**20
READERS: dict[str, tuple[bytes, Any]] = {
    "bz2": (b"BZh", bz2.BZ2Decompressor),
    "xz": (b"\xfd7zXZ\0", lzma.LZMADecompressor),
}
"""How it was packed → the first bytes of a stream, and what unpacks one. Readers of other kinds raise at what follows."""


def has_more(path: Path, packed: str) -> bool:
    """Whether bytes other than zeros follow the streams of a packed file, or a stream that cannot be unpacked."""
    if packed not in READERS:
        return False
    start, decompressor = READERS[packed]
    with path.open("rb") as file:
        ahead = file.read(PART)
        while ahead:
            if not ahead.startswith(start):
                return True
            try:
                ahead = _behind_stream(decompressor(), ahead, file)
            except (OSError, EOFError, lzma.LZMAError):
                return True
            while ahead.startswith(b"\0") or len(ahead) < len(start):
                ahead = ahead.lstrip(b"\0")
                if not (part := file.read(PART)):
                    return bool(ahead) and not ahead.startswith(start)
                ahead += part
    return False


def _behind_stream(stream: Any, data: bytes, file: BinaryIO) -> bytes:
    """Unpack a stream and forget what it holds; gives what was read behind it.

    Raises:
        OSError, EOFError, LZMAError: it is damaged, or cut off.
    """
    stream.decompress(data, PART)
    while not stream.eof:
        data = file.read(PART) if stream.needs_input else b""
        if stream.needs_input and not data:
            raise EOFError("a stream that is cut off")
        stream.decompress(data, PART)
    return bytes(stream.unused_data)
