"""Who sends how much to whom: Eq 3.2, Eq 3.3 as corrected, and Algorithm 1 of the thesis.

Every replica computes the policy of the whole group from its table. Equal tables give equal
policies: ties are broken by name, and nothing is random.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from agents.balancing.values import Floats

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Transfer:
    """One pair of the policy.

    Attributes:
        sender: a replica with more than its share.
        receiver: one with less.
        items: how many, over the window.
        urgent: how many of them wait at the sender already, beyond its share of what waits.
    """

    sender: str
    receiver: str
    items: int
    urgent: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Policy:
    """The offloads of a group for one window. Immutable.

    Attributes:
        at: when it was computed, seconds.
        window: seconds that it is meant for.
        replicas: the known replicas, sorted by name.
        loads: int64[n], items at the start plus those forecast for the window (Eq 3.2).
        expected: int64[n], the load of each after the transfers.
        mus: float64[n], items a second.
    """

    at: float
    window: float
    replicas: tuple[str, ...]
    loads: Ints
    expected: Ints
    mus: Floats
    _senders: Ints = field(repr=False)
    _receivers: Ints = field(repr=False)
    _items: Ints = field(repr=False)
    _urgent: Ints = field(repr=False)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Transfer]:
        return map(self._transfer, range(len(self._items)))

    def sent_by(self, replica: str) -> tuple[Transfer, ...]:
        """What a replica sends; empty if it does not, or is unknown."""
        return self._where(self._senders, replica)

    def sent_to(self, replica: str) -> tuple[Transfer, ...]:
        """What a replica can expect, from its expected senders."""
        return self._where(self._receivers, replica)

    def expected_from(self, sender: str, receiver: str) -> int:
        """Items of one pair; 0 if it is none."""
        return sum(t.items for t in self.sent_to(receiver) if t.sender == sender)

    def load_of(self, replica: str) -> int | None:
        """Load of a replica before the transfers (Eq 3.2), None if it is unknown."""
        place = self._index.get(replica)
        return None if place is None else int(self.loads[place])

    def expected_load(self, replica: str) -> int | None:
        """Load of a replica after the transfers, None if it is unknown."""
        place = self._index.get(replica)
        return None if place is None else int(self.expected[place])

    @property
    def needed(self) -> float:
        """Items that the group has and expects in the window."""
        return float(self.loads.sum())

    @property
    def available(self) -> float:
        """Items that the group can process in the window."""
        return float(self.mus.sum()) * self.window

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.replicas)}

    def _where(self, side: Ints, replica: str) -> tuple[Transfer, ...]:
        place = self._index.get(replica)
        if place is None:
            return ()
        return tuple(map(self._transfer, np.flatnonzero(side == place)))

    def _transfer(self, place: int | np.intp) -> Transfer:
        return Transfer(
            self.replicas[self._senders[place]],
            self.replicas[self._receivers[place]],
            int(self._items[place]),
            int(self._urgent[place]),
        )


def compute_policy(
    *,
    at: float,
    window: float,
    replicas: Sequence[str],
    waiting: Sequence[float] | Floats,
    forecast: Sequence[float] | Floats,
    mus: Sequence[float] | Floats,
    least: int = 1,
    most: int | None = None,
    late: float = math.inf,
) -> Policy:
    """The policy of a group. O(N log N).

    Args:
        at: seconds.
        window: seconds that the forecast covers.
        replicas: names, each once.
        waiting: items waiting at each; not finite if unknown.
        forecast: arrivals at each in the window.
        mus: items a second of each; 0 or less if unknown.
        least: transfers of fewer items are not worth it and left out.
        most: items that a queue holds; what a fast replica has no room for goes to slower ones,
            late rather than lost. None where queues have no limit.
        late: how many times longer than the fastest one's full queue, in seconds, theirs may get.

    Returns:
        A policy without the replicas of which ``waiting``, ``forecast`` or ``mus`` is unknown.

    Raises:
        ValueError: the arguments differ in length.
    """
    queued = np.asarray(waiting, dtype=np.float64)
    coming = np.asarray(forecast, dtype=np.float64)
    rates = np.asarray(mus, dtype=np.float64)
    if not len(replicas) == len(queued) == len(coming) == len(rates):
        raise ValueError("replicas, waiting, forecast and mus differ in length")
    known = np.isfinite(queued) & np.isfinite(coming) & np.isfinite(rates) & (rates > 0)
    order = np.array(sorted(known.nonzero()[0].tolist(), key=replicas.__getitem__), dtype=np.int64)
    queued, coming, rates = np.maximum(queued[order], 0), np.maximum(coming[order], 0), rates[order]
    exact = queued + coming
    total = round(float(exact.sum()))
    loads = _apportion(exact, total)
    limits = None if most is None else _limits(rates, most, late)
    shares = _shares(rates, total, limits)
    surplus = loads - shares
    senders, receivers, items = _match(surplus)
    share = rates * (queued.sum() / (rates.sum() or 1.0))
    if limits is not None:
        share = np.minimum(share, limits)
    worth = items >= least
    senders, receivers, items = senders[worth], receivers[worth], items[worth]
    expected = loads.copy()
    np.subtract.at(expected, senders, items)
    np.add.at(expected, receivers, items)
    policy = Policy(
        at=at,
        window=window,
        replicas=tuple(replicas[place] for place in order.tolist()),
        loads=loads,
        expected=expected,
        mus=rates,
        _senders=senders,
        _receivers=receivers,
        _items=items,
        _urgent=_urgent(queued, share, surplus, senders, items),
    )
    for array in (policy.loads, policy.expected, policy.mus, senders, receivers, items):
        array.setflags(write=False)
    return policy


def _limits(rates: Floats, most: int, late: float) -> Ints:
    """Items that each may hold: no more than its queue does, nor than is done in good time.

    When the fastest is full, its queue is `most` / max(rates) seconds long; the others may be up to
    ``late`` times as long.
    """
    if not len(rates):
        return np.zeros(0, dtype=np.int64)
    fraction = np.minimum(1.0, late * rates / rates.max())
    limits: Ints = np.maximum(1, np.floor(most * fraction)).astype(np.int64)
    return limits


def _shares(rates: Floats, total: int, limits: Ints | None) -> Ints:
    """What each should have: in proportion to its rate, but no more than its limit.

    Where even that is not enough for everybody, all are full and the rest is in proportion again:
    somebody has to lose it.
    """
    shares = _apportion(rates, total)
    if limits is None or (shares <= limits).all():
        return shares
    rest = total - int(limits.sum())
    if rest >= 0:
        return limits + _apportion(rates, rest)
    order = (limits / rates).argsort(kind="stable")
    rising, bounds = rates[order], limits[order]
    remaining = rising[::-1].cumsum()[::-1]
    left = total - (bounds.cumsum() - bounds)
    # Who is full first is full; the first one that is not, and all after it, share what is left.
    full = int((left * rising <= bounds * remaining).argmax())
    shares[order[:full]] = bounds[:full]
    # Rounding may give one of them an item more than its limit.
    shares[order[full:]] = _apportion(rising[full:], int(left[full]))
    return shares


def _apportion(weights: Floats, total: int) -> Ints:
    """Whole numbers proportional to ``weights`` that sum to ``total``: largest remainders.

    Truncation would lose up to N-1 items. Ties go to the first.
    """
    mass = float(weights.sum())
    if mass <= 0 or total <= 0:
        return np.zeros(len(weights), dtype=np.int64)
    quota = weights * (total / mass)  # exact where the weights are whole and sum to the total
    whole = np.floor(quota)
    missing = total - int(whole.sum())
    ahead = (whole - quota).argsort(kind="stable")
    # Rounding errors of the quotas may leave more, or fewer, to hand out than there are remainders.
    whole += missing // len(weights)
    whole[ahead[: missing % len(weights)]] += 1
    return whole.astype(np.int64)


def _match(surplus: Ints) -> tuple[Ints, Ints, Ints]:
    """Algorithm 1: the most loaded sends to the least loaded until nothing is left.

    Laid end to end on one line, the surpluses (largest first) and the deficits (largest first)
    cover the same length; each stretch between two borders is one transfer. There are at most N-1:
    N borders, and the last is common to both.

    Returns:
        Places of senders and receivers, and items, all > 0.
    """
    order = (-surplus).argsort(kind="stable")
    senders = order[surplus[order] > 0]
    order = surplus.argsort(kind="stable")
    receivers = order[surplus[order] < 0]
    sent = surplus[senders].cumsum()
    taken = -surplus[receivers].cumsum()
    borders = np.concatenate((sent, taken))
    borders.sort()
    items = borders.copy()
    items[1:] -= borders[:-1]
    stretches = items > 0
    borders, items = borders[stretches], items[stretches]
    return senders[sent.searchsorted(borders)], receivers[taken.searchsorted(borders)], items


def _urgent(queued: Floats, share: Floats, surplus: Ints, senders: Ints, items: Ints) -> Ints:
    """How much of each transfer can leave at once, because it waits at the sender already.

    Args:
        queued: what waits at each.
        share: what should wait at each, of all that waits.
        surplus: what each has beyond its share, the forecast included.
        senders: place of the sender of each transfer.
        items: of each transfer.
    """
    if not len(senders):
        return np.zeros(0, dtype=np.int64)
    own = surplus[senders]
    beyond = np.minimum(np.maximum(queued[senders] - share[senders], 0), own)
    urgent: Ints = np.minimum(np.rint(items * (beyond / own)), items).astype(np.int64)
    urgent.setflags(write=False)
    return urgent
