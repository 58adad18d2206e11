"""The files in a zip or tar, and whether it holds more than these: archives that were joined or damaged, and lists that lie.

Readers of tar stop at the first block of zeros or the first damaged header, readers of zip believe the last list of members.
"""

import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

SUFFIXES = (".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".zip")
"""What is called so and is none is a damaged one."""
PART = 2**20
LOCAL = struct.Struct("<4s5H3I2H")
"""The header before a member of a zip: mark, version, flags, …, bytes packed and unpacked, of its name and of its extra part."""
STREAMED = 0x08
"""The flag of a member whose sizes follow it, in at most so many bytes:"""
DESCRIPTOR = 24
IN_ZIP64 = 0xFFFFFFFF
MOST_BLANK = 2**16
"""Blocks of zeros before a tar that are passed over."""
END = 22
"""Bytes of the end of a zip, without its comment."""

Member = tuple[str, int, Callable[[], bytes]]


class HiddenError(ValueError):
    """An archive has content that is in none of its members."""


def is_archive(path: Path) -> bool:
    """Whether it is a zip or tar, as far as its bytes or its name tell; a zip may have anything before it."""
    if path.name.lower().endswith(SUFFIXES) or zipfile.is_zipfile(path):
        return True
    with path.open("rb") as stream:
        first, blank = stream.read(tarfile.BLOCKSIZE), 0
        while first and not first.strip(b"\0") and blank < MOST_BLANK:  # which tarfile takes for an empty tar
            first, blank = stream.read(tarfile.BLOCKSIZE), blank + 1
    return begins_as_archive(first) if blank else tarfile.is_tarfile(path)


def begins_as_archive(start: bytes) -> bool:
    """Whether bytes begin as a zip or tar does."""
    if start.startswith(b"PK\3\4"):
        return True
    header = start.lstrip(b"\0")[: tarfile.BLOCKSIZE].ljust(tarfile.BLOCKSIZE, b"\0")
    try:
        tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")  # which checks its sum
    except (tarfile.TarError, ValueError):
        return False
    return True


def members_of(path: Path) -> Iterator[Member]:
    """Name, bytes and reader of each file in a zip or tar.

    Raises:
        HiddenError: after the last member, where there is more in it.
        Exception: what zipfile and tarfile raise.
    """
    yield from _zip_members(path) if zipfile.is_zipfile(path) else _tar_members(path)


def _tar_members(path: Path) -> Iterator[Member]:
    with tarfile.open(path, ignore_zeros=True) as archive:  # which passes over damaged headers as well
        stream: Any = archive.fileobj
        end, hidden = 0, False
        while (member := archive.next()) is not None:
            if end < member.offset:  # going back in a packed stream unpacks all before it anew
                hidden = hidden or not _is_blank(stream, end, member.offset)
            end = archive.offset
            if member.type not in tarfile.SUPPORTED_TYPES and member.size:
                hidden = True  # tarfile passes over it as over a file's content
            if member.isfile():
                yield member.name, member.size, partial(_content, archive, member)
        if hidden or not _is_blank(stream, end, None):
            raise HiddenError("it has blocks that belong to none of its members")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    return stream.read() if stream is not None else b""


def _is_blank(stream: IO[bytes], start: int, end: int | None) -> bool:
    """Whether all bytes from one place to another, or to the end, are 0."""
    stream.seek(start)
    left = end - start if end is not None else None
    while part := stream.read(PART if left is None else min(PART, left)):
        if part.strip(b"\0"):
            return False
        left = left - len(part) if left is not None else None
    return True


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
        for info in archive.infolist():
            yield info.filename, info.file_size, partial(archive.read, info)
        yield "", len(archive.comment), lambda: archive.comment
        stream.seek(-END - len(archive.comment), 2)
        end = stream.tell() if stream.read(4) == b"PK\5\6" else None
        if end is None or not _is_whole(archive, stream):
            raise HiddenError("it has bytes that belong to none of its members")


def _is_whole(archive: zipfile.ZipFile, stream: IO[bytes]) -> bool:
    """Whether the members lie one after the other from the first byte to the list, and are as large as the list says."""
    at, slack = 0, 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        stream.seek(info.header_offset)
        header = stream.read(LOCAL.size).ljust(LOCAL.size, b"\0")
        mark, _, flags, *_, packed, unpacked, name, extra = LOCAL.unpack(header)
        streamed = bool(flags & STREAMED)
        told = [(packed, info.compress_size), (unpacked, info.file_size)]
        if mark != b"PK\3\4" or not 0 <= info.header_offset - at <= slack:
            return False
        if any(size not in (told_size, IN_ZIP64) and not streamed for size, told_size in told):
            return False
        at, slack = info.header_offset + LOCAL.size + name + extra + info.compress_size, DESCRIPTOR * streamed
    return 0 <= archive.start_dir - at <= slack
