"""What is on its way to a peer: sent, and not yet counted in a row of its.

A row counts the items that its replica has ever taken over from each peer. The difference to what
was sent is exact whatever the delays; guessing it from times makes replicas send twice what is
still on its way as soon as the broker is slower than usual.
"""

from __future__ import annotations

from collections import deque

from agents.balancing.values import Row

_LOST_SECONDS = 5.0
"""What has not been counted by then is taken to be elsewhere: the partition has another owner."""


class Transit:
    """Items on their way from one replica to one peer.

    Args:
        sender: the replica that sends.
    """

    def __init__(self, sender: str) -> None:
        self._sender = sender
        self._incarnation: str | None = None
        self._counted = 0
        self._sent: deque[tuple[float, int]] = deque()
        self._given_up = 0

    def sent(self, now: float, items: int) -> None:
        """Items have left."""
        self._sent.append((now, items))

    def returned(self, items: int) -> None:
        """Items could not be delivered: the last ones."""
        while items and self._sent:
            at, last = self._sent.pop()
            if last > items:
                self._sent.append((at, last - items))
            items = max(0, items - last)

    def heard(self, row: Row) -> None:
        """The peer has published a row."""
        total = row.received.get(self._sender, 0)
        if row.incarnation != self._incarnation:
            # Another life: what was sent to the one before may be anywhere.
            self._incarnation, self._counted, self._given_up = row.incarnation, total, 0
            self._sent.clear()
            return
        news = max(0, total - self._counted)
        self._counted = total
        late = min(news, self._given_up)
        self._given_up -= late
        self._take(news - late)

    def on_its_way(self, now: float) -> int:
        """Items."""
        while self._sent and self._sent[0][0] < now - _LOST_SECONDS:
            self._given_up += self._sent.popleft()[1]
        return sum(items for _, items in self._sent)

    def _take(self, items: int) -> None:
        while items > 0 and self._sent:
            at, first = self._sent.popleft()
            if first > items:
                self._sent.appendleft((at, first - items))
            items -= first
