"""Fetching VOC from a real server on loopback that breaks off half-way, lies, or is not there."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

import sources._download as under_test
from labelfactory.errors import DataError
from sources._download import download, fetch_voc2012

DATA = np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()
MD5 = hashlib.md5(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `data`; breaks off after `portion` bytes of each answer."""

    data = DATA
    portion = 10**9
    resumes = True
    states_its_size = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/voc.tar"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.resumes else 0
        body = self.server.data[start:]
        if wanted and not body:
            self.send_error(416)
            return
        self.send_response(206 if wanted and self.server.resumes else 200)
        if self.server.states_its_size:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.portion])  # the connection closes before its own count

    def log_message(self, *words: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_link_under_the_name_of_the_half_file_is_refused(server, tmp_path):
    """Played: another user of the folder puts a link to this user's file there."""
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / "x.tar.part").symlink_to(tmp_path / "thesis.txt")
    with pytest.raises(DataError, match=r"x\.tar\.part: is a link"):
        download(server.url, tmp_path / "x.tar", "0" * 32)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_broken_connection_is_resumed(server, tmp_path):
    """Each answer ends after 1 MB: the next one begins where it stopped, and the file is whole."""
    server.portion = 1_000_000
    download(server.url, tmp_path / "voc.tar", MD5)
    assert (tmp_path / "voc.tar").read_bytes() == DATA
    assert server.asked == ["", "bytes=1000000-", "bytes=2000000-"]
    assert list(tmp_path.iterdir()) == [tmp_path / "voc.tar"]


def test_a_second_call_goes_on_where_the_first_gave_up(server, tmp_path, monkeypatch):
    """Too many breaks are an error that says so; what is here stays."""
    monkeypatch.setattr(under_test, "TRIES", 2)
    server.portion = 700_000
    with pytest.raises(DataError, match="broke off at 1400000 of 3000000 bytes; 1400000 bytes are here") as caught:
        download(server.url, tmp_path / "voc.tar", MD5)
    assert "same command again" in caught.value.remedy
    assert not (tmp_path / "voc.tar").exists()
    server.portion = 10**9
    download(server.url, tmp_path / "voc.tar", MD5)
    assert (tmp_path / "voc.tar").read_bytes() == DATA
    assert server.asked[-1] == "bytes=1400000-"


def test_a_file_that_is_here_is_not_fetched_again(server, tmp_path):
    """By its checksum, not by its name; a part that is whole already is only checked."""
    (tmp_path / "voc.tar").write_bytes(DATA)
    download(server.url, tmp_path / "voc.tar", MD5)
    assert server.asked == []
    (tmp_path / "voc.tar").rename(tmp_path / "voc.tar.part")
    download(server.url, tmp_path / "voc.tar", MD5)
    assert server.asked == [f"bytes={len(DATA)}-"]
    assert (tmp_path / "voc.tar").read_bytes() == DATA


def test_a_server_that_does_not_resume_starts_again(server, tmp_path):
    """An answer from the start takes the place of the part."""
    server.resumes = False
    (tmp_path / "voc.tar.part").write_bytes(b"x" * 1000)
    download(server.url, tmp_path / "voc.tar", MD5)
    assert (tmp_path / "voc.tar").read_bytes() == DATA


def test_another_file_is_thrown_away(server, tmp_path):
    """A wrong checksum: nothing is left that a later call could take for good."""
    with pytest.raises(DataError, match=f"its MD5 is {MD5}, not {'0' * 32}"):
        download(server.url, tmp_path / "voc.tar", "0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_said_before_the_first_byte(server, tmp_path, monkeypatch):
    """By what the server says that the file has; a part that is here counts."""
    (tmp_path / "voc.tar.part").write_bytes(DATA[:1_000_000])
    monkeypatch.setattr(under_test.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_900_000))
    with pytest.raises(DataError, match="2 MB to download, 2 MB free on the disk"):
        download(server.url, tmp_path / "voc.tar", MD5)
    assert (tmp_path / "voc.tar.part").stat().st_size == 1_000_000
    monkeypatch.setattr(under_test.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2_000_000))
    download(server.url, tmp_path / "voc.tar", MD5)


