"""What a replica shows of its balancing: the part of its row that people and metrics read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from agents.balancing import Balancer, VideoJam
from agents.spent import Spent
from agents.state import FORMER_PEERS, Balance, ForecasterState, LinkState


@dataclass(slots=True)
class Tally:
    """What balancing has done since the start."""

    offloaded: Counter[str] = field(default_factory=Counter)
    """Items sent, by peer."""
    offloaded_bytes: int = 0
    received: Counter[str] = field(default_factory=Counter)
    """Items taken over, by peer."""
    failed: int = 0
    """Items that could not be sent and are back."""
    shed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Items dropped, by reason."""
    rows: int = 0
    """Rows published."""
    signals_sent: Counter[str] = field(default_factory=Counter)
    """By kind."""
    signals_heard: Counter[str] = field(default_factory=Counter)
    """By kind."""
    spent: Spent = field(default_factory=Spent)
    """Processor time of the replica's own threads for hearing peers, with the delivery reports that
    are served meanwhile, for deciding, and for sending rows, signals and items to peers. Not in it
    are the Kafka client's threads, and fetching the items that peers send."""

    def knows(self, peer: str) -> bool:
        """Whether anything went to it or came from it."""
        return peer in self.offloaded or peer in self.received

    def part_from(self, peer: str) -> None:
        """A peer is gone: what went to it and came from it counts with that of all former ones."""
        for items in (self.offloaded, self.received):
            if peer in items:
                items[FORMER_PEERS] += items.pop(peer)


def describe_balance(
    balancer: Balancer,
    tally: Tally,
    *,
    now: float,
    policy: str,
    replica: str,
    overloaded_since: float | None,
    alive_seconds: float,
    drift: Callable[[], ForecasterState] | None = None,
    with_row: bool = False,
) -> Balance:
    """All that a balancer shows; called with the hand's lock held.

    Args:
        balancer: what it knows.
        tally: what was done.
        now: seconds.
        policy: the balancer's name.
        replica: whose.
        overloaded_since: when the group began to lack capacity; None when it does not.
        alive_seconds: since the start.
        drift: how the forecaster does.
        with_row: whether the row of this moment is in it.
    """
    member = balancer.member
    common = balancer.policy if isinstance(balancer, VideoJam) else None
    return Balance(
        policy=policy,
        row=member.row(now) if with_row else None,
        forecast=None if common is None else common.load_of(replica),
        arrivals=member.monitor.arrivals(member.settings.slots),
        coming=balancer.coming if isinstance(balancer, VideoJam) else None,
        quotas={} if common is None else {t.receiver: t.items for t in common.sent_by(replica)},
        offloaded=dict(tally.offloaded),
        offloaded_bytes=tally.offloaded_bytes,
        received=dict(tally.received),
        failed=tally.failed,
        links=_links(balancer, now),
        dropped=dict(tally.dropped),
        shed=tally.shed,
        signals_sent=dict(tally.signals_sent),
        signals_heard=dict(tally.signals_heard),
        overloaded_since=overloaded_since,
        busy=round(tally.spent.seconds / max(1.0, alive_seconds), 5),
        rows=tally.rows,
        forecaster=None if drift is None else drift(),
    )


def _links(balancer: Balancer, now: float) -> dict[str, LinkState]:
    if not isinstance(balancer, VideoJam):
        return {}
    links, size = balancer.links, balancer.member.monitor.item_bytes
    return {
        peer: LinkState(
            seconds=round(links.line(now, peer).seconds(size), 5),
            bytes_per_second=round(links.throughput(peer)),
        )
        for peer in links.peers
    }
