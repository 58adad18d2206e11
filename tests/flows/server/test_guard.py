"""The guard of Prefect's server: what a browser sends here for another page is refused, whatever it carries."""

import base64
import hashlib
import re
from functools import partial
from pathlib import Path

import prefect
import pytest
from asgi import answers

from flows.server.guard import STORED, ServerGuard
from flows.server.login import ENTRANCE
from labelfactory.http_server import LOOPBACK

OWN = {"host": "127.0.0.1:4200"}
PAGE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}


def ask(headers, *, hosts=LOOPBACK, origins=(), kind="http", path="/api/x", method="POST"):
    """The messages with which the guard, or the application behind it, answers."""
    guarded = partial(ServerGuard, hosts=hosts, origins=origins)
    return answers(guarded, headers, type=kind, path=path, method=method)


def passes(headers, **settings) -> bool:
    """Whether the application behind the guard gets a request; else it is answered 403."""
    status = ask(headers, **settings)[0]["status"]
    assert status in (200, 403)
    return status == 200


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("127.0.0.1:4200", True),
        ("localhost:9", True),
        ("[::1]:4200", True),
        ("LOCALHOST", True),
        ("evil.example:4200", False),
        ("127.0.0.1.evil.example", False),
        ("localhost@evil.example", False),
        ("192.168.0.7:4200", False),
        ("", False),
    ],
)
def test_another_name_for_this_machine_is_refused(host, good):
    """A site whose name was made to lead here (DNS rebinding) would pass for one of this server's pages."""
    assert passes({"host": host}) == good
    assert passes({"host": host, "origin": f"http://{host}"}) == good


def test_a_server_for_other_machines_has_any_name_and_still_its_own_pages_only():
    """There the login alone protects: a browser does not send it under another name."""
    assert passes({"host": "server.example:4200"}, hosts=())
    assert passes({"host": "server.example:4200", "origin": "https://server.example:4200"}, hosts=())
    assert not passes({"host": "server.example:4200", "origin": "https://evil.example"}, hosts=())
    assert not passes({}, hosts=())


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://127.0.0.1:8000",
        "http://127.0.0.1",
        "http://localhost:4200",
        "http://127.0.0.1:4200.evil.example",
        "null",
        "",
        "127.0.0.1:4200",
    ],
)
def test_other_pages_are_refused(origin):
    """Those of other sites, of other servers of this machine, and those that do not say what they are."""
    assert not passes({**OWN, "origin": origin})
    assert not passes({**OWN, "origin": origin, **PAGE}, method="GET")


def test_its_own_pages_and_programs_are_not():
    assert passes({**OWN, "origin": "http://127.0.0.1:4200", "sec-fetch-site": "same-origin"})
    assert passes(OWN)
    assert passes({**OWN, "sec-fetch-site": "none", "sec-fetch-mode": "navigate"})


def test_a_link_may_lead_here_and_a_picture_or_script_of_another_page_may_not():
    """Such requests have no Origin."""
    for site in ("cross-site", "same-site"):
        assert passes({**OWN, "sec-fetch-site": site, "sec-fetch-mode": "navigate"}, method="GET")
        assert not passes({**OWN, "sec-fetch-site": site, "sec-fetch-mode": "no-cors"}, method="GET")
        assert not passes({**OWN, "sec-fetch-site": site}, method="GET")


def test_a_header_that_comes_twice_is_none():
    """The application behind might read the other one."""
    twice = [("host", "127.0.0.1:4200"), ("host", "evil.example")]
    assert not passes(twice)
    assert not passes([*OWN.items(), ("origin", "http://127.0.0.1:4200"), ("origin", "http://evil.example")])


def test_addresses_that_the_user_names_may_call():
    """Such as that of a proxy; `*`, Prefect's default, is none."""
    proxy = {"host": "factory.example", "origin": "https://factory.example"}
    assert not passes(proxy)
    assert passes(proxy, origins=["https://factory.example"])
    assert passes({**OWN, "origin": "https://factory.example"}, origins=["https://factory.example"])
    assert not passes({**OWN, "origin": "https://evil.example"}, origins=["*", ""])


def test_sockets_are_guarded_too():
    """They are closed before they are open."""
    (closed,) = ask({**OWN, "origin": "http://evil.example"}, kind="websocket")
    assert (closed["type"], closed["code"]) == ("websocket.close", 1008)
    (closed,) = ask({"host": "evil.example"}, kind="websocket")
    assert closed["type"] == "websocket.close"


def test_every_answer_forbids_frames_and_calls_elsewhere():
    for answered in (ask(OWN), ask({"host": "evil.example"})):
        policy = dict(answered[0]["headers"])[b"content-security-policy"].decode()
        assert "frame-ancestors 'none'" in policy
        assert "connect-src 'self'" in policy


def test_the_entrance_runs_its_script_alone_and_is_not_kept():
    """The login is behind the `#`, which no browser sends: the page is the same for everybody."""
    start, body = ask(OWN, path=ENTRANCE, method="GET")
    headers = dict(start["headers"])
    script = re.search(r"<script>(.*)</script>", body["body"].decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'" in headers[b"content-security-policy"].decode()
    assert headers[b"cache-control"] == b"no-store"


@pytest.mark.parametrize("pages", ["__ui_static_path__", "__ui_v2_static_path__"])
def test_prefects_pages_keep_the_login_under_this_name(pages):
    """Both of them; another version of Prefect may do otherwise."""
    folder = Path(getattr(prefect, pages))
    assert any(STORED in path.read_text(encoding="utf-8") for path in folder.rglob("*.js"))
