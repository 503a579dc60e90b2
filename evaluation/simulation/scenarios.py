"""Set-ups of the thesis' evaluation, and what a run of one comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from agents.balancing import (
    Balancer,
    BalancingSettings,
    Peer,
    Place,
    ShortestQueue,
    Waiting,
    last_window,
    make_balancer,
)
from evaluation.simulation.cameras import Camera, Frame, frames
from evaluation.simulation.cluster import Group
from evaluation.simulation.events import Loop, Rank
from evaluation.simulation.values import Books, Item, LinkSpec, ReplicaSpec

_PROBE_BYTES = 60
"""A question for a queue's length, or its answer: what ``jsq`` would have to send."""
_PATIENCE = 10
"""What waits when the cameras stop is worked off for so many times as long as they ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is simulated.

    Attributes:
        cameras: see there.
        groups: replicas of each step's function, in the order of the pipeline.
        seconds: of camera time; then what waits is worked off.
        warm_up: seconds at the start that do not count: rates are not known yet.
        link: of every replica.
        capacity: of a queue, items.
        faults: (time, what to do with the groups).
    """

    cameras: Sequence[Camera]
    groups: Sequence[Sequence[ReplicaSpec]]
    seconds: float = 120.0
    warm_up: float = 15.0
    link: LinkSpec = field(default_factory=LinkSpec)
    capacity: int = 150
    faults: Sequence[tuple[float, Callable[[list[Group]], None]]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A run in figures.

    Attributes:
        mean: seconds from capture to the end of the last function.
        p95: of the same.
        loss: fraction of the items of all steps that was dropped.
        unfinished: items that were neither done nor dropped when the run ended.
        messages: rows, signals and offloads (for ``jsq`` with an oracle: the probes it would need).
        control_bytes: bytes of rows, signals and probes.
        offloaded: items offloaded.
        offloaded_bytes: their bytes.
        responses: float64[n, 2], capture time and response time of each item, by capture time.
    """

    mean: float
    p95: float
    loss: float
    unfinished: int
    messages: int
    control_bytes: int
    offloaded: int
    offloaded_bytes: int
    responses: np.ndarray[tuple[int, int], np.dtype[np.float64]]


def pipeline(cameras: int, **changes: object) -> Scenario:
    """Thesis Fig 3.10: mobile cameras at 15 fps, 3 YOLO, 5 OCR on unequal slices.

    Capacity is for 4.7 cameras: with 4 the load is at the knee, 5 are too many.
    """
    yolo = [ReplicaSpec(name=f"yolo-{i}", mu=mu, jitter=0.1) for i, mu in enumerate((28, 21, 21))]
    rates = (76, 57, 38, 19, 19)
    ocr = [ReplicaSpec(name=f"ocr-{i}", mu=mu, jitter=0.4) for i, mu in enumerate(rates)]
    settings: dict[str, object] = {
        "cameras": tuple(Camera(name=f"camera-{i}") for i in range(cameras)),
        "groups": (yolo, ocr),
    }
    return Scenario(**{**settings, **changes})  # type: ignore[arg-type] # checked at run time


def simulate(
    scenario: Scenario,
    balancer: str,
    *,
    seed: int = 0,
    settings: BalancingSettings | None = None,
    batch: int = 1,
) -> Outcome:
    """Run a scenario with one balancer. The cameras are the same for every balancer.

    Args:
        scenario: see there.
        balancer: its name; ``jsq`` sees every queue.
        seed: of everything random.
        settings: of the balancer; by default, those of a queue of the scenario's capacity.
        batch: what ``shared-queue`` keeps in reserve.
    """
    parameters = settings or BalancingSettings(capacity=scenario.capacity)
    loop, books = Loop(), Books()
    numbers = count()

    def make(spec: ReplicaSpec, incarnation: str, now: float, group: Group) -> Balancer:
        if balancer == "jsq":
            return ShortestQueue(
                replica=spec.name,
                incarnation=incarnation,
                now=now,
                settings=parameters,
                oracle=lambda: _queues(group),
            )
        return make_balancer(
            balancer,
            Place(
                replica=spec.name,
                incarnation=incarnation,
                now=now,
                forecast=last_window(parameters.slots),
                settings=parameters,
                batch=batch,
            ),
        )

    groups: list[Group] = []
    for place, specs in reversed(list(enumerate(scenario.groups))):
        following = groups[0] if groups else None
        groups.insert(
            0,
            Group(
                loop=loop,
                specs=specs,
                make=make,
                books=books,
                link=scenario.link,
                capacity=scenario.capacity,
                seed=seed * 1000 + place,
                passed=None if following is None else _cutter(following, numbers, scenario.link),
            ),
        )
    _schedule(scenario, groups[0], numbers, seed)
    for time, fault in scenario.faults:
        loop.at(time, Rank.FAULT, lambda fault=fault: fault(groups))  # type: ignore[misc] # mypy cannot infer a lambda with a default
    for group in groups:
        group.start()
    loop.run(scenario.seconds)
    end = scenario.seconds
    while _left(groups) and end < _PATIENCE * scenario.seconds:
        end += 1
        loop.run(end)
    return _outcome(scenario, balancer, books, groups)


def _queues(group: Group) -> Mapping[str, Peer]:
    return {
        node.spec.name: Peer(busy=len(node.queue) + len(node.in_flight), mu=node.spec.mu)
        for node in group.nodes
        if node.alive
    }


def _cutter(following: Group, numbers: count[int], link: LinkSpec) -> Callable[[Item], None]:
    """Each object that was found goes to the next function, to the home of its camera."""

    def cut(item: Item) -> None:
        objects = [_item(next(numbers), item.camera, item.captured, size) for size in item.objects]
        if objects:
            loop = following.loop
            loop.at(loop.now + link.latency, Rank.DATA, lambda: following.enter(objects))

    return cut


def _schedule(scenario: Scenario, first: Group, numbers: count[int], seed: int) -> None:
    streams = np.random.SeedSequence(seed).spawn(len(scenario.cameras))
    for camera, stream in zip(scenario.cameras, streams, strict=True):
        for frame in frames(camera, scenario.seconds, np.random.default_rng(stream)):
            items = _enter(camera, frame, numbers, whole=len(scenario.groups) > 1)
            if items:
                first.loop.at(
                    frame.at + scenario.link.latency,
                    Rank.DATA,
                    lambda items=items: first.enter(items),  # type: ignore[misc] # mypy cannot infer a lambda with a default
                )


def _enter(camera: Camera, frame: Frame, numbers: count[int], *, whole: bool) -> list[Item]:
    """What the first group gets: the frame, or its objects where there is no group to cut it."""
    if whole:
        return [_item(next(numbers), camera.name, frame.at, frame.size, frame.objects)]
    return [_item(next(numbers), camera.name, frame.at, size) for size in frame.objects]


def _item(
    number: int, camera: str, captured: float, size: int, objects: tuple[int, ...] = ()
) -> Item:
    return Item(captured, Waiting(key=number, camera=camera, size=size), objects)


def _left(groups: Sequence[Group]) -> bool:
    return any(node.queue or node.in_flight for group in groups for node in group.nodes)


def _outcome(scenario: Scenario, balancer: str, books: Books, groups: Sequence[Group]) -> Outcome:
    done = np.array(books.done, dtype=np.float64).reshape(-1, 2)
    responses = np.column_stack([done[:, 0], done[:, 1] - done[:, 0]])
    responses = responses[np.argsort(responses[:, 0], kind="stable")]
    counted = responses[responses[:, 0] >= scenario.warm_up, 1]
    probes = 0
    if balancer == "jsq":
        # One question and one answer for each other queue and item.
        mean_group = sum(len(g.nodes) for g in groups) / len(groups)
        probes = int(books.produced * 2 * (mean_group - 1))
    return Outcome(
        mean=float(counted.mean()) if len(counted) else float("nan"),
        p95=float(np.percentile(counted, 95)) if len(counted) else float("nan"),
        loss=books.dropped / max(1, books.produced),
        unfinished=sum(len(n.queue) + len(n.in_flight) for g in groups for n in g.nodes),
        messages=books.rows + books.signals + books.offloads + probes,
        control_bytes=books.control_bytes + probes * _PROBE_BYTES,
        offloaded=books.offloaded,
        offloaded_bytes=books.offloaded_bytes,
        responses=responses,
    )
