"""No address and no name does harm: nothing is opened by a URL, nothing is written, nothing runs in a browser."""

import asyncio
import base64
import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from html_page import Page
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_line import MadeLine
from visiting import project, visit

from labelfactory.dataset.prepared import read_dataset, write_dataset
from labelfactory.schema import Classes
from lineage.record import record
from pages.guard import HEADERS, Guard

pytestmark = pytest.mark.filterwarnings("ignore:.*httpx.*:DeprecationWarning")  # Starlette's own, about its test client

SECRET = "the content of a file that no page shows"
PAGES = ("/", "/images", "/models", "/models/segmenter/1", "/diff?a=1&b=now")
NASTY = (
    "../../secret.txt",
    "..%2f..%2fsecret.txt",
    "/etc/passwd",
    "secret.txt\x00.png",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='x",
    "{{ 7 * 7 }}",
    "%{x}%n\\..\\..",
    "a\nb\r\nset-cookie: x=y",
    "javascript:alert(1)",
    "名前 é 🐝",
)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A line of four images, of which three have names that were chosen to do harm, and so have its classes."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("safe") / ".")
    os.environ["LABELFACTORY_DEVICE"] = "cpu"
    Path("secret.txt").write_text(SECRET)
    try:
        MadeLine()
        record()
        dataset = read_dataset()
        records = [replace(r, reason="<i>" + n, status="quarantined", image_id=n, position=10 + k, tags=("<b>dog",))
                   for k, (r, n) in enumerate(zip(dataset.records * 3, NASTY, strict=True))]  # fmt: skip
        kept = tuple(replace(r, tags=tuple(t.replace("dog", "<b>dog") for t in r.tags)) for r in dataset.records)
        write_dataset(replace(dataset, classes=Classes(("cat", "<b>dog")), records=(*kept, *records)))
        with visit(project()) as visitor:
            yield visitor
    finally:
        os.environ.pop("LABELFACTORY_DEVICE")
        os.chdir(before)


def harmless(page: Page) -> None:
    """No element and no attribute that could run anything, no address that leads elsewhere."""
    assert {a.get("src", "").partition("?")[0] for a in page.all("script")} == {"/static/pages.js"}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not page.all("iframe") + page.all("i onerror") + page.all("base")
    for _, attributes in page.elements:
        for name in ("href", "src", "action"):
            address = attributes.get(name) or "/"
            assert address.startswith(("/", "#", "data:,", "http://127.0.0.1:")), address
            assert not address.startswith("//")


@pytest.mark.parametrize("address", [*PAGES, "/images?state=quarantined"])
def test_names_that_hold_markup_are_text(client, address):
    answer = client.get(address)
    assert answer.status_code == 200
    page = Page(answer.text)
    harmless(page)
    if address.startswith("/images"):
        assert all(
            name.replace("\x00", "\ufffd").split("\n")[0] in page.text.replace("\x00", "\ufffd") for name in NASTY
        )
        assert "49" not in page.text.partition("{{ 7")[0][-20:]


@pytest.mark.parametrize("name", NASTY)
def test_an_image_of_any_name_has_its_page(client, name):
    """Its id arrives whole and is shown as text; its layers are those of the data set, or none."""
    answer = client.get("/image", params={"id": name})
    assert answer.status_code == 200
    page = Page(answer.text)
    harmless(page)
    assert "set-cookie" not in answer.headers
    assert any(name.strip() in element for element in (page.text, *map(str, page.all("div"))))
    assert SECRET not in answer.text


TEXT = st.one_of(st.sampled_from(NASTY), st.text(max_size=40), st.sampled_from(["image-1", "1", "now", "segmenter@1"]))
ADDRESSES = st.sampled_from(
    ("/", "/images", "/image", "/image/pixel", "/picture/photo", "/picture/mask", "/models", "/diff", "/diff/pixels",
     "/diff/picture", "/state", "/static/pages.css", "/report", "/tournament")
)  # fmt: skip
FIELDS = st.sampled_from(
    ("id", "v", "x", "y", "q", "tag", "state", "since", "of", "quality", "low", "high", "order", "view", "page", "a", "b",
     "side", "show")
)  # fmt: skip


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(address=ADDRESSES, query=st.dictionaries(FIELDS, TEXT, max_size=5))
def test_any_query_is_answered(client, address, query):
    """With a page, or with what is wrong with it; never with an error of ours, and never with another file's content."""
    answer = client.get(address, params=query)
    assert answer.status_code in (200, 404, 409), answer.text
    assert SECRET not in answer.text
    if "html" in answer.headers["content-type"] and address in ("/", "/images", "/image", "/models", "/diff"):
        harmless(Page(answer.text))


WAYS = ("..", "%2e%2e", "secret.txt", "etc", "passwd", "%00", "photo")


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(
    start=st.sampled_from(("/", "/static/", "/picture/", "/models/", "/models/segmenter/", "/report/", "/tournament/")),
    parts=st.lists(st.sampled_from(WAYS) | TEXT.map(lambda text: quote(text, safe=".")), max_size=6),
)
def test_no_path_leads_to_a_file(client, start, parts):
    """However it is written: up, encoded, doubled."""
    address = "http://127.0.0.1:8600" + start + "/".join(parts)  # whole, since two slashes may follow each other
    answer = client.get(address)
    assert answer.status_code in (200, 307, 404, 405, 409), address
    assert SECRET not in answer.text


