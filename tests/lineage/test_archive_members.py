"""Archives that hold more than readers show: a withdrawn photograph is found in them, or they count as not searched."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from labelfactory.digests import digest_bytes
from lineage.trace_words import PHOTOGRAPH
from lineage.traces import UNREAD, Traces

WITHDRAWN = np.random.default_rng(0).bytes(3000)
OTHER = np.random.default_rng(1).bytes(2000)
WITH, WITHOUT = {"a.json": b"{}", "b.jpg": WITHDRAWN}, {"c.json": b"{}", "d.jpg": OTHER}


def tar(members: dict[str, bytes], mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode, format=form) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


class Pipe(io.BytesIO):
    """Cannot go back, so that sizes follow the members."""

    def seekable(self) -> bool:
        return False

    def seek(self, *args: int) -> int:
        raise OSError

    tell = seek  # type: ignore[assignment]


def packed_zip(
    members: dict[str, bytes],
    method: int = zipfile.ZIP_STORED,
    comment: bytes = b"",
    *,
    to: type[io.BytesIO] = io.BytesIO,
) -> bytes:
    packed = to()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.comment = comment
        for name, data in members.items():
            with archive.open(name, "w", force_zip64=name.endswith("jpg")) as stream:
                stream.write(data)
    return packed.getvalue()


def second_header(data: bytes) -> bytes:
    """The header of the second member is damaged."""
    return data[:1024] + b"x" * 8 + data[1032:]


def checked(header: bytes) -> bytes:
    """A header of a tar with its sum."""
    total = sum(header[:148]) + 8 * 32 + sum(header[156:])
    return header[:148] + b"%06o\0 " % total + header[156:]


def old_tar() -> bytes:
    """As before 1988, without a mark."""
    data = tar(WITH, form=tarfile.USTAR_FORMAT)
    places = [0, 1024]
    for at in places:
        data = data[:at] + checked(data[at : at + 257] + b"\0" * 255) + data[at + 512 :]
    return data


def unknown_type(data: bytes) -> bytes:
    """The second member is of a type that tarfile does not know."""
    header = data[1024:1536]
    return data[:1024] + checked(header[:156] + b"Z" + header[157:]) + data[1536:]


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, format="JPEG")
    return stream.getvalue()


def lying_size(data: bytes) -> bytes:
    """The list of a zip says that each file has another size."""
    at, changed = data.find(b"PK\1\2"), bytearray(data)
    while at >= 0:
        changed[at + 24 : at + 28] = struct.pack("<I", 7)
        at = changed.find(b"PK\1\2", at + 1)
    return bytes(changed)


def traces() -> Traces:
    digest = digest_bytes(WITHDRAWN)
    return Traces.of(frozenset(), frozenset({digest}), frozenset(), {digest: len(WITHDRAWN)})


LONG = {f"{'folder/' * 30}{name}": data for name, data in WITH.items()}
WHOLE: dict[str, Callable[[], bytes]] = {
    "a.tar": lambda: tar(WITH),
    "gnu.tar": lambda: tar(LONG, form=tarfile.GNU_FORMAT),
    "pax.tar": lambda: tar(LONG),
    "ustar.tar": lambda: tar(WITH, form=tarfile.USTAR_FORMAT),
    "a.tgz": lambda: tar(WITH, "w:gz"),
    "a.tar.bz2": lambda: tar(WITH, "w:bz2"),
    "a.tar.xz": lambda: tar(WITH, "w:xz"),
    "padded.tar": lambda: tar(WITH) + b"\0" * 5000,
    "joined.tar": lambda: tar(WITHOUT) + tar(WITH),
    "cut after.tar": lambda: tar(WITHOUT) + tar(WITH)[1024:],
    "after a MiB of zeros": lambda: b"\0" * 2**20 + tar(WITH),
    "an old one after zeros": lambda: b"\0" * 512 + old_tar(),
    "after zeros.tar": lambda: b"\0" * 512 + tar(WITH),
    "joined.tgz": lambda: tar(WITHOUT, "w:gz") + tar(WITH, "w:gz"),
    "joined.tar.bz2": lambda: bz2.compress(tar(WITHOUT)) + bz2.compress(tar(WITH)),
    "joined.tar.xz": lambda: lzma.compress(tar(WITHOUT)) + lzma.compress(tar(WITH)),
    "a.zip": lambda: packed_zip(WITH),
    "deflated.zip": lambda: packed_zip(WITH, zipfile.ZIP_DEFLATED),
    "streamed.zip": lambda: packed_zip(WITH, zipfile.ZIP_DEFLATED, to=Pipe),
    "comment.zip": lambda: packed_zip(WITH, comment=b"of the photographer"),
    "in the comment.zip": lambda: packed_zip(WITHOUT, comment=WITHDRAWN),
}
"""Archives in which it is found, and nothing else is unclear."""
HIDING: dict[str, Callable[[], bytes]] = {
    "second header.tar": lambda: second_header(tar(WITH)),
    "second header.tgz": lambda: gzip.compress(second_header(tar(WITH))),
    "first header.tar": lambda: b"x" * 8 + tar(WITH)[8:],
    "cut.tar": lambda: tar(WITH)[:3000],
    "unknown type.tar": lambda: unknown_type(tar(WITH)),
    "old.tar.zst": lambda: pa.compress(old_tar(), "zstd", asbytes=True),
    "picture and.zip": lambda: picture() + packed_zip(WITHOUT) + WITHDRAWN,
    "picture and.jpg": lambda: picture() + packed_zip(WITH),
    "behind.tar": lambda: tar(WITHOUT) + WITHDRAWN,
    "behind.tgz": lambda: tar(WITHOUT, "w:gz") + WITHDRAWN,
    "joined.zip": lambda: packed_zip(WITH) + packed_zip(WITHOUT),
    "before.zip": lambda: WITHDRAWN + packed_zip(WITHOUT),
    "named otherwise": lambda: WITHDRAWN + packed_zip(WITHOUT),
    "behind.zip": lambda: packed_zip(WITHOUT) + WITHDRAWN,
    "other size.zip": lambda: lying_size(packed_zip(WITH)),
    "other size, deflated.zip": lambda: lying_size(packed_zip(WITH, zipfile.ZIP_DEFLATED)),
    "cut.zip": lambda: packed_zip(WITH)[:-30],
    "bytes behind.tar.bz2": lambda: bz2.compress(tar(WITHOUT)) + tar(WITH),
    "bytes behind.tar.xz": lambda: lzma.compress(tar(WITHOUT)) + tar(WITH),
    "behind zeros.tar.xz": lambda: lzma.compress(tar(WITHOUT)) + b"\0" * 3_000_000 + WITHDRAWN,
    "behind two.bz2": lambda: bz2.compress(b"one") + bz2.compress(b"two") + WITHDRAWN,
    "behind.txt.xz": lambda: lzma.compress(b"text") + WITHDRAWN,
    "few behind.txt.xz": lambda: lzma.compress(b"text") + b"it",
    "half a stream behind.txt.xz": lambda: lzma.compress(b"text") + lzma.compress(WITHDRAWN)[:-20],
    "a.tar.zst": lambda: pa.compress(tar(WITH), "zstd", asbytes=True),
    "a.tar.lz4": lambda: pa.compress(tar(WITH), "lz4", asbytes=True),
    "zip.gz": lambda: gzip.compress(packed_zip(WITH)),
    "a.7z": lambda: b"7z\xbc\xaf\x27\x1c" + b"\0" * 100,
    "a.rar": lambda: b"Rar!\x1a\x07\x01" + b"\0" * 100,
    "a.tar.Z": lambda: b"\x1f\x9d" + b"\0" * 100,
}
"""Archives in which it may lie unseen."""


@pytest.mark.parametrize("name", WHOLE)
def test_a_photograph_is_found_in_every_whole_archive(tmp_path, name):
    (tmp_path / name).write_bytes(WHOLE[name]())
    assert traces().read(tmp_path / name) == {PHOTOGRAPH}


@pytest.mark.parametrize("name", HIDING)
def test_an_archive_that_hides_something_counts_as_not_searched(tmp_path, name):
    (tmp_path / name).write_bytes(HIDING[name]())
    assert UNREAD in traces().read(tmp_path / name)


@pytest.mark.parametrize("name", WHOLE)
def test_an_archive_of_others_is_clear(tmp_path, name, monkeypatch):
    """Nothing is found in it, and nothing is unclear."""
    monkeypatch.setattr("test_archive_members.WITH", WITHOUT)
    monkeypatch.setattr("test_archive_members.LONG", {f"{'folder/' * 30}{key}": data for key, data in WITHOUT.items()})
    monkeypatch.setattr("test_archive_members.WITHDRAWN", OTHER)
    looked = Traces.of(
        frozenset(), frozenset({digest_bytes(b"it")}), frozenset(), {digest_bytes(b"it"): len(WITHDRAWN)}
    )
    (tmp_path / name).write_bytes(WHOLE[name]())
    assert looked.read(tmp_path / name) == set()


def test_empty_archives_are_clear(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar({}))
    (tmp_path / "a.zip").write_bytes(packed_zip({}))
    assert [traces().read(tmp_path / name) for name in ("a.tar", "a.zip")] == [set(), set()]
    (tmp_path / "b.tar").write_bytes(b"no archive")
    assert traces().read(tmp_path / "b.tar") == {UNREAD}


def test_many_members_are_read_in_one_pass(tmp_path, monkeypatch):
    """Each step back in a packed stream unpacks all before it."""
    back = []
    rewind = gzip._GzipReader._rewind
    monkeypatch.setattr(gzip._GzipReader, "_rewind", lambda reader: (back.append(1), rewind(reader))[1])
    (tmp_path / "a.tgz").write_bytes(tar({f"{k}.json": b"{}" for k in range(200)}, "w:gz"))
    assert traces().read(tmp_path / "a.tgz") == set()
    assert len(back) < 5
