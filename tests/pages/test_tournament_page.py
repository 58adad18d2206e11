"""The report of a tournament among the pages: linked where there is one, guarded, and never with a withdrawn photograph."""

import base64
import dataclasses
import hashlib
import re
import shutil
from pathlib import Path

import pytest
from contested import BASELINE, contested, full_tournament
from recorded_pages import client, line, made
from test_withdrawn_pages import withdraw
from visiting import project, read, visit

from labelfactory.stage.given import digest_of_all_given
from labelfactory.tournament import REPORT, write_results
from pages.guard import HEADERS
from reporting.tournament_file import photographs_on
from reporting.tournament_page import render_tournament, write_tournament_report

__all__ = ["client", "line", "made"]
pytestmark = pytest.mark.filterwarnings("ignore:.*httpx.*:DeprecationWarning")  # Starlette's own, about its test client


def leave_tournament(*image_ids: str) -> None:
    """The report of a tournament with these photographs in its gallery."""
    photographs = contested([BASELINE, "seam"], len(image_ids))
    gallery = [dataclasses.replace(p, image_id=name) for p, name in zip(photographs, image_ids, strict=True)]
    write_tournament_report(REPORT, full_tournament(), gallery)


def test_it_is_linked_where_there_is_one(client):
    """From every page; without one there is no link, and the address says what to type."""
    assert "/tournament" not in {a["href"] for a in read(client, "/").all("a")}
    assert "labelfactory tournament" in read(client, "/tournament", 404).words
    leave_tournament("image-1")
    for address in ("/", "/images", "/models", "/nowhere"):
        page = read(client, address, 404 if address == "/nowhere" else 200)
        assert "/tournament" in {a["href"] for a in page.all("a")}
    page = read(client, "/tournament")
    assert "Use seam : +3.4 points" in page.words
    assert {"/", "/images", "/models", "/diff"} <= {a["href"] for a in page.all("a")}
    assert len(page.all("img")) == 4 - 1  # the last contender has no mask of the first photograph


def test_it_may_run_its_own_script_alone(client):
    """By the digest of what this version writes: a file that was changed on the disk runs nothing. Nothing is kept."""
    leave_tournament("image-1")
    answer = client.get("/tournament")
    (script,) = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert all(answer.headers[name] == value for name, value in HEADERS.items() if name != "content-security-policy")
    REPORT.write_text(REPORT.read_text().replace('"use strict"', "alert(1)"))
    assert client.get("/tournament").headers["content-security-policy"] == policy


def test_it_is_guarded_as_all_pages(line):
    leave_tournament("image-1")
    with visit(project(), token="right-token") as guarded:
        assert guarded.get("/tournament").status_code == 401
        assert guarded.get("/tournament", headers={"authorization": "Bearer right-token"}).status_code == 200
        assert guarded.get("/tournament", headers={"host": "evil.example"}).status_code == 403
        assert guarded.post("/tournament").status_code == 405


def test_a_withdrawn_photograph_is_not_shown(client):
    """Also where the report is still there, or came back from a backup; one without the photograph is shown."""
    leave_tournament("image-1", "image-2")
    assert client.get("/tournament").status_code == 200
    withdraw("image-1")
    answer = client.get("/tournament")
    assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")
    assert "shows images that are withdrawn" in answer.text
    leave_tournament("image-2")
    assert client.get("/tournament").status_code == 200
    leave_tournament("image-2", "gone-from-the-data-set")
    assert client.get("/tournament").status_code == 404
    REPORT.write_text("<!doctype html><body>a gallery without a list")
    assert client.get("/tournament").status_code == 404
    shutil.rmtree(REPORT.parent)
    assert client.get("/tournament").status_code == 404


def test_it_says_that_parameters_have_changed_since(client):
    """Then its baseline is not params.yaml as it stands; a result that does not say what it was given says nothing."""
    leave_tournament("image-1")
    results = full_tournament()
    for given, said in (("", False), (digest_of_all_given(), False), ("0" * 64, True)):
        write_results(results.model_copy(update={"given": given}))
        assert ("This tournament is of before." in client.get("/tournament").text) == said


def test_the_list_of_photographs_is_read_back():
    """Any id, also one with bytes that are no text; None where there is no list."""
    ids = ["a/b", '"><b>', "bad \udcff name", "ä"]
    gallery = [dataclasses.replace(contested(["seam"], 1)[0], image_id=name) for name in ids]
    assert photographs_on(render_tournament(full_tournament(), gallery)) == ids
    assert photographs_on(render_tournament(full_tournament())) == []
    for text in ("", '<meta name="photographs" content="{">', '<meta name="photographs" content="3">'):
        assert photographs_on(text) is None


def test_a_file_of_any_bytes_is_an_answer(client):
    """Half a page, or no text at all, is no error of ours."""
    Path(REPORT).parent.mkdir(parents=True)
    for body in (b"", b"\xff\xfe\x00", b"<body><body>"):
        REPORT.write_bytes(body)
        assert client.get("/tournament").status_code == 200
