"""The query of a grid of images: read from a URL and written without loss; unknown values fall back to the defaults."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pages.image_query import HOURS, ORDERS, QUALITIES, STATES, VIEWS, ImageQuery
from pages.images_page import page_numbers

TEXTS = st.text(max_size=30)
PER_CENT = st.none() | st.integers(0, 100).map(float)
QUERIES = st.builds(
    ImageQuery,
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
@given(image_query=QUERIES)
def test_a_query_survives_its_url(image_query):
    """Written into an address and read again: nothing is lost, and nothing of it leaves its place in the address."""
    query = image_query.to_url()
    assert ImageQuery.from_query(dict(parse_qsl(query, keep_blank_values=True))) == image_query
    assert not set(query) & set("<>\"' #")


@settings(deadline=None)
@given(query=st.dictionaries(st.sampled_from([*ImageQuery.__dataclass_fields__, "other"]), st.text(max_size=300)))
def test_any_query_is_read(query):
    """Nonsense means the default: each value is one that the page knows, or text that stays a value."""
    image_query = ImageQuery.from_query(query)
    assert image_query.state in STATES
    assert image_query.quality in QUALITIES
    assert image_query.order in ORDERS
    assert image_query.page >= 1
    assert all(bound is None or 0 <= bound <= 100 for bound in (image_query.low, image_query.high))
    assert max(len(image_query.q), len(image_query.tag), len(image_query.since), len(image_query.of)) <= 200


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "101", "1e9", "", "x", "٣"])
def test_a_bound_that_is_no_per_cent_is_no_bound(text):
    """Or one that only looks like it: an Arabic three is a number to Python, and 3 % here too."""
    assert ImageQuery.from_query({"low": text}).low == (3.0 if text == "٣" else None)


@pytest.mark.parametrize("text", ["0", "-3", "x", "²", "9" * 30])
def test_a_page_that_is_no_number_is_the_first(text):
    assert ImageQuery.from_query({"page": text}).page == 1


def test_since_is_a_time_or_a_model():
    """Hours are counted back from now; any other text is a model's name."""
    now = datetime(2026, 1, 8, tzinfo=UTC)
    week = ImageQuery(since="7d")
    assert (week.after(now), week.model) == (round((now - timedelta(days=7)).timestamp() * 1000), "")
    assert ImageQuery(since="segmenter@3").model == "segmenter@3"
    assert ImageQuery(since="24h", of="3").model == "3"
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
