"""The balancers to compare with: ``none``, ``wrr`` and ``jsq`` (baselines "Baselines")."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from agents.balancing.actions import Actions, Offload
from agents.balancing.dispatcher import Peer
from agents.balancing.member import MemberBalancer
from agents.balancing.settings import BalancingSettings
from agents.balancing.signals import InformationRequest, Signal
from agents.balancing.values import Queue, Relayed, Row, Waiting

Oracle = Callable[[], Mapping[str, Peer]]
"""Every queue of the group as it is right now: only a simulation has one."""


class NoBalancing(MemberBalancer):
    """Each source stays at its replica. Also what the others below have in common."""

    def offloaded(self, now: float, sender: str, items: int, table: Sequence[Relayed]) -> Actions:
        """Accept."""
        self._member.offloaded(sender, items)
        self._member.heard_relayed(now, table)
        return ()

    def heard(self, now: float, row: Row) -> Actions:
        """Take the row."""
        self._member.heard(now, row)
        return ()

    def gone(self, now: float, replica: str) -> Actions:
        """Forget it."""
        self._member.gone(replica)
        return ()

    def signalled(self, now: float, signal: Signal) -> Actions:
        """Take its table; answer a request with a row, which everybody reads."""
        if signal.sender == self._me:
            return ()
        self._member.heard_relayed(now, signal.table)
        if isinstance(signal, InformationRequest) and signal.to in (None, self._me):
            return self._member.publish(now)
        return ()

    def delivered(self, now: float, peer: str, items: int, size: int, seconds: float) -> Actions:
        """Nothing to learn."""
        return ()

    def failed(self, now: float, peer: str, items: int, size: int) -> Actions:
        """The items are back in the queue, and stay."""
        self._member.returned(peer, items)
        return ()

    def tick(self, now: float, queue: Queue) -> Actions:
        """Publish the heartbeat."""
        self._member.queue = queue
        self._member.monitor.advance(now)
        return self._member.publish_if_due(now)

    def _offloads(self, targets: Sequence[tuple[str, Waiting]]) -> Actions:
        """One action a peer, items in order; what is for us, or for nobody known, stays."""
        keys: dict[str, list[Waiting]] = {}
        for peer, item in targets:
            if peer != self._me:
                keys.setdefault(peer, []).append(item)
        return tuple(
            Offload(peer=peer, partitions=row.partitions, keys=tuple(item.key for item in items))
            for peer, items in sorted(keys.items())
            if (row := self._member.table.row(peer)) is not None
        )


def intended_weights(mus: Mapping[str, float]) -> dict[str, float]:
    """Weights in proportion to the processing rates."""
    return dict(mus)


def original_weights(mus: Mapping[str, float]) -> dict[str, float]:
    """The original's: ``ceil(mu / mu_min) + 1``, which makes 2:3:4 of 1:2:3."""
    slowest = min(mus.values())
    return {name: float(math.ceil(mu / slowest) + 1) for name, mu in mus.items()}


class RoundRobin:
    """Interleaved weighted round robin: whoever is furthest behind its weight comes next.

    The smooth form: each turn adds its weight to everybody's credit, the largest credit wins (the
    larger weight, then the first name, on ties) and pays the sum. After each turn everybody has
    had its proportion, to within one item.

    Args:
        weights: > 0 each.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = dict(sorted(weights.items()))
        self._credit = dict.fromkeys(self._weights, 0.0)
        self._sum = sum(self._weights.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Who takes part, sorted."""
        return tuple(self._weights)

    def next(self) -> str:
        """Whose turn it is."""
        for name, weight in self._weights.items():
            self._credit[name] += weight
        chosen = max(self._weights, key=lambda name: (self._credit[name], self._weights[name]))
        self._credit[chosen] -= self._sum
        return chosen

    def drop(self, name: str) -> None:
        """It takes no more part."""
        self._credit.pop(name, None)
        self._sum -= self._weights.pop(name, 0.0)


