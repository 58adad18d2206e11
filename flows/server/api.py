"""Client for the part of Prefect's REST API that commands and the watcher use; Prefect itself takes seconds to load."""

import base64
import json
import os
import time
from typing import Any
from urllib.parse import quote

from flows.server.login import LOGIN_FILE, known_login
from flows.server.started import Services, read_services
from labelfactory.errors import LabelfactoryError, UserError
from labelfactory.http_client import NoAnswerError, RefusedError, send

URL_VARIABLE, KEY_VARIABLE, AUTH_VARIABLE = "PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"
TIMEOUT_SECONDS = 90.0
"""Longer than the minute for which the server waits for SQLite's lock before it answers that it is busy."""
BUSY = (429, 503)
"""Statuses of a busy server, such as one whose database is locked; the request had no effect."""
BUSY_PAUSES = (1.0, 2.0, 4.0, 8.0)
REMEDY = f"Type `labelfactory up`, or set {URL_VARIABLE} to a server's address."


class ApiError(LabelfactoryError):
    """The server answered with an error."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"Prefect's server answers {status}: {body}")
        self.status = status


class ServerDownError(UserError):
    """No server answers at this address."""


class Api:
    """One server.

    Args:
        url: its address, such as http://127.0.0.1:4200/api.
        login: `user:password`; default: that of the environment, at each request.
    """

    def __init__(self, url: str, login: str = "") -> None:
        self.url, self.login = url.rstrip("/"), login

    @property
    def page(self) -> str:
        """Address of the server's web page."""
        return self.url.removesuffix("/api")

    def get(self, path: str) -> Any:
        """GET; see `call`."""
        return self.call("GET", path)

    def find(self, path: str) -> Any | None:
        """GET; None where the server answers 404."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def provide(self, path: str, body: dict[str, Any]) -> None:
        """POST a named object, unless one of that name exists; that one stays as it is.

        Asked with GET first: the server logs a refused POST with a traceback.
        """
        if self.find(f"{path}{quote(body['name'])}") is not None:
            return
        try:
            self.post(path, body)
        except ApiError as error:
            if error.status != 409:  # created meanwhile
                raise

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST; see `call`."""
        return self.call("POST", path, body)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send one request, again while the server is busy. Returns the parsed JSON of its answer, None for an empty one.

        Raises:
            ServerDownError: no answer.
            ApiError: the server refuses the request.
            UserError: the server expects other credentials, or is not Prefect's.
        """
        for pause in BUSY_PAUSES:
            try:
                return self._send(method, path, body)
            except ApiError as error:
                if error.status not in BUSY:
                    raise
            time.sleep(pause)
        return self._send(method, path, body)

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        try:
            text = send(
                method, f"{self.url}{path}", content=body, headers=_authorization(self.login), timeout=TIMEOUT_SECONDS
            )
        except RefusedError as error:
            if error.status in (401, 403):
                raise UserError(
                    f"{self.url}: the server expects other credentials ({error.status})",
                    f"Set {AUTH_VARIABLE} (or {KEY_VARIABLE}) to those that it was started with;"
                    f" `labelfactory up` writes them to {LOGIN_FILE} on its machine.",
                ) from None
            raise ApiError(error.status, error.body) from None
        except NoAnswerError as error:
            raise ServerDownError(
                f"{self.url}: no Prefect server answers ({error.reason})",
                REMEDY,
            ) from None
        try:
            return json.loads(text) if text else None
        except ValueError:
            raise UserError(
                f"{self.url}: what answers is not a Prefect server", f"Set {URL_VARIABLE} to a server's address."
            ) from None


def _authorization(login: str) -> dict[str, str]:
    """The header with a login, else with that of the environment, in the form that Prefect sends."""
    if not login and (key := os.environ.get(KEY_VARIABLE)):
        return {"Authorization": f"Bearer {key}"}
    if login := login or os.environ.get(AUTH_VARIABLE, ""):
        return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
    return {}


def find_api() -> Api:
    """The server at $PREFECT_API_URL, else the one that `labelfactory up` started here; checked with one request.

    Raises:
        UserError: no server is known, it does not answer, or .labelfactory cannot be trusted.
    """
    api = known_api()
    api.get("/version")  # not /health, which needs no login
    return api


def find_page() -> str:
    """Address of the server's web page, without a request: $PREFECT_UI_URL, or that of the known API; empty if none is known.

    Raises:
        UserError: .labelfactory cannot be trusted.
    """
    url = os.environ.get("PREFECT_UI_URL") or os.environ.get(URL_VARIABLE)
    known = None if url else read_services()
    return (url or (known.api if known else "")).rstrip("/").removesuffix("/api")


def known_api() -> Api:
    """The server and the login for it; a login that `up` made is sent to no other address.

    Raises:
        ServerDownError: no server is known, or the known one has ended: whoever listens there now must not get the login.
    """
    url = os.environ.get(URL_VARIABLE, "").rstrip("/")
    if url and (os.environ.get(AUTH_VARIABLE) or os.environ.get(KEY_VARIABLE)):
        return Api(url)
    known = read_services()
    if known is not None and url in ("", known.api):
        if known.is_up:
            return started_api(known)
        raise ServerDownError(f"{known.api}: the server that `labelfactory up` started here has ended", REMEDY)
    if not url:
        raise ServerDownError("no Prefect server is known here", REMEDY)
    return Api(url)


def started_api(known: Services) -> Api:
    """The server of what `up` started; the login for another machine's comes from the environment."""
    return Api(known.api, known_login() if known.server else "")
