"""What is withdrawn is on no page, from the moment of the withdrawal on."""

import os
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from recorded_pages import client, line, made
from visiting import project, visit

from labelfactory.dataset.manifest import read_manifest, write_manifest
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


def test_a_withdrawn_image_is_in_no_list_at_once(line, monkeypatch):
    """Neither in the grid and its counts, nor as a neighbour."""
    monkeypatch.setattr("pages.project.STAMP_SECONDS", 1e9)
    pages = project()
    with visit(pages) as client:
        assert "image-1" in client.get("/images").text
        before = pages.images().count
        withdraw("image-1")
        assert "image-1" not in client.get("/images").text
        assert "image-1" not in client.get("/image?id=image-2").text
        assert "image-1" not in client.get("/image?id=image-0").text
        assert pages.images().count == before - 1


def test_a_report_that_shows_a_withdrawn_photograph_is_not_shown(line, client):
    """Only the report that was made of the data set on disk is known to be without it: no time of a file and no word says so."""
    report, old = Path("data/evaluation/report.html"), "<!doctype html><body>a gallery"
    report.write_text(old)
    line.commit()
    assert client.get("/report").status_code == 200
    withdraw("image-1")
    os.utime(report, (time.time() + 60, time.time() + 60))
    assert "shows images that are withdrawn" in client.get("/report").text
    entries = [entry for entry in read_manifest().entries if entry.image_id != "image-1"]
    write_manifest(replace(read_manifest(), entries=tuple(entries)))
    line.prepare()
    assert client.get("/report").status_code == 404
    report.write_text("<!doctype html><body>another gallery")
    assert client.get("/report").status_code == 404
    line.commit()
    assert client.get("/report").status_code == 200
    report.write_text(old)  # from a backup
    assert client.get("/report").status_code == 404


def test_a_withdrawn_photograph_is_gone_where_the_ledger_is_missing(line, client):
    """The project remembers it outside of the ledger."""
    withdraw("image-1")
    withdrawn()
    shutil.rmtree("data/ledger")
    assert client.get("/picture/photo?id=image-1").status_code == 404
    assert client.get("/picture/photo?id=image-2").status_code == 200
