"""One request to an ASGI application that guards another."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


def answers(guarded: Callable[[Any], Any], headers: Headers, **scope: object) -> list[dict[str, Any]]:
    """The messages with which a guard, or the application behind it, answers.

    Args:
        guarded: the guard around an application.
        headers: of the request; a name may be there twice.
        scope: the rest of the request.
    """
    sent: list[dict[str, Any]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    pairs = headers.items() if isinstance(headers, Mapping) else headers
    listed = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
    asyncio.run(guarded(application)({**scope, "headers": listed}, None, send))
    return sent