@pytest.mark.parametrize("name", ["site.py", "../pages.css", "..%2fpages%2fsite.py", "pages.css/", "base.jinja"])
def test_only_named_files_are_served(client, name):
    assert client.get(f"/static/{name}").status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_pages_are_only_read(client, method):
    for address in PAGES:
        assert client.request(method, address).status_code == 405


def test_every_answer_forbids_what_pages_do_not_need(client):
    """No script in a page, nothing from elsewhere, no frame; also on errors and pictures. Both reports have their own rule."""
    for address in (*PAGES, "/nothing", "/picture/photo?id=image-1", "/static/pages.js"):
        headers = client.get(address).headers
        assert all(headers[name] == value for name, value in HEADERS.items()), address
    assert "'unsafe-inline'" not in HEADERS["content-security-policy"].partition("script-src")[2].partition(";")[0]


# --- who may read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8600", 200),
        ("localhost:1", 200),
        ("[::1]:8600", 200),
        ("LOCALHOST", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:8600", 403),
        ("localhost@evil.example", 403),
        ("", 403),
        ("[::1]evil", 403),
        ("[::1]evil:8600", 403),
        ("[::1", 403),
        ("::1", 403),
        ("localhost:evil", 403),
        ("localhost:8600:evil", 403),
        ("evil.example/localhost", 403),
        ("evil.example\\localhost", 403),
        ("localhost evil", 403),
    ],
)
def test_another_name_for_this_machine_is_refused(client, host, status):
    """A page of another site whose name was made to lead here (DNS rebinding) reads nothing."""
    assert client.get("/models", headers={"host": host}).status_code == status


def basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


def test_a_token_opens_the_door(client):
    """As the password of any user, or as a bearer's; in the address, in a cookie and in any other form it opens nothing."""
    right = "right-token_1"
    with visit(project(), hosts=(), token=right) as visitor:
        for address in ("/", "/picture/photo?id=image-1", "/static/pages.css", "/enter", "/nothing"):
            answer = visitor.get(address)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Basic realm="labelfactory"')
            assert "that `labelfactory serve` printed" in answer.text
        for header in ("Bearer wrong", f"Basic {right}", "Bearer", "", basic("a:wrong"), basic(f"{right}:"), basic(right),
                       f"Token {right}", "Basic é", basic(":"), f"Bearer {right}x"):  # fmt: skip
            assert visitor.get("/models", headers=[("authorization", header.encode("latin-1"))]).status_code == 401
        for name in ("labelfactory", "labelfactory-8600"):
            assert visitor.get("/models", headers={"cookie": f"{name}={right}"}).status_code == 401
        for header in (f"Bearer {right}", f"bearer {right}", basic(f"labelfactory:{right}"), basic(f":{right}")):
            answer = visitor.get("/models", headers={"authorization": header})
            assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
        told = visitor.get(f"/models?token={right}")
        assert (told.status_code, "type it as the password" in told.text, right in told.text) == (401, True, False)
        assert visitor.get("/models").status_code == 401  # nothing of all this stays with the client


def test_the_entrance_leaves_the_token_out_of_the_address():
    """It names the whole address, to which a browser adds no login; also behind a proxy that encrypts."""
    brought, host = (b"authorization", basic("a:t").encode()), (b"host", b"pages.example:8600")
    for scheme in ("http", "https"):
        answer = asked(Guard(fine, (), "t"), brought, host, path="/enter", scheme=scheme)
        assert (answer["status"], answer["headers"][b"location"]) == (303, f"{scheme}://pages.example:8600/".encode())
    assert asked(Guard(fine, (), "t"), brought, brought, host)["status"] == 401  # two logins are none


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://127.0.0.1:8600"}, 200),
        ({"origin": "http://127.0.0.1:8601"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, 200),
        ({"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}, 403),
    ],
)
def test_pages_of_other_addresses_call_nothing(client, headers, status):
    """Another port of this machine is another address. A link may lead here; a picture or a script of another page may not."""
    for address in ("/models", "/picture/photo?id=image-1"):
        assert client.get(address, headers=headers).status_code == status


def asked(guard: Guard, *headers: tuple[bytes, bytes], path: str = "/", scheme: str = "http") -> dict:
    """The start of the answer to a request with these headers."""
    sent: list = []

    async def send(message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "headers": list(headers), "path": path, "query_string": b"",
             "scheme": scheme}  # fmt: skip
    asyncio.run(guard(scope, None, send))
    return {**sent[0], "headers": dict(sent[0]["headers"])}


async def fine(scope, receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_two_names_are_none():
    """A second Host header is not read by this server and may be by a proxy."""
    assert asked(Guard(fine), (b"host", b"localhost"))["status"] == 200
    assert asked(Guard(fine), (b"host", b"localhost"), (b"Host", b"evil.example"))["status"] == 403
    assert asked(Guard(fine), (b"host", b"evil.example"), (b"host", b"localhost"))["status"] == 403
    assert asked(Guard(fine))["status"] == 403