def test_no_server_is_said_in_two_lines(tmp_path, monkeypatch):
    """A port on which nobody listens."""
    monkeypatch.setattr(under_test, "TRIES", 1)
    gone = Server()
    gone.server_close()
    with pytest.raises(DataError, match="Connection refused"):
        download(gone.url, tmp_path / "voc.tar", MD5)


def test_the_archive_is_unpacked_once(server, tmp_path):
    """The folder in VOC layout comes back; a second call asks nobody."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo("VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"a\n"))
    server.data = stream.getvalue()
    md5 = hashlib.md5(server.data).hexdigest()
    folder = fetch_voc2012(tmp_path, url=server.url, md5=md5)
    assert (folder / "ImageSets/Segmentation/train.txt").read_text() == "a\n"
    assert fetch_voc2012(tmp_path, url=server.url, md5=md5) == folder
    assert len(server.asked) == 1


def test_an_archive_that_climbs_out_is_refused(server, tmp_path):
    """No file is written outside the folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo("../escaped.txt")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    server.data = stream.getvalue()
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch_voc2012(tmp_path / "in", url=server.url, md5=hashlib.md5(server.data).hexdigest())
    assert not (tmp_path / "escaped.txt").exists()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


@pytest.mark.parametrize(
    ("hostile", "reason"),
    [
        (member("VOCdevkit/link", tarfile.SYMTYPE, "/etc"), "is a link or a device"),
        (member("VOCdevkit/link", tarfile.SYMTYPE, "VOC2012"), "is a link or a device"),
        (member("VOCdevkit/link", tarfile.LNKTYPE, "VOCdevkit/a"), "is a link or a device"),
        (member("VOCdevkit/pipe", tarfile.FIFOTYPE), "is a link or a device"),
        (member("VOCdevkit/zero", tarfile.CHRTYPE), "is a link or a device"),
        (member("/tmp/escaped.txt", size=1), "is not below VOCdevkit/"),
        (member("VOCdevkit/../../escaped.txt", size=1), "is not below VOCdevkit/"),
        (member("elsewhere/a.txt", size=1), "is not below VOCdevkit/"),
        (member("VOCdevkit/large", size=2000), "is beyond the first"),
    ],
)
def test_an_archive_holds_files_and_folders_of_its_own(server, tmp_path, monkeypatch, hostile, reason):
    """Not one member of another archive is written."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(member("VOCdevkit/VOC2012/a.txt", size=11_000), io.BytesIO(b"a" * 11_000))
        archive.addfile(hostile, io.BytesIO(b"x" * hostile.size))
    server.data = stream.getvalue()
    monkeypatch.setattr(under_test, "LARGEST", 12_000 if reason.startswith("is beyond") else 10**9)
    monkeypatch.setattr(under_test, "_check_size", lambda *words: None)
    with pytest.raises(DataError, match=f"cannot be unpacked: .*{reason}") as caught:
        fetch_voc2012(tmp_path / "in", url=server.url, md5=hashlib.md5(server.data).hexdigest())
    assert caught.value.remedy
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["voc.tar"]
    assert not (tmp_path / "escaped.txt").exists()


@pytest.mark.parametrize("states_its_size", [True, False])
def test_an_answer_without_end_is_cut_off(server, tmp_path, monkeypatch, states_its_size):
    """Before the first byte where the server says how much it is; nothing of it is left."""
    monkeypatch.setattr(under_test, "LARGEST", 1_000_000)
    server.states_its_size = states_its_size
    with pytest.raises(DataError, match="larger than 1 MB") as caught:
        download(server.url, tmp_path / "voc.tar", MD5)
    assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []
