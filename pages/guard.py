"""Access to the pages: host names, pages of other addresses, token and security headers, checked before all else.

The token is a login of HTTP (Basic), which a browser keeps for one address and port. A cookie would go to every port of the
host, and so to the servers of other users of the machine.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl

from labelfactory.http_server import (
    LOOPBACK,
    NO_HEADERS,
    App,
    Receive,
    Scope,
    Send,
    answer,
    refusal,
    values,
    with_headers,
)

USER = "labelfactory"
"""The user in the printed address; any other one does as well."""
ENTRANCE = "/enter"
"""Leads to the pages without the token in the address, with which a browser need not let scripts call the server."""
ASK = {"www-authenticate": 'Basic realm="labelfactory"'}
HEADERS = {
    "content-security-policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; style-src-attr 'unsafe-inline'; "
    "script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""Nothing from elsewhere, no script in a page, no frame around it, and no address that is told to others."""


class Guard:
    """An ASGI application around another.

    Args:
        app: what is guarded.
        hosts: names under which this server may be called. Another name is another site's, whose pages a browser
            would let read ours (DNS rebinding). Empty: any name, for who comes with a token.
        token: what a visitor has to bring, as the password of `Authorization: Basic …`, with any user, or as
            `Authorization: Bearer …`. Empty: nothing.
    """

    def __init__(self, app: App, hosts: tuple[str, ...] = LOOPBACK, token: str = "") -> None:
        self._app, self._hosts, self._token = app, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on and add headers to the answer."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, "These pages are only read.", {"allow": "GET, HEAD"})
        elif problem := refusal(scope, self._hosts):
            await _answer(send, 403, problem)
        elif self._token and not self._brought(scope):
            await _answer(send, 401, _how(scope), ASK)
        elif scope["path"] == ENTRANCE:
            # a whole address: a browser would add the login to a path alone
            location = f"{scope.get('scheme', 'http')}://{values(scope, b'host')[0]}/"
            await _answer(send, 303, "", {"location": location})
        else:
            await self._app(scope, receive, with_headers(send, HEADERS))

    def _brought(self, scope: Scope) -> bool:
        headers = values(scope, b"authorization")
        if len(headers) != 1:
            return False
        kind, _, rest = headers[0].partition(" ")
        brought = rest.strip() if kind.lower() == "bearer" else _password(rest) if kind.lower() == "basic" else ""
        return hmac.compare_digest(brought.encode(), self._token.encode())


def _password(login: str) -> str:
    """The password of a login as base64; empty if it is none."""
    try:
        return base64.b64decode(login.strip(), validate=True).decode("latin-1").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _how(scope: Scope) -> str:
    """How to bring the token."""
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    if any(name == "token" for name, _ in pairs):
        return "A token in the query of an address opens nothing: type it as the password, with any user name."
    return "This server asks for its token: open the address that `labelfactory serve` printed, or type it as the password."


async def _answer(send: Send, status: int, text: str, headers: Mapping[str, str] = NO_HEADERS) -> None:
    await answer(send, status, text, {**HEADERS, **headers})
