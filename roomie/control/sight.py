"""What a controller shows of itself: numbers for metrics, taken under a lock."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from roomie.control.book import Step
from roomie.control.core import Core
from roomie.control.records import PlacedInstance, WorkerReport


@dataclass(frozen=True, kw_only=True)
class Glance:
    """A controller at one moment.

    Attributes:
        active: whether it decides.
        terms: how often it has begun to.
        events: what happened, by kind of status.
        outcomes: how orders ended, by kind of status.
        seconds: time spent, by what for (order, tick, write).
        calls: how often, by what for.
        instances: those that are placed, with their models.
        deferred: models that lack instances for want of room.
        open_orders: orders without an outcome.
        workers: those that can be counted on.
    """

    active: bool = False
    terms: int = 0
    events: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    instances: tuple[tuple[str, PlacedInstance], ...] = ()
    deferred: tuple[str, ...] = ()
    open_orders: int = 0
    workers: tuple[WorkerReport, ...] = ()


class Sight:
    """Collects what a glance shows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        self._terms = 0
        self._active = False
        self._seen = Glance()

    def decided(self, what: str, seconds: float) -> None:
        """The core has answered."""
        with self._lock:
            self._seconds[what] += seconds  # type: ignore[assignment] # counts time
            self._calls[what] += 1

    def wrote(self, step: Step, seconds: float) -> None:
        """A step has been written."""
        self.decided("write", seconds)
        with self._lock:
            for status in step.statuses:
                self._events[status.event] += 1
                if status.is_outcome:
                    self._outcomes[status.event] += 1

    def look(self, core: Core) -> None:
        """Take over what the core knows; in its thread."""
        models = core.book.models()
        placements = [core.book[model] for model in models]
        seen = Glance(
            instances=tuple((p.spec.model, i) for p in placements for i in p.instances),
            deferred=tuple(p.spec.model for p in placements if p.deferred is not None),
            open_orders=sum(len(p.open) for p in placements),
            workers=core.fleet.reports(),
        )
        with self._lock:
            self._seen = seen
            if not self._active:
                self._active = True
                self._terms += 1

    def stand_by(self) -> None:
        """The term is over."""
        with self._lock:
            self._active = False
            self._seen = Glance()

    def glance(self) -> Glance:
        """The controller right now; from any thread."""
        with self._lock:
            return Glance(
                active=self._active,
                terms=self._terms,
                events=dict(self._events),
                outcomes=dict(self._outcomes),
                seconds=dict(self._seconds),
                calls=dict(self._calls),
                instances=self._seen.instances,
                deferred=self._seen.deferred,
                open_orders=self._seen.open_orders,
                workers=self._seen.workers,
            )
