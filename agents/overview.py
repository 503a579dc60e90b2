"""The groups of a deployment as their replicas' rows show them. Pure: ages are arguments.

`videojam top` draws it; its JSON is these values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agents.state import FORMER_PEERS, Balance, ForecasterState, ReplicaState

SILENT_SECONDS = 3.0
"""A row that is older says nothing about the present; balancers leave its replica out likewise."""
FORGOTTEN_SECONDS = 600.0
"""A replica that has been silent for so long will not come back under its name."""
_RATE_SECONDS = 0.5
"""Rows that lie closer together say nothing about rates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A replica's newest row.

    Attributes:
        state: the row.
        age: seconds since it was published, by the clock of whoever watches.
        earlier: a row of the same process from some seconds before, for rates.
    """

    state: ReplicaState
    age: float
    earlier: ReplicaState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaView:
    """One replica. Counts are since its start, rates in items a second.

    Attributes:
        replica: its name.
        host: where it runs.
        pid: its process.
        alive: whether its row is recent; figures of one that is silent are from the past.
        age: of the row, seconds.
        partitions: those that it owns.
        rate: items processed, lately.
        busy: fraction of the time spent in the function.
        waiting: items in its queue.
        waiting_bytes: their bytes.
        in_function: items in the function.
        forecast: items that it expects to have in the next window.
        arrivals: from upstream, lately.
        coming: from upstream, forecast.
        mu: items a second that it can process; None while not known.
        service_seconds: mean time of the function per item.
        response_seconds: mean time from capture to the end of the function.
        processed: items.
        dropped: items, by reason; those shed are among them.
        shed: items dropped because the group lacks capacity.
        dead: dead letters.
        offloaded: items handed to peers.
        offloaded_bytes: their bytes.
        received: items taken over from peers.
        failed: items that could not be handed on.
        signals_sent: by kind.
        signals_heard: by kind.
        balancing: fraction of a core that balancing takes; see `agents.showing.Tally.spent`.
        forecaster: how it does, where it is watched.
    """

    replica: str
    host: str
    pid: int
    alive: bool
    age: float
    partitions: tuple[int, ...]
    rate: float
    busy: float
    waiting: int
    waiting_bytes: int
    in_function: int
    forecast: float | None
    arrivals: float | None
    coming: float | None
    mu: float | None
    service_seconds: float | None
    response_seconds: float | None
    processed: int
    dropped: Mapping[str, int]
    shed: int
    dead: int
    offloaded: int
    offloaded_bytes: int
    received: int
    failed: int
    signals_sent: Mapping[str, int]
    signals_heard: Mapping[str, int]
    balancing: float
    forecaster: ForecasterState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What one replica hands to another.

    Attributes:
        sender: the replica with more than its share.
        receiver: the one that takes it.
        quota: items under the sender's present policy.
        items: since the sender's start.
        rate: items a second, lately; None while two rows are not yet known.
        link_seconds: expected duration of a delivery.
        link_bytes_per_second: of the deliveries so far.
    """

    sender: str
    receiver: str
    quota: int
    items: int
    rate: float | None
    link_seconds: float | None = None
    link_bytes_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupView:
    """The replicas of one function. Sums are of those that are alive, but for the counts.

    Attributes:
        function: its name.
        policies: the balancers in force; more than one means that they do not agree.
        declared: replicas that `videojam up` would start.
        replicas: by name.
        flows: who hands how much to whom, the busiest first.
        alive: replicas whose rows are recent.
        arrivals: items a second from upstream.
        coming: the same, forecast; None where nobody forecasts.
        capacity: items a second that they can process: the sum of mu.
        load: fraction of the capacity that the arrivals take; None without a known capacity.
        rate: items a second processed.
        waiting: items in queues and functions.
        lag: records in Kafka that are not committed; None while not known.
        overloaded_seconds: how long the group has lacked capacity, None when it does not.
        processed: items.
        dropped: items.
        shed: items dropped for lack of capacity, among the dropped.
        dead: dead letters.
    """

    function: str
    policies: tuple[str, ...]
    declared: int
    replicas: tuple[ReplicaView, ...]
    flows: tuple[Flow, ...]
    alive: int
    arrivals: float
    coming: float | None
    capacity: float
    load: float | None
    rate: float
    waiting: int
    lag: int | None
    overloaded_seconds: float | None
    processed: int
    dropped: int
    shed: int
    dead: int
    version: int = field(default=1)


