"""The replica's own queue between Kafka and the function: bounded, with a declared drop policy.

Pure: no lock, no clock. The engine guards it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Literal, TypeVar

T = TypeVar("T")


class WorkQueue(Generic[T]):
    """A queue bounded in items and bytes, oldest first.

    Items that come from a peer keep the place that their age gives them; otherwise an item that is
    handed on would start to wait again, and one that is handed on twice would starve.

    Args:
        max_items: most items waiting.
        max_bytes: most bytes waiting; a single larger item is still taken when nothing waits.
        when_full: ``drop-oldest`` evicts, ``block`` lets the caller ask `has_room` first.
        size_of: bytes of an item.
        since: time from which an item has waited; equal ones keep the order of arrival.
    """

    def __init__(
        self,
        *,
        max_items: int,
        max_bytes: int,
        when_full: Literal["drop-oldest", "block"],
        size_of: Callable[[T], int],
        since: Callable[[T], float] = lambda _: 0.0,
    ) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._drops = when_full == "drop-oldest"
        self._size_of = size_of
        self._since = since
        self._items: deque[T] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def bytes(self) -> int:
        """Bytes waiting."""
        return self._bytes

    def room(self) -> int:
        """How many more items may be offered before the queue is full; 0 when bytes are full."""
        if self._bytes >= self._max_bytes:
            return 0
        return max(0, self._max_items - len(self._items))

    def offer(self, item: T) -> list[T]:
        """Add an item.

        Returns:
            What had to go for it, oldest first. Always empty with ``block``: what has been fetched
            is kept, and the caller stops fetching while `room` is 0.
        """
        self._insert(item)
        self._bytes += self._size_of(item)
        evicted: list[T] = []
        if self._drops:
            while len(self._items) > self._max_items or (
                self._bytes > self._max_bytes and len(self._items) > 1
            ):
                evicted.append(self._pop())
        return evicted

    def __iter__(self) -> Iterator[T]:
        """What waits, oldest first."""
        return iter(self._items)

    def remove(self, places: Sequence[int]) -> list[T]:
        """Take out the items at these places, 0 being the oldest, in the order of ``places``."""
        if list(places) == list(range(len(places))):
            return [self._pop() for _ in places]
        items = list(self._items)
        taken = [items[place] for place in places]
        gone = set(places)
        self._items = deque(item for place, item in enumerate(items) if place not in gone)
        self._bytes -= sum(map(self._size_of, taken))
        return taken

    def discard(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Remove and return the items for which ``unwanted`` holds."""
        kept: deque[T] = deque()
        gone: list[T] = []
        for item in self._items:
            (gone if unwanted(item) else kept).append(item)
        self._items = kept
        self._bytes -= sum(map(self._size_of, gone))
        return gone

    def _insert(self, item: T) -> None:
        since, place = self._since(item), len(self._items)
        while place and self._since(self._items[place - 1]) > since:
            place -= 1
        self._items.insert(place, item)

    def _pop(self) -> T:
        item = self._items.popleft()
        self._bytes -= self._size_of(item)
        return item
