"""Pages of many images ask no more queries, read no more rows and send no more bytes than pages of few."""

from collections import Counter
from collections.abc import Iterator

import pytest

from benchmarks.pages import PAGES, make_project, visit
from lineage.lookup import Lookup
from pages.image_query import PER_PAGE
from pages.snapshot import Snapshot

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*httpx.*:DeprecationWarning"),  # Starlette's own, about its test client
]
FEW, MANY = 2_000, 20_000
BYTES = 100_000
"""Of any page."""
ROWS = 3 * PER_PAGE
"""Of all queries of a page: at most two grids (a model's masks, and those that changed) and a few more."""


@pytest.fixture
def asked(monkeypatch) -> Iterator[Counter[str]]:
    """Queries of the snapshot and of the ledger, the rows that they gave, and snapshots that were made."""
    counts: Counter[str] = Counter()

    def counted(kind: type, name: str) -> None:
        original = getattr(kind, name)

        def method(*args, **kwargs):
            result = original(*args, **kwargs)
            counts["queries"] += 1
            counts["rows"] += getattr(result, "num_rows", None) or (len(result) if isinstance(result, list) else 1)
            return result

        monkeypatch.setattr(kind, name, method)

    for kind, names in ((Snapshot, ("rows", "_number", "_counts")), (Lookup, ("rows", "training"))):
        for name in names:
            counted(kind, name)
    made = Snapshot.__init__
    monkeypatch.setattr(Snapshot, "__init__", lambda *args: (counts.update(snapshots=1), made(*args))[1])
    return counts


def cost_of_pages(images: int, asked: Counter[str]) -> dict[str, tuple[int, int, int]]:
    """Name of a page → queries, rows and bytes, when it is asked for the second time."""
    make_project(images, 2)
    costs = {}
    with visit() as client:
        for name, address in PAGES.items():
            address = address.replace("page=800", f"page={images // PER_PAGE // 2}")
            assert client.get(address).status_code == 200, name
            asked["queries"] = asked["rows"] = 0
            size = len(client.get(address).content)
            costs[name] = (asked["queries"], asked["rows"], size)
        assert client.get("/images?page=3").text.count('class="cell"') == PER_PAGE
        assert f"{images:,}" in client.get("/images").text
        quarantined = " ".join(client.get("/images?state=quarantined").text.split())
        assert f"{images // 997} of {images:,}" in quarantined
    return costs


def test_pages_of_many_images_cost_what_pages_of_few_do(tmp_path, monkeypatch, asked):
    """Ten times the images: the same queries, as many rows as fit on a page, and one table that is made once."""
    costs = []
    for images in (FEW, MANY):
        folder = tmp_path / str(images)
        folder.mkdir()
        monkeypatch.chdir(folder)
        asked["snapshots"] = 0
        costs.append(cost_of_pages(images, asked))
        assert asked["snapshots"] == 1
    few, many = costs
    assert {name: cost[0] for name, cost in many.items()} == {name: cost[0] for name, cost in few.items()}
    assert {name: cost for name, cost in many.items() if cost[1] > ROWS or cost[2] > BYTES} == {}