def overview(
    declared: Mapping[str, int], sightings: Sequence[Sighting], lag: Mapping[str, int]
) -> tuple[GroupView, ...]:
    """Every function with its replicas.

    Args:
        declared: replicas of each function, in the order to show.
        sightings: of all replicas; those of other functions are left out.
        lag: by function.
    """
    recent = [seen for seen in sightings if seen.age <= FORGOTTEN_SECONDS]
    return tuple(
        _group(
            function,
            count,
            [seen for seen in recent if seen.state.function == function],
            lag.get(function),
        )
        for function, count in declared.items()
    )


def _group(
    function: str, declared: int, sightings: Sequence[Sighting], lag: int | None
) -> GroupView:
    ordered = sorted(sightings, key=lambda seen: seen.state.replica)
    replicas = tuple(_replica(seen) for seen in ordered)
    alive = [view for view in replicas if view.alive]
    live = [seen for seen in ordered if seen.age <= SILENT_SECONDS]
    capacity = sum(view.mu or 0.0 for view in alive)
    arrivals = sum(view.arrivals or 0.0 for view in alive)
    coming = [view.coming for view in alive if view.coming is not None]
    overloads = [
        # by the replica's own clock, as both times are
        seen.state.at - balance.overloaded_since + seen.age
        for seen in live
        if (balance := seen.state.balance) is not None and balance.overloaded_since is not None
    ]
    return GroupView(
        function=function,
        policies=tuple(sorted({s.state.balance.policy for s in live if s.state.balance})),
        declared=declared,
        replicas=replicas,
        flows=_flows(live),
        alive=len(alive),
        arrivals=arrivals,
        coming=sum(coming) if coming else None,
        capacity=capacity,
        load=arrivals / capacity if capacity else None,
        rate=sum(view.rate for view in alive),
        waiting=sum(view.waiting + view.in_function for view in alive),
        lag=lag,
        overloaded_seconds=max(overloads, default=None),
        processed=sum(view.processed for view in replicas),
        dropped=sum(sum(view.dropped.values()) for view in replicas),
        shed=sum(view.shed for view in replicas),
        dead=sum(view.dead for view in replicas),
    )


def _replica(seen: Sighting) -> ReplicaView:
    state = seen.state
    balance = state.balance or Balance(policy="")
    row = balance.row
    unexplained = state.dropped - sum(balance.dropped.values())
    return ReplicaView(
        replica=state.replica,
        host=state.host,
        pid=state.pid,
        alive=seen.age <= SILENT_SECONDS,
        age=seen.age,
        partitions=state.partitions,
        rate=state.rate,
        busy=state.busy,
        waiting=state.queued,
        waiting_bytes=state.queued_bytes,
        in_function=0 if row is None else row.in_flight,
        forecast=balance.forecast,
        arrivals=balance.arrivals,
        coming=balance.coming,
        mu=row.mu if row is not None and row.mu > 0 else None,
        service_seconds=state.service_seconds,
        response_seconds=state.response_seconds,
        processed=state.processed,
        dropped={**balance.dropped, **({"unknown": unexplained} if unexplained > 0 else {})},
        shed=balance.shed,
        dead=state.dead,
        offloaded=sum(balance.offloaded.values()),
        offloaded_bytes=balance.offloaded_bytes,
        received=sum(balance.received.values()),
        failed=balance.failed,
        signals_sent=balance.signals_sent,
        signals_heard=balance.signals_heard,
        balancing=balance.busy,
        forecaster=balance.forecaster,
    )


def _flows(live: Sequence[Sighting]) -> tuple[Flow, ...]:
    flows = []
    for seen in live:
        balance = seen.state.balance
        if balance is None:
            continue
        rates = _rates(seen, balance)
        for receiver in sorted({*balance.offloaded, *balance.quotas} - {FORMER_PEERS}):
            link = balance.links.get(receiver)
            flows.append(
                Flow(
                    sender=seen.state.replica,
                    receiver=receiver,
                    quota=balance.quotas.get(receiver, 0),
                    items=balance.offloaded.get(receiver, 0),
                    rate=None if rates is None else rates.get(receiver, 0.0),
                    link_seconds=None if link is None else link.seconds,
                    link_bytes_per_second=None if link is None else link.bytes_per_second,
                )
            )
    flows.sort(key=lambda f: (-(f.rate or 0.0), -f.items, f.sender, f.receiver))
    return tuple(flows)


def _rates(seen: Sighting, balance: Balance) -> dict[str, float] | None:
    """Items a second to each peer between two rows of one process."""
    earlier = seen.earlier
    if earlier is None or earlier.balance is None:
        return None
    seconds = seen.state.at - earlier.at
    if seconds < _RATE_SECONDS:
        return None
    since = Counter(balance.offloaded)
    since.subtract(earlier.balance.offloaded)
    return {peer: max(0, items) / seconds for peer, items in since.items()}
