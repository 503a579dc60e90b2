"""Carries out a policy: which queued items go to whom now.

Quotas are paced over a part of the window. The newest items leave first, those from upstream before
those that come from neighbours, and never one that is in the function.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from agents.balancing.links import Line, Links
from agents.balancing.policy import Transfer
from agents.balancing.settings import BalancingSettings
from agents.balancing.values import Queue, Waiting

_ROUNDING = 1e-9
"""A pace that reaches a whole number up to rounding errors has reached it."""


@dataclass(slots=True)
class _Quota:
    items: int
    urgent: int
    started: float
    seconds: float
    credit: float
    """Fraction of an item that an earlier policy's pace had come to: pacing loses nothing."""
    sent: int = 0

    def allowed(self, now: float) -> float:
        """Items that may have been sent by now; grows up to all of them."""
        passed = min(1.0, max(0.0, (now - self.started) / self.seconds)) if self.seconds else 1.0
        paced = self.urgent + (self.items - self.urgent) * passed + self.credit
        return min(float(self.items), paced)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A peer as the gate sees it.

    Attributes:
        busy: items waiting there or in its function, those on their way included.
        mu: items a second.
    """

    busy: float
    mu: float


@dataclass(slots=True)
class _Way:
    busy: float
    mu: float
    line: Line

    def done(self, size: int, pending: int) -> float:
        """Seconds until an item of ``size`` bytes that leaves now, after those pending, is done.

        The peer goes on with what it has while the item is on its way.
        """
        way = self.line.seconds(size) + self.line.per_byte * pending
        return max(way, self.busy / self.mu) + 1 / self.mu


class Dispatcher:
    """Paces and gates the offloads of one replica.

    Args:
        settings: see there.
        links: how long deliveries take.
    """

    def __init__(self, settings: BalancingSettings, links: Links) -> None:
        self._settings = settings
        self._links = links
        self._quotas: dict[str, _Quota] = {}
        self._pending = 0
        self._budget = settings.bytes_per_second or math.inf
        self._budget_at: float | None = None

    @property
    def peers(self) -> tuple[str, ...]:
        """To whom something may still go under the current policy, sorted."""
        return tuple(sorted(p for p, quota in self._quotas.items() if quota.sent < quota.items))

    @property
    def pending_bytes(self) -> int:
        """Bytes sent and not yet acknowledged."""
        return self._pending

    def adopt(self, transfers: Iterable[Transfer], now: float, window: float) -> None:
        """Replace the policy, whole: quotas of peers that are not in the new one are gone.

        Args:
            transfers: those of which this replica is the sender.
            now: seconds.
            window: seconds that they are meant for.
        """
        left_over = {
            peer: min(1.0, max(0.0, quota.allowed(now) - quota.sent))
            for peer, quota in self._quotas.items()
        }
        self._quotas = {
            transfer.receiver: _Quota(
                items=transfer.items,
                urgent=transfer.urgent if self._settings.urgent else 0,
                started=now,
                seconds=window * self._settings.pace,
                credit=left_over.get(transfer.receiver, 0.0),
            )
            for transfer in transfers
        }

    def limit(self, peer: str, items: int) -> None:
        """A peer runs into congestion: it gets no more than it expects. Never raises a quota."""
        quota = self._quotas.get(peer)
        if quota is not None:
            quota.items = min(quota.items, max(items, quota.sent))
            quota.urgent = min(quota.urgent, quota.items)

    def acknowledged(self, size: int) -> None:
        """So many bytes have arrived, or come back."""
        self._pending = max(0, self._pending - size)

    def returned(self, peer: str, items: int) -> None:
        """Items could not be sent after all: they do not count against the quota."""
        quota = self._quotas.get(peer)
        if quota is not None:
            quota.sent = max(0, quota.sent - items)

    def due(
        self, now: float, queue: Queue, *, mu: float, peers: Mapping[str, Peer]
    ) -> dict[str, tuple[Hashable, ...]]:
        """What leaves now. The answer is taken to be carried out.

        Args:
            now: seconds.
            queue: what waits.
            mu: this replica's rate; 0 while unknown.
            peers: those that are alive; others get nothing, whatever their quota.

        Returns:
            Keys of items for each peer, in the order in which they should leave.
        """
        self._refill(now)
        room = {
            peer: room
            for peer, quota in self._quotas.items()
            if peer in peers and (room := self._room(quota, now)) > 0
        }
        if not room or not queue.waiting:
            return {}
        most = self._settings.most
        chosen: dict[str, list[Hashable]] = {}
        ways = {
            peer: _Way(peers[peer].busy, peers[peer].mu, self._links.line(now, peer))
            for peer in room
        }
        for place, item in self._candidates(queue, room, ways):
            if item.size > self._budget:
                continue
            local = (place + 1 + queue.in_flight) / mu if mu > 0 else math.inf
            if most is not None and place >= most:
                local = math.inf  # there is no room for it, or for one before it
            peer = self._best(item, room, ways, local)
            if peer is None:
                continue
            chosen.setdefault(peer, []).append(item.key)
            ways[peer].busy += 1
            room[peer] -= 1
            self._quotas[peer].sent += 1
            self._pending += item.size
            self._budget -= item.size
            if not room[peer]:
                del room[peer]
                if not room:
                    break
        return {peer: tuple(keys) for peer, keys in chosen.items()}

    @staticmethod
    def _room(quota: _Quota, now: float) -> int:
        return math.floor(quota.allowed(now) + _ROUNDING) - quota.sent

    def _candidates(
        self, queue: Queue, room: Mapping[str, int], ways: Mapping[str, _Way]
    ) -> Iterator[tuple[int, Waiting]]:
        """Places and items, first to leave first."""
        limit = self._settings.hop_limit
        newest = list(enumerate(queue.waiting))[::-1]
        upstream = [(place, item) for place, item in newest if not item.hops]
        again = [(place, item) for place, item in newest if 0 < item.hops < limit]
        if self._link_limits(upstream or again, room, ways):
            upstream.sort(key=lambda entry: entry[1].size)
            again.sort(key=lambda entry: entry[1].size)
        yield from upstream
        yield from again

    def _link_limits(
        self,
        candidates: list[tuple[int, Waiting]],
        room: Mapping[str, int],
        ways: Mapping[str, _Way],
    ) -> bool:
        """Whether bytes, and not items, are what the peers can take fewer of."""
        leaving = [item.size for _, item in candidates[: sum(room.values())]]
        if not leaving:
            return False
        if sum(leaving) > self._budget:
            return True
        mean = sum(leaving) / len(leaving)
        return all(ways[p].line.per_byte * mean * ways[p].mu > 1 for p in room)

    def _best(
        self, item: Waiting, room: Mapping[str, int], ways: Mapping[str, _Way], local: float
    ) -> str | None:
        """The peer where the item is done first, if that is early enough."""
        if not self._settings.link_aware:
            return max(sorted(room), key=room.__getitem__)
        done, best = min((ways[peer].done(item.size, self._pending), peer) for peer in room)
        settings = self._settings
        least = settings.gain + (settings.gain_fraction * local if math.isfinite(local) else 0.0)
        return best if done + least < local else None

    def _refill(self, now: float) -> None:
        limit = self._settings.bytes_per_second
        if limit is None:
            return
        if self._budget_at is not None:
            # At most a second's worth is saved up, so that a lull does not become a burst.
            self._budget = min(limit, self._budget + limit * max(0.0, now - self._budget_at))
        self._budget_at = now
