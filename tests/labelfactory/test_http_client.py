"""Requests to a real server on loopback that answers, refuses, redirects, stays silent or breaks off."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from loopback import Loopback, QuietHandler

from labelfactory.errors import UserError
from labelfactory.http_client import NoAnswerError, RefusedError, download, send

DATA = bytes(range(256)) * 100
WAIT = 60.0


class Server(Loopback):
    """Keeps what it was asked; the path says how it answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None, object]] = []
        self.released = threading.Event()
        server = self

        class Handler(QuietHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                server.asked.append((self.command, self.path, self.headers["Range"], json.loads(body or b"null")))
                getattr(self, self.path.strip("/"))()

            def give(self, status: int, body: bytes, count: int | None = None, **headers: str) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body) if count is None else count), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def fine(self) -> None:
                self.give(200, b'{"ok": 1}')

            def refused(self) -> None:
                self.give(422, b"no such pool " * 1000)

            def endless(self) -> None:
                with suppress(OSError):  # the other side has had enough
                    self.give(404, b"", 2**40, **{"Content-Type": "text/plain; charset=base64"})
                    while not server.released.is_set():
                        self.wfile.write(b"\xff and so on " * 1000)

            def moved(self) -> None:
                self.give(302, b"", Location="/fine")

            def silent(self) -> None:
                server.released.wait(WAIT)

            def file(self) -> None:
                start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
                if start >= len(DATA):
                    self.give(416, b"")
                else:
                    self.give(206 if start else 200, DATA[start:])

            def from_the_start(self) -> None:
                self.give(200, DATA)

            def broken(self) -> None:
                self.give(200, DATA[:700], len(DATA))

        super().__init__(Handler)


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.released.set()
    started.close()


def test_content_goes_out_as_json_and_the_answer_comes_back(server):
    """Method, path and body; umlauts stay."""
    assert send("POST", f"{server.root}/fine", content={"name": "Übung"}, timeout=WAIT) == b'{"ok": 1}'
    assert server.asked == [("POST", "/fine", None, {"name": "Übung"})]


def test_a_refusal_keeps_status_and_the_beginning_of_its_body(server):
    """An error in two parts: the address and the status, and what to do."""
    with pytest.raises(RefusedError, match=f"{server.root}/refused: the server answers 422") as caught:
        send("GET", f"{server.root}/refused", timeout=WAIT)
    assert caught.value.status == 422
    assert caught.value.body == ("no such pool " * 1000)[:500]
    assert caught.value.remedy


@pytest.mark.parametrize(
    "ask",
    [lambda url: send("GET", url, timeout=WAIT), lambda url: download(url, timeout=WAIT).__enter__()],
    ids=["send", "download"],
)
def test_a_refusal_that_never_ends_in_an_odd_encoding(server, ask):
    """Its beginning is enough, and no codec of Python reads it."""
    with pytest.raises(RefusedError) as caught:
        ask(f"{server.root}/endless")
    assert caught.value.body.startswith("\N{REPLACEMENT CHARACTER} and so on")
    assert len(caught.value.body) == 500


def test_get_follows_a_redirect_and_post_does_not(server):
    """A message that a redirect turns into GET would be lost and count as sent."""
    assert send("GET", f"{server.root}/moved", timeout=WAIT) == b'{"ok": 1}'
    with pytest.raises(RefusedError, match="302"):
        send("POST", f"{server.root}/moved", content={}, timeout=WAIT)


def test_a_silent_server_is_an_error_after_the_timeout(server):
    """Every request has one."""
    with pytest.raises(NoAnswerError, match="timed out"):
        send("GET", f"{server.root}/silent", timeout=0.2)
    with pytest.raises(NoAnswerError, match="timed out"), download(f"{server.root}/silent", timeout=0.2):
        pass


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/x", "ftp://127.0.0.1/x", "here", "http://[", "http://a:b/"])
def test_an_address_without_a_server_is_an_error_with_a_remedy(address):
    """Nothing listens there, or it is not an address of http."""
    with pytest.raises(NoAnswerError) as caught:
        send("GET", address, timeout=WAIT)
    assert isinstance(caught.value, UserError)
    assert caught.value.problem.startswith(f"{address}: ")
    assert caught.value.reason
    assert caught.value.remedy


@pytest.mark.parametrize("start", [0, 1000])
def test_a_file_is_read_from_where_it_is_asked(server, start):
    """With its start and its size in all."""
    with download(f"{server.root}/file", start=start, timeout=WAIT) as answer:
        assert (answer.start, answer.total) == (start, len(DATA))
        assert b"".join(answer.pieces) == DATA[start:]


def test_a_server_that_does_not_resume_begins_at_zero(server):
    """The caller learns it before the first byte."""
    with download(f"{server.root}/from_the_start", start=1000, timeout=WAIT) as answer:
        assert (answer.start, answer.total) == (0, len(DATA))
        assert b"".join(answer.pieces) == DATA


def test_a_whole_file_has_nothing_left_to_read(server):
    """The server's own 416."""
    with pytest.raises(RefusedError) as caught, download(f"{server.root}/file", start=len(DATA), timeout=WAIT):
        pass
    assert caught.value.status == 416


def test_a_broken_connection_gives_its_bytes_and_then_an_error(server):
    """What arrived is worth keeping; the error names how far it came."""
    pieces = []
    with (
        pytest.raises(NoAnswerError, match=f"broke off at 700 of {len(DATA)} bytes"),
        download(f"{server.root}/broken", timeout=WAIT) as answer,
    ):
        pieces.extend(iter(answer.pieces))
    assert b"".join(pieces) == DATA[:700]


def test_commands_that_send_nothing_do_not_load_httpx():
    """It would cost every `labelfactory status` a tenth of a second."""
    code = "import sys, app.main, app.run, flows.server.webhook, sources.intake, sources._download, sources._fetch; "
    code += "sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
