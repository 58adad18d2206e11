"""A server on loopback that keeps the messages it is sent."""

import json

from loopback import Loopback, QuietHandler


class Listener(Loopback):
    """A server that keeps what it is sent."""

    def __init__(self, status: int = 204) -> None:
        self.heard: list[dict] = []
        self.status = status
        listener = self

        class Handler(QuietHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.heard.append(json.loads(body) | {"content_type": self.headers["Content-Type"]})
                self.send_response(listener.status)
                self.end_headers()

        super().__init__(Handler)
        self.address = f"{self.root}/hook?token=geheim"
