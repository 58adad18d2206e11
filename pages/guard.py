"""Access to the pages: host names, token and security headers, checked before any other part sees a request."""

import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from labelfactory.http_server import (
    LOOPBACK,
    NO_HEADERS,
    App,
    Receive,
    Scope,
    Send,
    answer,
    called,
    values,
    with_headers,
)

COOKIE = "labelfactory"
"""The name of a visitor's cookie begins so; the port follows, since a browser sends a host's cookies to all of its ports."""
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
        token: what a visitor has to bring, once as `?token=…`, then as a cookie; or always as `Authorization: Bearer …`.
            Empty: nothing.
    """

    def __init__(self, app: App, hosts: tuple[str, ...] = LOOPBACK, token: str = "") -> None:
        self._app, self._hosts, self._token = app, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on and add headers to the answer."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        host, port = called(scope)
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, "These pages are only read.", {"allow": "GET, HEAD"})
        elif self._hosts and host not in self._hosts:
            await _answer(send, 400, "This server is not called so. Use http://127.0.0.1 and its port.")
        elif self._token and not self._brought(scope, cookie_name(port)):
            await self._let_in(scope, send, cookie_name(port))
        else:
            await self._app(scope, receive, with_headers(send, HEADERS))

    def _brought(self, scope: Scope, cookie: str) -> bool:
        # not by http.cookies, which takes none of the cookies where one of another program is malformed
        pairs = [pair.strip().partition("=") for text in values(scope, b"cookie") for pair in text.split(";")]
        brought = [value for name, _, value in pairs if name == cookie]
        for text in values(scope, b"authorization"):
            kind, _, rest = text.partition(" ")
            brought += [rest.strip()] if kind.lower() == "bearer" else []
        return any(self._same(text) for text in brought)

    def _same(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())

    async def _let_in(self, scope: Scope, send: Send, name: str) -> None:
        """A visitor with `?token=…` gets the cookie, and the address without the token."""
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if not any(name == "token" and self._same(value) for name, value in pairs):
            await _answer(
                send, 401, "This server asks for its token: open the address that `labelfactory serve` printed."
            )
            return
        query = urlencode([pair for pair in pairs if pair[0] != "token"])
        # one slash at the start: `//elsewhere` would lead to another site
        location = "/" + scope["raw_path"].decode("latin-1").lstrip("/\\") + (f"?{query}" if query else "")
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        cookie = f"{name}={self._token}; Path=/; HttpOnly; SameSite=Strict{secure}"
        await _answer(send, 303, "", {"location": location, "set-cookie": cookie})


def cookie_name(port: str) -> str:
    """The cookie of the server that a visitor calls at this port; empty for the scheme's own."""
    return f"{COOKIE}-{port}" if port else COOKIE


async def _answer(send: Send, status: int, text: str, headers: Mapping[str, str] = NO_HEADERS) -> None:
    await answer(send, status, text, {**HEADERS, **headers})
