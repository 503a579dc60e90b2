"""Which instance takes the next request. Pure: times are arguments.

Weighted round robin with credit: each request gives every instance credit for its share of the
items, which is in proportion to its speed times its weight, and the one that takes the request
pays for all of them. The next is the instance that would have come up to its share the soonest,
were what it has in flight and the new request to be served at its speed. So shares hold however
few requests there are at a time, and one whose answers are outstanding is put off.

An instance that fails is under suspicion for a while. After that one request tries it, and all
others wait for what comes of that (a circuit breaker, half open): a server that is just coming up
is not met by all that has piled up, and an outage counts as one failure for each time it is tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from dataflow.backoff import doubled

_SMOOTHING = 0.2
"""Weight of the newest measurement of an instance's speed."""
_SAMPLES = 3
"""Measurements until one's own count more than what the placement expects."""
_OLD_SECONDS = 30.0
"""After so long without a measurement the placement's expectation counts again."""
_FIRST_SUSPICION = 0.25
_YOUNG_SUSPICION = 1.0
_LONGEST_SUSPICION = 5.0
_YOUNG_SECONDS = 30.0
"""For so long after it failed first, an instance is tried at least every second: one whose server
is started again is back by then. Only after that is it taken for one that stays away."""
_LEAST_WEIGHT = 1e-3
"""An instance of weight 0 still takes requests where there is no other."""

_MOST_CREDIT = 256.0
"""Items; what was missed or had in excess long ago is forgotten."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An instance that is ready.

    Attributes:
        id: its name to its server.
        url: where that is.
        batch: largest batch that it takes.
        speed: items a second that it is expected to serve; 0 where nobody knows.
        weight: part of its speed that clients give it.
    """

    id: str
    url: str
    batch: int = 1
    speed: float = 0.0
    weight: float = 1.0


@dataclass
class _Taken:
    """Items of ours that an instance has. It outlives what else is known of the instance."""

    items: int = 0


