"""A transport that keeps what it is given, and fails when told to."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Self

from dataflow.accounting import CameraReport, parse_report
from dataflow.errors import BrokerError, BufferFullError
from dataflow.transport.base import (
    Admin,
    AtomicWriter,
    DeliveryCallback,
    GroupConsumer,
    LatencyCallback,
    Reader,
    RebalanceListener,
    Record,
    Start,
)

Verdict = BrokerError | None


class FakeTransport:
    """Delivers a record at the poll after it was sent, unless a test says otherwise.

    Attributes:
        records: what was delivered, in order.
        topics: partitions of each known topic; None knows all, with 4.
        away: metadata requests that fail before the broker is there.
        held: while set, nothing is delivered.
        capacity: records that the local buffer takes before it is full.
        on_send: raises what send() shall raise.
        verdict: what becomes of a record at its delivery.
        closed: the producer was closed.
    """

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.topics: dict[str, int] | None = None
        self.away = 0
        self.held = threading.Event()
        self.capacity = 10_000
        self.full = 0
        self.on_send: Callable[[Record], None] = lambda _: None
        self.verdict: Callable[[Record], Verdict] = lambda _: None
        self.closed = False
        self._queue: deque[tuple[Record, DeliveryCallback | None]] = deque()

    def producer(self, *, client_id: str = "videojam") -> FakeProducer:
        assert client_id
        return FakeProducer(self)

    def writer(self, name: str, *, timeout: float = 30.0) -> AtomicWriter:
        raise NotImplementedError(f"a camera needs no transactions: {name}, {timeout}")

    def send(
        self,
        record: Record,
        on_delivery: DeliveryCallback | None = None,
        *,
        on_latency: LatencyCallback | None = None,
    ) -> None:
        assert on_latency is None
        self.on_send(record)
        if len(self._queue) >= self.capacity:
            self.full += 1
            raise BufferFullError("full")
        self._queue.append((record, on_delivery))

    def poll(self, timeout: float = 0.0) -> int:
        if self.held.is_set():
            threading.Event().wait(min(timeout, 0.001))
            return 0
        served = 0
        while self._queue:
            record, on_delivery = self._queue.popleft()
            error = self.verdict(record)
            if error is None:
                self.records.append(record)
            if on_delivery is not None:
                on_delivery(error)
            served += 1
        return served

    def flush(self, timeout: float) -> int:
        self.poll(timeout)
        return len(self._queue)

    def partitions_for(self, topic: str) -> int:
        if self.away:
            self.away -= 1
            raise BrokerError("no broker")
        if self.topics is None:
            return 4
        if topic not in self.topics:
            raise BrokerError(f"topic {topic}: unknown")
        return self.topics[topic]

    def work(self, topic: str = "") -> list[Record]:
        """The frames delivered, of one work topic or of all."""
        return [r for r in self.records if r.topic.endswith(".work") and r.topic.startswith(topic)]

    def reports(self) -> list[CameraReport]:
        """The records of the accounting topic."""
        reports = [parse_report(r.value) for r in self.records if r.topic.endswith(".accounting")]
        return [report for report in reports if isinstance(report, CameraReport)]

    def consumer(
        self, group: str, topics: Sequence[str], listener: RebalanceListener
    ) -> GroupConsumer:
        raise NotImplementedError(f"a camera does not consume: {group}, {topics}, {listener}")

    def reader(
        self,
        topics: Sequence[str],
        *,
        start: Start = "earliest",
        partitions: Collection[int] | None = None,
    ) -> Reader:
        raise NotImplementedError(f"a camera does not read: {topics}, {start}, {partitions}")

    def close(self) -> None:
        """Nothing is held; the producer's own close is what tests look at."""

    def admin(self) -> Admin:
        raise NotImplementedError("a camera does not administer")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class FakeProducer:
    """The transport's producer."""

    def __init__(self, owner: FakeTransport) -> None:
        self._owner = owner
        self.send, self.poll, self.flush = owner.send, owner.poll, owner.flush
        self.partitions_for = owner.partitions_for

    def close(self, timeout: float = 10.0) -> int:
        self._owner.closed = True
        return self._owner.flush(timeout)
