"""Parts of this project's HTTP servers: their socket and, in the form of ASGI, host names, headers and plain answers."""

import re
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any

from labelfactory.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Addresses of this machine that no other machine reaches, and names of them."""
HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s:\[\]@/\\]+))(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
"""A Host header, whole: a name, or an address of IPv6 in brackets, and a port."""
LONGEST_NAME = 100
"""Characters of a host's name that a message repeats."""
NO_HEADERS: Mapping[str, str] = {}

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one.

    Raises:
        UserError: the port is taken, or the host is no address of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((host, port))
            opened.listen(128)  # who comes before the server is ready waits, and is not refused
        except OSError:
            opened.close()
            raise
    except (OSError, UnicodeError) as error:  # the latter of a name with a part that is too long
        reason = error.strerror if isinstance(error, OSError) else "it is not the name of a host"
        raise UserError(
            f"{host[:LONGEST_NAME]}:{port} cannot be used: {reason}", "Name another one with --host or --port."
        ) from None
    return opened


def called(scope: Scope) -> tuple[str, str]:
    """Name and port in the Host header; both empty where there is none, more than one, or one of another form."""
    headers = values(scope, b"host")
    return name_and_port(headers[0]) if len(headers) == 1 else ("", "")


def name_and_port(host: str) -> tuple[str, str]:
    """Name and port of a Host header; both empty where it has another form.

    >>> name_and_port("LOCALHOST:4200"), name_and_port("[::1]"), name_and_port("a b")
    (('localhost', '4200'), ('::1', ''), ('', ''))
    """
    match = HOST.fullmatch(host)
    if match is None:
        return "", ""
    return (match["address"] or match["name"]).lower().rstrip("."), match["port"] or ""


def values(scope: Scope, name: bytes) -> list[str]:
    """The values of a header, which may be there more than once."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def refusal(scope: Scope, hosts: Collection[str], origins: Collection[str] = ()) -> str:
    """Why a request must not be answered: it has a name of another server, or a browser sends it for another page.

    Programs other than browsers send neither an Origin nor a Sec-Fetch-Site, and are left to the login.

    Args:
        scope: the request.
        hosts: names under which this server may be called. Under another name, a page of another site could pass for one of
            this server's (DNS rebinding). Empty: any name.
        origins: host and port of other addresses whose pages may call.

    Returns:
        One sentence; empty if nothing is wrong.
    """
    name, _ = called(scope)
    if not name or (hosts and name not in hosts):
        return "This server has another name. Use http://127.0.0.1 and its port."
    origin = _only(scope, b"origin")
    if origin is None:
        # a link may lead here from anywhere; a picture, script or form of another page may not
        elsewhere = _only(scope, b"sec-fetch-site") not in (None, "same-origin", "none")
        foreign = elsewhere and _only(scope, b"sec-fetch-mode") != "navigate"
    else:
        foreign = address_of(origin) not in {values(scope, b"host")[0].lower(), *origins}
    return "A page of another address may not call this server." if foreign else ""


def address_of(origin: str) -> str:
    """Host and port of an origin such as http://127.0.0.1:4200; empty for an opaque one, `null`."""
    return origin.partition("://")[2].rstrip("/").lower()


def _only(scope: Scope, name: bytes) -> str | None:
    """The value of a header; None without it, and empty if there are several."""
    found = values(scope, name)
    return None if not found else found[0] if len(found) == 1 else ""


def with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """Add headers to an answer; those that it has already stay as they are."""

    async def answer_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message["headers"]}
            more = [(name.encode(), value.encode()) for name, value in headers.items() if name.encode() not in present]
            message["headers"] = [*message["headers"], *more]
        await send(message)

    return answer_with_headers


async def answer(
    send: Send, status: int, text: str, headers: Mapping[str, str] = NO_HEADERS, *, kind: str = "text/plain"
) -> None:
    """Send a whole answer, which is not stored by caches."""
    body = text.encode()
    named = {"content-type": f"{kind}; charset=utf-8", "content-length": str(len(body)), "cache-control": "no-store"}
    listed = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in {**named, **headers}.items()]
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": body})