class WeightedRoundRobin(NoBalancing):
    """Each item from upstream goes to whoever's turn it is, by weights that never change.

    Weights are the processing rates of self and neighbours as they are known ``warm_up`` seconds
    after the first item. Until then everybody's turn is equal: whoever gets nothing can measure
    nothing. A neighbour that is alive and has no rate by then gets the mean weight.
    Work that is queued is never moved.

    Args:
        replica: its name.
        incarnation: which life of it.
        now: seconds.
        settings: see there.
        warm_up: seconds.
        weigh: weights of rates: `intended_weights` or `original_weights`.
        keep_dead: whether a dead neighbour keeps its weight, and is sent to, as in the original.
    """

    def __init__(
        self,
        *,
        replica: str,
        incarnation: str,
        now: float,
        settings: BalancingSettings,
        warm_up: float = 5.0,
        weigh: Callable[[Mapping[str, float]], dict[str, float]] = intended_weights,
        keep_dead: bool = False,
    ) -> None:
        super().__init__(replica=replica, incarnation=incarnation, now=now, settings=settings)
        self._warm_up = warm_up
        self._measured_at: float | None = None
        self._weigh = weigh
        self._keep_dead = keep_dead
        self._turns: RoundRobin | None = None
        self._equal: RoundRobin | None = None

    def arrived(self, now: float, items: Sequence[Waiting]) -> Actions:
        """Deal them out."""
        super().arrived(now, items)
        turns = self._turns or self._warming_up(now)
        return self._offloads([(self._next(turns, now), item) for item in items])

    def _warming_up(self, now: float) -> RoundRobin:
        if self._measured_at is None:
            self._measured_at = now + self._warm_up
        own = self._member.mu(now)
        everybody = (self._me, *self._member.table.alive(now))
        if now >= self._measured_at and own:
            view = self._member.view(now)
            rates = dict(zip(view.replicas, view.mus.tolist(), strict=True))
            mean = sum(rates.values()) / len(rates)
            self._turns = RoundRobin(
                self._weigh({name: rates.get(name, mean) for name in everybody})
            )
            return self._turns
        if self._equal is None or self._equal.names != tuple(sorted(everybody)):
            self._equal = RoundRobin(dict.fromkeys(everybody, 1.0))
        return self._equal

    def _next(self, turns: RoundRobin, now: float) -> str:
        while True:
            chosen = turns.next()
            alive = chosen == self._me or chosen in self._member.table.alive(now)
            if alive or self._keep_dead:
                return chosen
            turns.drop(chosen)


class ShortestQueue(NoBalancing):
    """Each item from upstream goes where it is expected to be done first.

    Args:
        replica: its name.
        incarnation: which life of it.
        now: seconds.
        settings: see there.
        oracle: sees every queue as it is; without one, the freshest rows have to do, corrected by
            what was sent since.
    """

    def __init__(
        self,
        *,
        replica: str,
        incarnation: str,
        now: float,
        settings: BalancingSettings,
        oracle: Oracle | None = None,
    ) -> None:
        super().__init__(replica=replica, incarnation=incarnation, now=now, settings=settings)
        self._oracle = oracle

    def arrived(self, now: float, items: Sequence[Waiting]) -> Actions:
        """Send each where it is done first; it stays here if that is as good."""
        super().arrived(now, items)
        peers = self._peers(now)
        busy = {name: peer.busy for name, peer in peers.items()}
        targets = []
        for item in items:
            name = min(
                peers,
                key=lambda peer: ((busy[peer] + 1) / peers[peer].mu, peer != self._me, peer),
                default=self._me,
            )
            busy[name] = busy.get(name, 0.0) + 1
            targets.append((name, item))
        actions = self._offloads(targets)
        for action in actions:
            if isinstance(action, Offload):
                self._member.sent(now, action.peer, len(action.keys))
        return actions

    def _peers(self, now: float) -> dict[str, Peer]:
        """Everybody with a rate, without the items that are being placed."""
        if self._oracle is not None:
            return {name: peer for name, peer in self._oracle().items() if peer.mu > 0}
        view = self._member.view(now)
        return {
            name: Peer(busy=float(busy), mu=float(mu))
            for name, busy, mu in zip(view.replicas, view.busy, view.mus, strict=True)
            if mu > 0
        }
