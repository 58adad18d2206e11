"""Prefect's REST API, as much of it as commands and the watcher need: they answer at once, since Prefect itself is not loaded."""

import base64
import json
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

from labelfactory.errors import LabelfactoryError, UserError

URL_VARIABLE, KEY_VARIABLE, AUTH_VARIABLE = "PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"
STATE_FILE = Path(".labelfactory/services.json")
"""What `labelfactory up` has started in this folder."""
TIMEOUT_SECONDS = 90.0
"""Longer than the minute that the server itself waits for SQLite's lock: after that it says that it is busy."""
BUSY = (429, 503)
"""A server that is busy, its database locked for example, answers so; nothing was done."""
BUSY_PAUSES = (1.0, 2.0, 4.0, 8.0)


class ApiError(LabelfactoryError):
    """The server answered with an error."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"Prefect's server answers {status}: {said}")
        self.status = status


class ServerDownError(UserError):
    """Nobody answers at the server's address."""


class Api:
    """One server, by its address, such as http://127.0.0.1:4200/api."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    @property
    def page(self) -> str:
        """The address that a person opens."""
        return self.url.removesuffix("/api")

    def get(self, path: str) -> Any:
        """GET; see `call`."""
        return self.call("GET", path)

    def find(self, path: str) -> Any | None:
        """GET; None where the server knows no such thing."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def provide(self, path: str, body: dict[str, Any]) -> None:
        """POST what has a name, unless something of that name is there; then it stays as it is.

        It is looked for first: the server logs a refusal with a traceback, as if something were wrong.
        """
        if self.find(f"{path}{quote(body['name'])}") is not None:
            return
        try:
            self.post(path, body)
        except ApiError as error:
            if error.status != 409:  # somebody else was faster
                raise

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST; see `call`."""
        return self.call("POST", path, body)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request. Returns the answer, parsed; None where it is empty.

        Raises:
            ServerDownError: nobody answers.
            ApiError: the server refuses.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **_login()}
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        for pause in BUSY_PAUSES:
            try:
                return self._send(request)
            except ApiError as error:
                if error.status not in BUSY:
                    raise
            time.sleep(pause)
        return self._send(request)

    def _send(self, request: urllib.request.Request) -> Any:
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode(errors="replace")[:500]
            if error.code in (401, 403):
                raise UserError(
                    f"{self.url}: the server wants other credentials ({error.code})",
                    f"Set {AUTH_VARIABLE} (or {KEY_VARIABLE}) to those that it was started with.",
                ) from None
            raise ApiError(error.code, said) from None
        except (OSError, ValueError) as error:
            raise ServerDownError(
                f"{self.url}: no Prefect server answers ({getattr(error, 'reason', error)})",
                f"Type `labelfactory up`, or set {URL_VARIABLE} to the server's address.",
            ) from None
        return json.loads(text) if text else None


def _login() -> dict[str, str]:
    """Credentials from the environment, as Prefect itself sends them."""
    if key := os.environ.get(KEY_VARIABLE):
        return {"Authorization": f"Bearer {key}"}
    if auth := os.environ.get(AUTH_VARIABLE):
        return {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"}
    return {}


def find_api() -> Api:
    """The server at $PREFECT_API_URL, else the one that `labelfactory up` started here; it has answered once.

    Raises:
        UserError: there is none, or it is down.
    """
    url = os.environ.get(URL_VARIABLE) or _own_url()
    if url is None:
        raise ServerDownError(
            "no Prefect server is known here", f"Type `labelfactory up`, or set {URL_VARIABLE} to a server's address."
        )
    api = Api(url)
    api.get("/health")
    return api


def find_page() -> str:
    """The address of the server's page, asked of nobody: $PREFECT_UI_URL, or beside the known API; empty if there is none."""
    url = os.environ.get("PREFECT_UI_URL") or os.environ.get(URL_VARIABLE) or _own_url() or ""
    return url.rstrip("/").removesuffix("/api")


def _own_url() -> str | None:
    if not STATE_FILE.exists():
        return None
    url: str = json.loads(STATE_FILE.read_text(encoding="utf-8"))["api"]
    return url
