"""Access to Prefect's server from browsers: its own names, its own pages, and an entrance that gives them the login.

The API wants the login with every request, and Prefect checks it. Prefect's pages send it from the browser's storage for
this address, so no other page can use it: there is no cookie. This guard refuses what a browser sends here on behalf of
another page, before anything of Prefect sees it.
"""

import base64
import hashlib
from collections.abc import Iterable

from flows.server.login import ENTRANCE
from labelfactory.http_server import App, Receive, Scope, Send, address_of, answer, name_and_port, refusal, with_headers

STORED = "prefect-password"
"""The name under which Prefect's pages keep the login, as base64."""
SCRIPT = f"""
if (location.hash.length > 1) localStorage.setItem("{STORED}", location.hash.slice(1));
location.replace("/");
"""
PAGE = (
    f"<!doctype html><title>Prefect</title><noscript>These pages need JavaScript.</noscript><script>{SCRIPT}</script>"
)
ONLY_THIS_SCRIPT = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "same-origin"}
ALONE = "frame-ancestors 'none'"
"""No other page may show these in a frame."""


class ServerGuard:
    """An ASGI application around Prefect's.

    Args:
        app: what is guarded.
        hosts: names under which this server may be called; empty: any name.
        origins: other addresses whose pages may call it, such as that of a proxy; their names are in `hosts` too.
    """

    def __init__(self, app: App, hosts: Iterable[str], origins: Iterable[str] = ()) -> None:
        self._app, self._origins = app, {address_of(origin) for origin in origins if "://" in origin}
        self._hosts = {*hosts, *(name_and_port(origin)[0] for origin in self._origins)} if hosts else set()
        # Prefect's pages would call home, also where the server's analytics are off
        known = " ".join(["connect-src 'self' blob: data:", *sorted(self._origins)])
        self._headers = {**HEADERS, "content-security-policy": f"{known}; {ALONE}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on and add headers to the answer."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        problem = refusal(scope, self._hosts, self._origins)
        if problem and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": problem})
        elif problem:
            await answer(send, 403, problem, self._headers)
        elif scope["type"] == "http" and scope["path"] == ENTRANCE:
            only = f"default-src 'none'; script-src 'sha256-{ONLY_THIS_SCRIPT}'; {ALONE}"
            await answer(send, 200, PAGE, {**HEADERS, "content-security-policy": only}, kind="text/html")
        else:
            await self._app(scope, receive, with_headers(send, self._headers))
