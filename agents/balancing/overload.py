"""When the whole group lacks capacity: who loses how much, and who is told.

Balancing cannot help when what waits and what is forecast exceed what all known replicas together
process in a window. Frames are then shed at the earliest step of the pipelines, where they have
cost the least, by a declared policy that is fair between cameras: nobody gets more while somebody
with less could get more instead (max-min fairness).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.balancing.values import Finite, Name, Waiting
from dataflow.errors import RecordError

ShedPolicy: TypeAlias = Literal["rate", "oldest", "priority"]
MAX_CAMERAS = 100_000
"""Most cameras that a capacity event is read with."""
_EVENT_SECONDS = 1.0
"""While an overload lasts it is announced so often; whoever sheds forgets it after three times."""
_RELIEF = 0.9
"""Demand below this fraction of the capacity ends an overload, so that it does not flap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A group's work and capacity over the next window.

    Attributes:
        waiting: items waiting at all known replicas.
        arriving: items a second forecast to arrive.
        available: items a second that all of them can process: the sum of mu.
        seconds: length of the window.
        cameras: items a second of each camera, measured.
    """

    waiting: float
    arriving: float
    available: float
    seconds: float
    cameras: Mapping[str, float]

    @property
    def needed(self) -> float:
        """Items a second to have done everything by the end of the window."""
        return self.arriving + self.waiting / self.seconds


class CapacityEvent(BaseModel):
    """A group lacks capacity, or does so no longer. JSON, for whoever sheds, places or scales."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    version: Literal[1] = 1
    function: Name
    """Whose group."""
    at: Finite
    """When this was found, seconds."""
    since: Finite
    """When the overload began, seconds."""
    ended: bool = False
    """Whether it is over."""
    needed: Finite
    """Items a second that would have to be processed."""
    available: Finite
    """Items a second that can be."""
    kept: Annotated[
        dict[Name, Annotated[float, Field(ge=0, le=1)]], Field(max_length=MAX_CAMERAS)
    ] = Field(default_factory=dict)
    """The fraction of each camera's items that may pass; cameras that are not listed may."""

    @classmethod
    def from_json(cls, value: bytes) -> CapacityEvent:
        """Read one.

        Raises:
            RecordError: reason ``bad-capacity-event``.
        """
        try:
            return cls.model_validate_json(value)
        except ValidationError as error:
            raise RecordError("bad-capacity-event", str(error)) from error


def max_min(demands: Mapping[str, float], capacity: float) -> dict[str, float]:
    """Share a capacity: small demands are met, the large ones get equal parts of the rest.

    Args:
        demands: of each, 0 or more.
        capacity: 0 or more.

    Returns:
        At most its demand for each; the sum is the smaller of the demands' and the capacity.
    """
    left = max(0.0, capacity)
    shares: dict[str, float] = {}
    ordered = sorted(demands, key=lambda name: (demands[name], name))
    for place, name in enumerate(ordered):
        shares[name] = min(demands[name], left / (len(ordered) - place))
        left -= shares[name]
    return shares


def by_priority(
    demands: Mapping[str, float], priorities: Mapping[str, int], capacity: float
) -> dict[str, float]:
    """Share a capacity by classes: a lower class gets what the higher ones leave.

    Args:
        demands: of each, 0 or more.
        priorities: larger is more important; 0 where absent.
        capacity: 0 or more.

    Returns:
        Max-min fair inside each class.
    """
    classes: defaultdict[int, dict[str, float]] = defaultdict(dict)
    for name, demand in demands.items():
        classes[priorities.get(name, 0)][name] = demand
    left = max(0.0, capacity)
    shares: dict[str, float] = {}
    for level in sorted(classes, reverse=True):
        given = max_min(classes[level], left)
        left = max(0.0, left - sum(given.values()))
        shares.update(given)
    return shares