class _Known:
    """What this client has seen of an instance."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.credit = 0.0
        self.taken = _Taken()
        self.cost: float | None = None
        self.samples = 0
        self.measured_at = -float("inf")
        self.failures = 0
        self.failing_since = 0.0
        self.suspect_until = -float("inf")
        self.on_trial = False
        """Whether a request tries it after suspicion; the others wait for the outcome."""

    def is_open(self, now: float) -> bool:
        """Whether it may be given a request."""
        return now >= self.suspect_until and not self.on_trial

    def measured(self, now: float) -> float | None:
        """Seconds for an item, as measured; None where that says nothing about now."""
        trusted = self.samples >= _SAMPLES and now - self.measured_at <= _OLD_SECONDS
        return self.cost if trusted else None

    def expected(self) -> float | None:
        """Seconds for an item, as placed."""
        return 1.0 / self.candidate.speed if self.candidate.speed > 0 else None


@dataclass(frozen=True, kw_only=True)
class Sending:
    """A request that an instance was chosen for, until its outcome is told.

    Attributes:
        candidate: the instance.
        items: of the request.
        ahead: items of ours that it has now, those of the request among them.
        trial: whether it tries an instance that was under suspicion: others wait for its outcome.
    """

    candidate: Candidate
    items: int
    ahead: int
    trial: bool
    known: _Known = field(repr=False)


class Spreader:
    """Spreads requests over the instances of one model.

    Each `Sending` that `choose` gives out is handed back once, to `succeeded`, `failed` or
    `refused`: until then its items count as in flight.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._leaving: dict[tuple[str, str], _Known] = {}
        """No longer ready, but with requests of ours."""

    def update(self, candidates: Iterable[Candidate]) -> None:
        """These are ready now. What is known of one that stays, stays."""
        before, self._known = self._known, {}
        for candidate in candidates:
            known = before.get(candidate.id)
            if known is None or known.candidate.url != candidate.url:
                known = _Known(candidate)
                left = self._leaving.pop((candidate.id, candidate.url), None)
                # Nothing is held against one that is called ready anew; but it has what it has.
                known.taken = _Taken() if left is None else left.taken
            known.candidate = candidate
            self._known[candidate.id] = known
        kept = set(map(id, self._known.values()))
        for known in before.values():
            if id(known) not in kept and known.taken.items:
                self._leaving[known.candidate.id, known.candidate.url] = known
        self._forget_left()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Those that are ready."""
        return tuple(known.candidate for known in self._known.values())

    def fits(self, items: int) -> bool:
        """Whether an instance that is ready takes so many at once; also where none is ready."""
        return not self._known or any(k.candidate.batch >= items for k in self._known.values())

    def choose(
        self, items: int, now: float, without: frozenset[str] = frozenset()
    ) -> Sending | None:
        """The instance that should take a request, and note it as begun there.

        Args:
            items: of the request; only instances that take so many at once are looked at.
            now: the time, seconds.
            without: instances that have had it already.

        Returns:
            None where no other is ready that is not under suspicion or being tried after it.
        """
        open_to = [
            known
            for name, known in self._known.items()
            if name not in without and known.candidate.batch >= items and known.is_open(now)
        ]
        if not open_to:
            return None
        shares = self._shares(open_to, now)
        for known, share in zip(open_to, shares, strict=True):
            known.credit = min(known.credit + share * items, _MOST_CREDIT)
        chosen, _ = min(
            zip(open_to, shares, strict=True),
            key=lambda pair: (
                (pair[0].taken.items + items - pair[0].credit) / pair[1],
                pair[0].candidate.id,
            ),
        )
        chosen.credit = max(chosen.credit - items, -_MOST_CREDIT)
        chosen.taken.items += items
        chosen.on_trial = chosen.failures > 0
        return Sending(
            candidate=chosen.candidate,
            items=items,
            ahead=chosen.taken.items,
            trial=chosen.on_trial,
            known=chosen,
        )

    def _shares(self, among: Sequence[_Known], now: float) -> list[float]:
        """Parts of the items that instances should get; their sum is 1."""
        typical = self._typical(now)
        speeds = [
            max(known.candidate.weight, _LEAST_WEIGHT)
            / (known.measured(now) or known.expected() or typical)
            for known in among
        ]
        total = sum(speeds)
        return [speed / total for speed in speeds]

    def succeeded(self, sending: Sending, seconds: float | None, now: float) -> None:
        """A request was answered.

        Args:
            sending: which one.
            seconds: until the answer; None where that says nothing about the instance's speed.
            now: the time, seconds.
        """
        known = self._hand_back(sending)
        known.failures, known.suspect_until, known.on_trial = 0, -float("inf"), False
        if seconds is None:
            return
        cost = seconds / max(sending.ahead, 1)
        known.cost = cost if known.cost is None else known.cost + _SMOOTHING * (cost - known.cost)
        known.samples += 1
        known.measured_at = now

    def failed(self, sending: Sending, now: float) -> None:
        """A request was not answered, or with an error: others are preferred for a while."""
        known = self._hand_back(sending)
        if not known.failures:
            known.failing_since = now
        elif not sending.trial:
            return  # it was under way when the instance failed: the same outage
        known.failures += 1
        young = now - known.failing_since < _YOUNG_SECONDS
        longest = _YOUNG_SUSPICION if young else _LONGEST_SUSPICION
        known.suspect_until = now + doubled(_FIRST_SUSPICION, longest, known.failures - 1)

    def refused(self, sending: Sending) -> None:
        """A request was the sender's fault, or none: that says nothing about the instance."""
        self._hand_back(sending)

    def next_chance(self, now: float, items: int = 0) -> float | None:
        """Seconds until an instance may be given a request again.

        Args:
            now: the time, seconds.
            items: that it has to take at once.

        Returns:
            None where no time can be told: none is ready, or those that are, are being tried.
        """
        until = [
            known.suspect_until
            for known in self._known.values()
            if known.candidate.batch >= items and not known.on_trial
        ]
        return max(0.0, min(until) - now) if until else None

    def _hand_back(self, sending: Sending) -> _Known:
        sending.known.taken.items -= sending.items
        if sending.trial:
            sending.known.on_trial = False
        self._forget_left()
        return sending.known

    def _forget_left(self) -> None:
        self._leaving = {key: known for key, known in self._leaving.items() if known.taken.items}

    def _typical(self, now: float) -> float:
        """Seconds for an item where nothing is known: as the others take."""
        costs = [
            cost
            for known in self._known.values()
            if (cost := known.measured(now) or known.expected()) is not None
        ]
        return median(costs) if costs else 1.0
