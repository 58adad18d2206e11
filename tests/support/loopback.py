"""A real HTTP server on a free port of 127.0.0.1, for tests of what is sent to servers."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer


class QuietHandler(BaseHTTPRequestHandler):
    """Answers GET and POST; its log is not the test's output."""

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        """Take the request and answer it."""
        raise NotImplementedError

    def log_message(self, *words: object) -> None:
        """Nothing."""


class Loopback:
    """Serves in a thread of its own until it is closed."""

    def __init__(self, handler: type[QuietHandler]) -> None:
        self.server = HTTPServer(("127.0.0.1", 0), handler)
        self.root = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Stop and give the port back."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
