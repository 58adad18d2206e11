"""Values that are made once and kept as long as there is room; the one that was asked for longest ago goes first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

V = TypeVar("V")


class Cache(Generic[V]):
    """Values by key.

    Args:
        room: how much is kept, in what `size` counts.
        size: of a value; by default each counts one.
    """

    def __init__(self, room: int, size: Callable[[V], int] = lambda value: 1) -> None:
        self._room, self._size = room, size
        self._held: OrderedDict[Hashable, V] = OrderedDict()
        self._used = 0
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of a key; made where it is not held. Two threads may make it at the same time: both are right."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        value = make()
        with self._lock:
            if key not in self._held:
                self._held[key] = value
                self._used += self._size(value)
                while self._used > self._room and len(self._held) > 1:
                    _, old = self._held.popitem(last=False)
                    self._used -= self._size(old)
        return value
