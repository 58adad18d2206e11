"""The server of the pages: one process on this machine, until it is ended."""

import socket
from threading import Thread

import uvicorn

from labelfactory.errors import UserError
from pages.guard import LOOPBACK
from pages.project import Project
from pages.site import make_site


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one.

    Raises:
        UserError: the port is taken, or the host is no address of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        opened = socket.socket(family, socket.SOCK_STREAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(128)  # who comes before the server is ready waits, and is not refused
    except OSError as error:
        raise UserError(f"{host}:{port}: {error.strerror}", "Name another one with --host or --port.") from None
    return opened


def run_server(project: Project, opened: socket.socket, *, host: str, token: str) -> None:
    """Serve until Ctrl-C. What the first page needs is read meanwhile."""
    site = make_site(project, hosts=LOOPBACK if host in LOOPBACK else (), token=token)
    Thread(target=project.warm, daemon=True).start()
    server = uvicorn.Server(uvicorn.Config(site, log_level="warning", access_log=False))
    try:
        server.run(sockets=[opened])
    except KeyboardInterrupt:  # the way in which a person ends it
        pass
    finally:
        opened.close()
