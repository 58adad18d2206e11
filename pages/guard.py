"""Access to the pages: host names, token and security headers, checked before any other part sees a request."""

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

LOOPBACK = ("127.0.0.1", "localhost", "::1")
COOKIE = "labelfactory"
HEADERS = {
    "content-security-policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; style-src-attr 'unsafe-inline'; "
    "script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""Nothing from elsewhere, no script in a page, no frame around it, and no address that is told to others."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


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
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, "These pages are only read.", {"allow": "GET, HEAD"})
        elif self._hosts and _host(headers.get("host", "")) not in self._hosts:
            await _answer(send, 400, "This server is not called so. Use http://127.0.0.1 and its port.")
        elif self._token and not self._brought(headers):
            await self._let_in(scope, send)
        else:
            await self._app(scope, receive, _with_headers(send))

    def _brought(self, headers: dict[str, str]) -> bool:
        cookie: SimpleCookie = SimpleCookie()
        try:
            cookie.load(headers.get("cookie", ""))
        except CookieError:
            return False
        brought = [cookie[COOKIE].value] if COOKIE in cookie else []
        kind, _, rest = headers.get("authorization", "").partition(" ")
        return any(self._same(text) for text in [*brought, *([rest.strip()] if kind.lower() == "bearer" else [])])

    def _same(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())

    async def _let_in(self, scope: Scope, send: Send) -> None:
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
        cookie = f"{COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Strict"
        await _answer(send, 303, "", {"location": location, "set-cookie": cookie})


def _host(text: str) -> str:
    """The name in a Host header, without its port and brackets."""
    name = text[1:].partition("]")[0] if text.startswith("[") else text.rpartition(":")[0] or text
    return name.lower().rstrip(".")


def _with_headers(send: Send) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name for name, _ in message["headers"]}
            more = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in there]
            message["headers"] = [*message["headers"], *more]
        await send(message)

    return answer


async def _answer(send: Send, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    body = text.encode()
    named = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), "cache-control": "no-store"}
    listed = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in {**named, **HEADERS, **(headers or {})}.items()]
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": body})
