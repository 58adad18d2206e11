"""HTTP for all of labelfactory: every request has a timeout, and every failure is an error of two parts.

httpx is loaded by the first request: commands that send none start without it.
"""

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from labelfactory.errors import UserError

if TYPE_CHECKING:
    import httpx

REMEDY = "Check the address and the connection, and type the same command again."
SHOWN = 500
"""Characters of a refusal's body that its error keeps."""
NO_HEADERS: Mapping[str, str] = {}


class HttpError(UserError):
    """A request failed; `reason` is the problem without the address."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}", REMEDY)
        self.reason = reason


class NoAnswerError(HttpError):
    """The server cannot be reached, did not answer in time, or the connection broke."""


class RefusedError(HttpError):
    """The server answered with a status other than success; `body` begins its answer."""

    def __init__(self, url: str, status: int, body: str) -> None:
        super().__init__(url, f"the server answers {status}")
        self.status, self.body = status, body


@dataclass(frozen=True)
class Download:
    """An answer that is read piece by piece."""

    start: int  # byte of the file at which the pieces begin; 0 from a server that does not resume
    total: int | None  # bytes of the whole file, where the server says so
    pieces: Iterator[bytes]  # raises NoAnswerError where the connection breaks


def send(
    method: str, url: str, *, content: Any = None, headers: Mapping[str, str] = NO_HEADERS, timeout: float
) -> bytes:
    """Send one request and return the body of its answer. Only GET follows redirects.

    Args:
        method: GET, POST, ….
        url: of http or https.
        content: sent as JSON; None sends no body.
        headers: beside those that JSON needs.
        timeout: seconds without a byte.

    Raises:
        NoAnswerError, RefusedError.
    """
    body = None if content is None else json.dumps(content, ensure_ascii=False).encode()
    with _errors(url), _client(timeout) as client:
        request = client.build_request(
            method, url, content=body, headers={"Content-Type": "application/json", **headers}
        )
        response = client.send(request, follow_redirects=method == "GET", stream=True)
        _check(url, response)
        return response.read()


@contextmanager
def download(url: str, *, start: int = 0, timeout: float) -> Iterator[Download]:
    """Open a file for reading, from byte `start` on where the server can resume.

    Args:
        url: of http or https.
        start: bytes that are here already.
        timeout: seconds without a byte.

    Raises:
        NoAnswerError, RefusedError: the latter with status 416 where `start` is the end of the file.
    """
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with (
        _errors(url),
        _client(timeout) as client,
        client.stream("GET", url, headers=headers, follow_redirects=True) as response,
    ):
        _check(url, response)
        first = start if response.status_code == 206 else 0
        length = response.headers.get("Content-Length")
        total = first + int(length) if length else None
        yield Download(first, total, _pieces(url, response, first, total))


def _pieces(url: str, response: "httpx.Response", done: int, total: int | None) -> Iterator[bytes]:
    import httpx

    try:
        for piece in response.iter_raw():
            done += len(piece)
            yield piece
    except httpx.TransportError as error:
        place = f"{done} of {total} bytes" if total else f"{done} bytes"
        cause = "" if isinstance(error, httpx.RemoteProtocolError) else f" ({_text(error)})"
        raise NoAnswerError(url, f"the connection broke off at {place}{cause}") from None


def _check(url: str, response: "httpx.Response") -> None:
    if not response.is_success:
        raise RefusedError(url, response.status_code, _start_of(response))


def _start_of(response: "httpx.Response") -> str:
    """The start of a body, which may never end, and be in any encoding that its server names."""
    body = b""
    for piece in response.iter_bytes(SHOWN):
        body += piece
        if len(body) >= SHOWN:
            break
    response.close()
    return body[:SHOWN].decode("utf-8", "replace")


def _client(timeout: float) -> "httpx.Client":
    import httpx

    return httpx.Client(timeout=timeout, verify=_trusted())


@cache
def _trusted() -> ssl.SSLContext:
    """The system's certificates, as other programs of this machine trust them."""
    return ssl.create_default_context()


@contextmanager
def _errors(url: str) -> Iterator[None]:
    """Turn httpx's errors into ours."""
    import httpx

    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NoAnswerError(url, _text(error)) from None


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
