"""The server of the pages: one process on this machine, until it is ended."""

import socket
from threading import Thread

import uvicorn

from labelfactory.http_server import LOOPBACK
from pages.project import Project
from pages.site import make_site


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
