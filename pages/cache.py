"""A bounded cache of values that are slow to make; the least recently used goes first."""

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

from cachetools import LRUCache

V = TypeVar("V")


class Cache(Generic[V]):
    """Values by key, for several threads.

    Args:
        room: how much is kept, in what `size` counts. A value larger than that is not kept.
        size: of a value; by default each counts one.
    """

    def __init__(self, room: int, size: Callable[[V], int] = lambda value: 1) -> None:
        self._values: LRUCache[Hashable, V] = LRUCache(room, getsizeof=size)
        self._room, self._size, self._lock = room, size, Lock()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of a key; made if it is not kept. Two threads may make it at the same time; one value is kept."""
        with self._lock:
            if key in self._values:
                return self._values[key]
        value = make()
        with self._lock:
            if self._size(value) <= self._room:
                self._values.setdefault(key, value)
        return value
