"""What a URL's query may wish of the images: read and written without loss, and anything else is no wish."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pages.image_query import HOURS, ORDERS, QUALITIES, STATES, VIEWS, Wishes
from pages.images_page import page_numbers

TEXTS = st.text(max_size=30)
PER_CENT = st.none() | st.integers(0, 100).map(float)
WISHES = st.builds(
    Wishes,
    q=TEXTS,
    tag=TEXTS,
    state=st.sampled_from(sorted(STATES)),
    since=TEXTS,
    of=TEXTS,
    quality=st.sampled_from(sorted(QUALITIES)),
    low=PER_CENT,
    high=PER_CENT,
    order=st.sampled_from(sorted(ORDERS)),
    view=st.sampled_from(sorted(VIEWS)),
    page=st.integers(1, 10_000_000),
)


@settings(deadline=None)
@given(wishes=WISHES)
def test_a_query_says_the_same_wishes(wishes):
    """Written into an address and read again: nothing is lost, and nothing of it leaves its place in the address."""
    query = wishes.query()
    assert Wishes.from_query(dict(parse_qsl(query, keep_blank_values=True))) == wishes
    assert not set(query) & set("<>\"' #")


@settings(deadline=None)
@given(query=st.dictionaries(st.sampled_from([*Wishes.__dataclass_fields__, "other"]), st.text(max_size=300)))
def test_any_query_is_read(query):
    """Nonsense means no wish: each value is one that the page knows, or text that stays a value."""
    wishes = Wishes.from_query(query)
    assert wishes.state in STATES
    assert wishes.quality in QUALITIES
    assert wishes.order in ORDERS
    assert wishes.page >= 1
    assert all(bound is None or 0 <= bound <= 100 for bound in (wishes.low, wishes.high))
    assert max(len(wishes.q), len(wishes.tag), len(wishes.since), len(wishes.of)) <= 200


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "101", "1e9", "", "x", "٣"])
def test_a_bound_that_is_no_per_cent_is_no_bound(text):
    """Or one that only looks like it: an Arabic three is a number to Python, and 3 % here too."""
    assert Wishes.from_query({"low": text}).low == (3.0 if text == "٣" else None)


@pytest.mark.parametrize("text", ["0", "-3", "x", "²", "9" * 30])
def test_a_page_that_is_no_number_is_the_first(text):
    assert Wishes.from_query({"page": text}).page == 1


def test_since_is_a_time_or_a_model():
    """Hours are counted back from now; any other text is a model's name."""
    now = datetime(2026, 1, 8, tzinfo=UTC)
    week = Wishes(since="7d")
    assert (week.after(now), week.model) == (round((now - timedelta(days=7)).timestamp() * 1000), "")
    assert Wishes(since="segmenter@3").model == "segmenter@3"
    assert Wishes(since="24h", of="3").model == "3"
    assert set(HOURS) == {"24h", "7d", "30d"}


@settings(deadline=None)
@given(pages=st.integers(1, 3000), data=st.data())
def test_page_numbers_lead_everywhere(pages, data):
    """First, last, this one and its neighbours, ascending; a gap (0) only where numbers are left out."""
    page = data.draw(st.integers(1, pages))
    numbers = page_numbers(page, pages)
    shown = [n for n in numbers if n]
    assert {1, page, pages, max(1, page - 1), min(pages, page + 1)} <= set(shown)
    assert shown == sorted(set(shown))
    assert len(numbers) <= 9
    for before, gap, after in zip(numbers, numbers[1:], numbers[2:], strict=False):
        assert gap or after - before > 1
