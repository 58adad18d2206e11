"""What commands ask of Prefect's server, and what they make of its answers: a real server on loopback that answers as told."""

import base64
import json
from collections.abc import Iterator

import pytest
from loopback import Loopback, QuietHandler

from flows.server import api as module
from flows.server.api import Api, ApiError, ServerDownError
from labelfactory.errors import UserError


class Answers(Loopback):
    """A server that gives these answers, one after the other, and keeps what it was asked."""

    def __init__(self, *answers: tuple[int, object]) -> None:
        self.asked: list[tuple[str, str, object, str | None]] = []
        left = list(answers)
        answers_itself = self

        class Handler(QuietHandler):
            def answer(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "null")
                answers_itself.asked.append((self.command, self.path, body, self.headers["Authorization"]))
                status, content = left.pop(0)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

        super().__init__(Handler)
        self.api = Api(f"{self.root}/api")


@pytest.fixture
def answers(monkeypatch) -> Iterator[type[Answers]]:
    """Start servers that answer as told; no login in the environment, pauses that do not hold up the test."""
    started = []
    for name in (module.KEY_VARIABLE, module.AUTH_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "BUSY_PAUSES", (0.0, 0.0))

    def start(*told: tuple[int, object]) -> Answers:
        started.append(Answers(*told))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_an_answer_is_parsed_and_the_request_arrives(answers):
    """Method, path, body."""
    server = answers((200, {"name": "cpu"}))
    assert server.api.post("/work_pools/filter", {"limit": 3}) == {"name": "cpu"}
    assert server.asked == [("POST", "/api/work_pools/filter", {"limit": 3}, None)]


def test_a_busy_server_is_asked_again_and_not_for_ever(answers):
    """Twice busy, then an answer; three times busy is an error."""
    server = answers((503, {}), (429, {}), (200, 7))
    assert server.api.post("/x", {}) == 7
    server = answers((503, {}), (503, {}), (503, "locked"))
    with pytest.raises(ApiError, match='503: "locked"'):
        server.api.post("/x", {})
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [404, 409, 422, 500])
def test_a_refusal_is_no_busyness(answers, status):
    """It is passed on at once, with its number."""
    server = answers((status, "no"))
    with pytest.raises(ApiError) as caught:
        server.api.post("/x", {})
    assert caught.value.status == status
    assert len(server.asked) == 1


def test_what_the_server_does_not_know_is_none(answers):
    """And nothing else is."""
    server = answers((404, {}), (200, {"id": 3}), (500, {}))
    assert server.api.find("/x") is None
    assert server.api.find("/x") == {"id": 3}
    with pytest.raises(ApiError, match="500"):
        server.api.find("/x")


@pytest.mark.parametrize(
    ("told", "methods"),
    [([200], ["GET"]), ([404, 201], ["GET", "POST"]), ([404, 409], ["GET", "POST"])],
    ids=["there", "not there", "somebody was faster"],
)
def test_what_is_there_is_not_made_again(answers, told, methods):
    """It is looked for under its name; who was faster is no error."""
    server = answers(*[(status, {}) for status in told])
    server.api.provide("/limits/", {"name": "cpu of a", "limit": 1})
    assert [asked[0] for asked in server.asked] == methods
    assert server.asked[0][1] == "/api/limits/cpu%20of%20a"


def test_what_cannot_be_made_is_an_error(answers):
    """A refusal that is not of its name."""
    server = answers((404, {}), (422, {}))
    with pytest.raises(ApiError, match="422"):
        server.api.provide("/limits/", {"name": "a"})


def test_the_login_comes_from_the_environment_and_stands_in_no_error(answers, monkeypatch):
    """As Prefect itself sends it; a refusal names the variable, never its value."""
    monkeypatch.setenv(module.AUTH_VARIABLE, "admin:geheim")
    server = answers((401, {}))
    with pytest.raises(UserError, match="expects other credentials") as caught:
        server.api.post("/x", {})
    assert module.AUTH_VARIABLE in caught.value.remedy
    assert "geheim" not in str(caught.value)
    assert server.asked[0][3] == f"Basic {base64.b64encode(b'admin:geheim').decode()}"


def test_nobody_there_is_the_users_to_mend():
    """Exit code 2, the address, and what to type."""
    server = Answers()
    server.close()
    with pytest.raises(ServerDownError, match=server.api.url) as caught:
        server.api.get("/health")
    assert "labelfactory up" in caught.value.remedy
