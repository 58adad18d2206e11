"""MLflow's pages of this project's record, on this machine, for whoever has the login.

    python -m lineage.mlflow_server [--port 5000]

`mlflow ui` asks for no login: each user of the machine could change the record, and read files of its owner through it. Here
every request needs one: $MLFLOW_TRACKING_USERNAME and $MLFLOW_TRACKING_PASSWORD, which MLflow's own programs send, else a
random one. A browser gets it with the printed address, and keeps it for this server until it is closed.
"""

import base64
import hmac
import os
import secrets
import sys
from typing import Annotated

import typer
import uvicorn

from labelfactory.console import say
from labelfactory.errors import UserError
from labelfactory.http_server import LOOPBACK, App, Receive, Scope, Send, answer, open_socket, refusal, with_headers
from lineage.mlflow_home import HOME, quiet, tracking_uri

USER_VARIABLE, PASSWORD_VARIABLE = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
USER = "admin"
HOST = "127.0.0.1"
ENTRANCE = "/enter"
"""Leads to the pages without the login in the address, with which they could not call the server."""
HEADERS = {"content-security-policy": "connect-src 'self' blob: data:; frame-ancestors 'self'"}
"""MLflow's pages would call home."""
ASK = {"www-authenticate": 'Basic realm="MLflow of this project", charset="UTF-8"'}


class LoginGuard:
    """An ASGI application around MLflow's: own names, own pages, and the login for each request.

    Args:
        app: what is guarded.
        user, password: the login.
    """

    def __init__(self, app: App, user: str, password: str) -> None:
        self._app = app
        self._header = b"Basic " + base64.b64encode(f"{user}:{password}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        problem = refusal(scope, LOOPBACK)
        brought = [value for name, value in scope["headers"] if name == b"authorization"]
        welcome = len(brought) == 1 and hmac.compare_digest(brought[0], self._header)
        if welcome and not problem and scope["type"] == "http" and scope["path"] == ENTRANCE:
            (host,) = (value.decode("latin-1") for name, value in scope["headers"] if name == b"host")
            await answer(send, 303, "", {"location": f"http://{host}/"})
        elif welcome and not problem:
            await self._app(scope, receive, with_headers(send, HEADERS))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif problem:
            await answer(send, 403, problem)
        else:
            await answer(send, 401, "This server asks for its login: open the address that it printed.", ASK)


def main(port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 5000) -> None:
    """Show MLflow's record of the project in this folder, at http://127.0.0.1:5000; Ctrl-C ends it."""
    try:
        uri = tracking_uri()
        if "://" not in uri or uri.startswith(("http://", "https://")):
            raise UserError(f"{uri}: a server shows this record already", "Open that address in a browser.")
        opened = open_socket(HOST, port)
    except UserError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    chosen = os.environ.get(PASSWORD_VARIABLE, "")
    user = os.environ.get(USER_VARIABLE, "") if chosen else USER
    password = chosen or secrets.token_urlsafe(32)
    address = f"http://{HOST}:{port}/" if chosen else f"http://{user}:{password}@{HOST}:{port}{ENTRANCE}"
    typer.echo(f"MLflow: {address}", err=True)  # not `say`, which would mask the login
    config = uvicorn.Config(LoginGuard(_pages(uri), user, password), log_level="warning", access_log=False)
    try:
        uvicorn.Server(config).run(sockets=[opened])
    except KeyboardInterrupt:  # the way in which a person ends it
        pass
    finally:
        opened.close()


def _pages(uri: str) -> App:
    """MLflow's application on this record. It reads its settings from the environment when it is loaded."""
    quiet()
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # processes for jobs that nobody sends
    from mlflow.server.constants import ARTIFACT_ROOT_ENV_VAR, BACKEND_STORE_URI_ENV_VAR, REGISTRY_STORE_URI_ENV_VAR
    from mlflow.server.handlers import initialize_backend_stores

    artifacts = (HOME.resolve() / "artifacts").as_uri()
    settings = {BACKEND_STORE_URI_ENV_VAR: uri, REGISTRY_STORE_URI_ENV_VAR: uri, ARTIFACT_ROOT_ENV_VAR: artifacts}
    os.environ.update(settings)
    initialize_backend_stores(uri, uri, artifacts)
    from mlflow.server.fastapi_app import app

    pages: App = app
    return pages


if __name__ == "__main__":
    typer.run(main)
