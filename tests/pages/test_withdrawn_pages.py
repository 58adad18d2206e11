"""What is withdrawn is on no page, from the moment of the withdrawal on."""

import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from test_pages import client, line, made, project
from visiting import visit

from labelfactory.dataset.prepared import read_dataset
from labelfactory.dataset.withdrawn import withdrawn
from lineage.ledger import Ledger, events_table

__all__ = ["client", "line", "made"]
pytestmark = pytest.mark.filterwarnings("ignore:.*httpx.*:DeprecationWarning")  # Starlette's own, about its test client
PICTURES = ("photo", "plain", "thumb", "mask", "walk-1")


def withdraw(image_id: str) -> None:
    """What `labelfactory withdraw` writes before anything else: the event in the ledger."""
    ledger, now = Ledger(), datetime.now(UTC).replace(microsecond=0)
    photographs = {r.image_id: r.sha256 for r in read_dataset().records if r.image_id == image_id}
    detail = {"images": [image_id], "photographs": photographs, "models": [], "by": "", "reason": ""}
    with ledger.locked():
        ledger.append("events", events_table([("withdrawn", "0" * 64, detail, now)]))


def test_a_withdrawn_photograph_is_gone_at_once(line, monkeypatch):
    """Also before the pages have read the images again, though its pictures and the explanation of a pixel are in memory."""
    monkeypatch.setattr("pages.project.STAMP_SECONDS", 1e9)
    addresses = ["/image?id=image-1", "/image/pixel?id=image-1&x=1&y=1", "/diff/picture?a=1&b=now&id=image-1&side=a"]
    addresses += [f"/picture/{name}?id=image-1" for name in PICTURES]
    with visit(project()) as client:
        tags = {}
        for address in addresses:
            answer = client.get(address)
            assert answer.status_code == 200, address
            tags[address] = answer.headers.get("etag", "")
        withdraw("image-1")
        for address in addresses:
            answer = client.get(address, headers={"if-none-match": tags[address]})
            assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store"), address
        assert client.get("/picture/photo?id=image-2").status_code == 200


def test_a_report_that_shows_a_withdrawn_photograph_is_not_shown(line, client):
    """One of before the withdrawal, and one that names the image; a later one is."""
    report = Path("data/evaluation/report.html")
    report.write_text("<!doctype html><body>a gallery")
    os.utime(report, (time.time() - 60, time.time() - 60))
    assert client.get("/report").status_code == 200
    withdraw("image-1")
    assert "shows images that are withdrawn" in client.get("/report").text
    report.write_text("<!doctype html><body>a gallery with <b>image-1</b>")
    os.utime(report, (time.time() + 60, time.time() + 60))
    assert client.get("/report").status_code == 404
    report.write_text("<!doctype html><body>a gallery")
    os.utime(report, (time.time() + 60, time.time() + 60))
    assert client.get("/report").status_code == 200


def test_a_withdrawn_photograph_is_gone_where_the_ledger_is_missing(line, client):
    """The project remembers it outside of the ledger."""
    withdraw("image-1")
    withdrawn()
    shutil.rmtree("data/ledger")
    assert client.get("/picture/photo?id=image-1").status_code == 404
    assert client.get("/picture/photo?id=image-2").status_code == 200
