"""Pages of a hundred thousand images: no longer, and no more to send, than those of a hundred."""

import pytest

from benchmarks.pages import LIMIT_MS, ask, make_project, visit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*httpx.*:DeprecationWarning"),  # Starlette's own, about its test client
]


def test_every_page_of_a_hundred_thousand_images_is_quick(tmp_path, monkeypatch):
    """In processor time, which a busy machine does not stretch as it does the clock, nor a throttled one; at most 60 a page."""
    monkeypatch.chdir(tmp_path)
    make_project(100_000, 2)
    with visit() as client:
        found = ask(client)
        assert {name: page for name, page in found.items() if page.processor_ms > LIMIT_MS * page.slowness} == {}
        assert {name: page for name, page in found.items() if page.size > 100_000} == {}
        assert client.get("/images?page=800").text.count('class="cell"') == 60
        assert "100,000" in client.get("/images").text
        assert "100 of 100,000" in " ".join(client.get("/images?state=quarantined").text.split())