class Overload:
    """Notices that a group lacks capacity, and says how much of each camera may pass.

    Args:
        function: whose group.
        priorities: of cameras, larger is more important; empty without the policy ``priority``.
    """

    def __init__(self, function: str, *, priorities: Mapping[str, int] | None = None) -> None:
        self._function = function
        self._priorities = priorities or {}
        self._since: float | None = None
        self._told_at = 0.0

    @property
    def since(self) -> float | None:
        """When the overload began; None without one."""
        return self._since

    def update(self, now: float, demand: Demand) -> CapacityEvent | None:
        """Judge the group's demand.

        After balancing, every replica has its share ``mu_n / sum(mu)`` of all work; so each lacks
        capacity if and only if ``needed > sum(mu)``. Without a known capacity there is no verdict.

        Returns:
            What to publish: at the start, each second while it lasts, and at the end.
        """
        if demand.available <= 0:
            return None
        if self._since is None:
            if demand.needed <= demand.available:
                return None
            self._since = now
        elif demand.needed < _RELIEF * demand.available:
            event = self._event(now, self._since, demand, ended=True)
            self._since = None
            return event
        elif now - self._told_at < _EVENT_SECONDS:
            return None
        self._told_at = now
        return self._event(now, self._since, demand, ended=False)

    def _event(self, now: float, since: float, demand: Demand, *, ended: bool) -> CapacityEvent:
        kept: dict[str, float] = {}
        if not ended:
            # What waits is done within the window as well, so less of what comes may pass.
            capacity = demand.available - demand.waiting / demand.seconds
            shares = by_priority(demand.cameras, self._priorities, capacity)
            kept = {
                name: min(1.0, shares[name] / rate)
                for name, rate in demand.cameras.items()
                if rate > 0
            }
        return CapacityEvent(
            function=self._function,
            at=now,
            since=since,
            ended=ended,
            needed=demand.needed,
            available=demand.available,
            kept=kept,
        )


class Admission:
    """Sheds at the earliest step: which frames may pass (policies ``rate`` and ``priority``).

    Thinning is even: a camera with 1/3 kept passes every third frame.
    """

    def __init__(self) -> None:
        self._events: dict[str, tuple[float, CapacityEvent]] = {}
        self._credit: dict[str, float] = {}

    def hear(self, now: float, event: CapacityEvent) -> None:
        """A function down the pipeline has, or no longer has, too little capacity."""
        if event.ended:
            self._events.pop(event.function, None)
        else:
            self._events[event.function] = (now, event)

    def kept(self, now: float, camera: str, functions: Sequence[str]) -> float:
        """The fraction of a camera's frames that may pass: what its narrowest function leaves.

        Args:
            now: seconds.
            camera: whose.
            functions: that its frames will pass.
        """
        fraction = 1.0
        for function in functions:
            heard_at, event = self._events.get(function, (0.0, None))
            # Whoever announced it may be dead: without news, nothing is shed.
            if event is not None and now - heard_at <= 3 * _EVENT_SECONDS:
                fraction = min(fraction, event.kept.get(camera, 1.0))
        return fraction

    def admits(self, now: float, camera: str, functions: Sequence[str]) -> bool:
        """Whether the next frame of a camera may pass; call once a frame."""
        fraction = self.kept(now, camera, functions)
        if fraction >= 1:
            self._credit.pop(camera, None)
            return True
        credit = self._credit.get(camera, 0.5) + fraction
        admitted = credit >= 1
        self._credit[camera] = credit - 1 if admitted else credit
        return admitted


def shed(
    waiting: Sequence[Waiting], keep: int, *, priorities: Mapping[str, int] | None = None
) -> tuple[Hashable, ...]:
    """Items to drop so that ``keep`` stay (policy ``oldest``): fair between cameras.

    Args:
        waiting: oldest first.
        keep: how many may stay.
        priorities: of cameras; without, all are alike.

    Returns:
        Keys, oldest first. Each camera keeps its newest items.
    """
    if len(waiting) <= keep:
        return ()
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, item in enumerate(waiting):
        places[item.camera].append(place)
    demands = {camera: float(len(own)) for camera, own in places.items()}
    shares = by_priority(demands, priorities or {}, keep)
    whole = {camera: int(share + 1e-9) for camera, share in shares.items()}
    spare = keep - sum(whole.values())
    # Fractions of items: to whoever has most of one, then by name.
    for camera in sorted(shares, key=lambda name: (whole[name] - shares[name], name)):
        if spare > 0 and whole[camera] < shares[camera] - 1e-9:
            whole[camera] += 1
            spare -= 1
    gone = [place for camera, own in places.items() for place in own[: len(own) - whole[camera]]]
    return tuple(waiting[place].key for place in sorted(gone))
