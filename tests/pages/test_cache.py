"""The cache of the pages: values are made once, the least recently used goes first, and no value is larger than the room."""

from pages.cache import Cache


def test_a_value_is_made_once_and_the_least_recently_used_goes_first():
    """Reading a value makes it recent."""
    made: list[str] = []

    def make(name: str):
        return lambda: made.append(name) or name

    cache: Cache[str] = Cache(2)
    for name in ("a", "b", "a", "c", "a", "b"):
        assert cache.get(name, make(name)) == name
    assert made == ["a", "b", "c", "b"]


def test_room_is_counted_in_sizes():
    """Two values of 60 do not fit into 100; one of 101 is given, but not kept, and leaves the others."""
    cache: Cache[bytes] = Cache(100, size=len)
    cache.get("first", lambda: bytes(60))
    cache.get("second", lambda: bytes(60))
    assert cache.get("first", lambda: b"made again") == b"made again"
    assert len(cache.get("large", lambda: bytes(101))) == 101
    assert cache.get("large", lambda: b"made again") == b"made again"
    assert len(cache.get("second", lambda: b"")) == 60
