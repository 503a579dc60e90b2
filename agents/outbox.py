"""Publishing what becomes of an item, and learning when the broker has all of it."""

from __future__ import annotations

import logging
import math
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pydantic import TypeAdapter, ValidationError

from agents.balancing import Relayed
from dataflow.accounting import DropReport
from dataflow.config import Config, TopicNames
from dataflow.errors import BrokerError, BufferFullError, RecordError, RecordTooLargeError
from dataflow.messages import WorkItem
from dataflow.results import build_result
from dataflow.transport import DeliveryCallback, LatencyCallback, Producer, Received, Record

_log = logging.getLogger("videojam.worker")

_DEAD_TEXT_LIMIT = 4096
"""Longest reason text in a dead letter's header, in bytes."""
_KEPT_OF_LARGE = 64 * 1024
"""How much of a record is kept when the dead letter itself would be too large."""


OFFLOADED_BY = "vj_offloaded_by"
"""Header: the replica that handed an item on."""
OFFLOADED_FROM = "vj_offloaded_from"
"""Header: topic, partition and offset where it was before."""
QUEUED_AT = "vj_queued_at"
"""Header: when an item entered the first queue of the group: it keeps its place in the next."""
TABLE = "vj_table"
"""Header: what the sender knows of the group, on the first item after a new policy."""
_TABLE: TypeAdapter[tuple[Relayed, ...]] = TypeAdapter(tuple[Relayed, ...])
_TABLE_LIMIT = 256 * 1024
"""Longest table that is read, in bytes."""


@dataclass(frozen=True, slots=True)
class Handed:
    """How a record was handed on.

    Attributes:
        sender: the replica that did.
        queued_at: when the item entered the first queue of the group; None if it does not say.
        table: what the sender knows of the group.
    """

    sender: str
    queued_at: float | None
    table: tuple[Relayed, ...]


def read_handed(headers: Sequence[tuple[str, bytes]]) -> Handed | None:
    """How a record was handed on; None if it came from upstream.

    What cannot be read counts as absent: the work itself is always taken.
    """
    values = dict(headers)
    sender = values.get(OFFLOADED_BY)
    if sender is None:
        return None
    name = sender.decode("utf-8", "replace")
    raw = values.get(TABLE) or b"[]"
    table: tuple[Relayed, ...] = ()
    try:
        table = _TABLE.validate_json(raw) if len(raw) <= _TABLE_LIMIT else ()
    except ValidationError as error:
        _log.warning("ignoring the table of %s: %s", name, error)
    return Handed(name, _seconds(values.get(QUEUED_AT)), table)


def _seconds(raw: bytes | None) -> float | None:
    try:
        value = float(raw or b"")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


class Outbox:
    """Turns outcomes into records and sends each outcome's records as one.

    Args:
        producer: shared with nobody else.
        config: the declaration.
        function: whose outcomes.
        replica: who publishes.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        producer: Producer,
        config: Config,
        function: str,
        replica: str,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._producer = producer
        self._config = config
        self._names = TopicNames(config.deployment)
        self._function = function
        self._replica = replica
        self._clock = clock
        self._lock = threading.Lock()

    def work(self, item: WorkItem) -> Record:
        """The record of an item for its next step."""
        step = self._config.pipelines[item.pipeline].step(item.step)
        if step is None:
            raise RecordError("unknown-step", f"{item.pipeline} has no step {item.step!r}")
        topic = self._names.work(step.function)
        partition = None
        if self._config.functions[step.function].partitioning == "spread":
            # By identity, so that an item sent twice meets its first copy in the same partition.
            partition = zlib.crc32(item.id.encode()) % self._producer.partitions_for(topic)
        return Record(
            topic=topic,
            key=item.frame.camera.encode(),
            value=item.data,
            headers=item.headers(),
            partition=partition,
        )

    def offload(
        self,
        item: WorkItem,
        origin: Received,
        queued_at: float,
        partition: int,
        table: Sequence[Relayed],
    ) -> Record:
        """The record that hands an item to a peer.

        Args:
            item: as it was received.
            origin: where from.
            queued_at: when it entered the first queue of the group, seconds since the epoch.
            partition: one that the peer owns.
            table: rows that go with it.
        """
        headers = replace(item, hops=item.hops + 1).headers()
        headers.append((OFFLOADED_BY, self._replica.encode()))
        headers.append(
            (OFFLOADED_FROM, f"{origin.topic}/{origin.partition}/{origin.offset}".encode())
        )
        headers.append((QUEUED_AT, f"{queued_at:.6f}".encode()))
        if table:
            headers.append((TABLE, _TABLE.dump_json(tuple(table))))
        return Record(
            topic=self._names.work(self._function),
            key=item.frame.camera.encode(),
            value=item.data,
            headers=headers,
            partition=partition,
        )

    def result(self, item: WorkItem) -> Record:
        """The record of a result."""
        headers = [("content-type", b"application/json")]
        if item.traceparent is not None:
            headers.append(("traceparent", item.traceparent.encode()))
        return Record(
            topic=self._names.results(item.pipeline),
            key=item.id.encode(),
            value=build_result(item, self._clock()).to_json(),
            headers=headers,
        )

    def drop(self, item: WorkItem, reason: str) -> Record:
        """The record of a drop."""
        report = DropReport(
            id=item.id,
            pipeline=item.pipeline,
            camera=item.frame.camera,
            stream=item.frame.stream,
            sequence=item.frame.sequence,
            part=str(item.part),
            function=self._function,
            replica=self._replica,
            reason=reason,
            at=self._clock(),
        )
        return Record(
            topic=self._names.accounting,
            key=f"drop/{item.pipeline}/{item.id}".encode(),
            value=report.model_dump_json().encode(),
        )

    def dead(self, record: Received, error: RecordError, *, keep: int | None = None) -> Record:
        """The dead letter of a record: its value and headers, the reason and where it came from.

        Args:
            record: as it was received.
            error: why.
            keep: only so many bytes of the value.
        """
        detail = error.detail.encode("utf-8", "replace")[:_DEAD_TEXT_LIMIT]
        extra = {
            "vj_dead_reason": error.reason.encode(),
            "vj_dead_detail": detail,
            "vj_dead_function": self._function.encode(),
            "vj_dead_replica": self._replica.encode(),
            "vj_dead_origin": f"{record.topic}/{record.partition}/{record.offset}".encode(),
            "vj_dead_at": f"{self._clock():.6f}".encode(),
        }
        value = record.value
        if keep is not None and value is not None and len(value) > keep:
            extra["vj_dead_size"] = str(len(value)).encode()
            value = value[:keep]
        return Record(
            topic=self._names.dead(self._function),
            key=record.key,
            value=value,
            headers=[*record.headers, *extra.items()],
        )

    def send_all(self, records: Sequence[Record], on_done: DeliveryCallback) -> None:
        """Send the records of one outcome.

        Args:
            records: at least one.
            on_done: called once: with None when the broker has them all, else with the first fault.

        Raises:
            RecordTooLargeError: one can never be sent; ``on_done`` is then not called, and records
                before it may have been sent.
            BrokerError: another fault that waiting does not mend.
        """
        if len(records) == 1:  # as with most outcomes
            self._send(records[0], on_done)
            return
        countdown = _Countdown(len(records), on_done, self._lock)
        for record in records:
            try:
                self._send(record, countdown.delivered)
            except BrokerError:
                countdown.cancel()
                raise

    def send_timed(
        self, record: Record, on_done: DeliveryCallback, on_latency: LatencyCallback
    ) -> None:
        """Send one record, and learn how long the broker took.

        Args:
            record: what is sent.
            on_done: see `send_all`.
            on_latency: see `dataflow.transport.Producer.send`.

        Raises:
            BrokerError: as `send_all`.
        """
        self._send(record, on_done, on_latency)

    def _send(
        self,
        record: Record,
        on_delivery: DeliveryCallback,
        on_latency: LatencyCallback | None = None,
    ) -> None:
        while True:
            try:
                self._producer.send(record, on_delivery, on_latency=on_latency)
            except BufferFullError:
                self._producer.poll(0.05)
            else:
                return

    def send_dead(
        self,
        record: Received,
        error: RecordError,
        on_done: DeliveryCallback,
    ) -> None:
        """Send a dead letter, shortened if the whole of it is more than the topic takes."""
        try:
            self.send_all([self.dead(record, error)], on_done)
        except RecordTooLargeError:
            self.send_all([self.dead(record, error, keep=_KEPT_OF_LARGE)], on_done)

    def poll(self, timeout: float = 0.0) -> None:
        """Serve delivery reports."""
        self._producer.poll(timeout)


class _Countdown:
    """Calls ``on_done`` when the last of ``count`` deliveries has been reported."""

    def __init__(self, count: int, on_done: DeliveryCallback, lock: threading.Lock) -> None:
        self._left = count
        self._on_done: DeliveryCallback | None = on_done
        self._fault: BrokerError | None = None
        self._lock = lock

    def delivered(self, error: BrokerError | None) -> None:
        with self._lock:
            self._left -= 1
            self._fault = self._fault or error
            done = self._on_done if self._left == 0 else None
        if done is not None:
            done(self._fault)

    def cancel(self) -> None:
        with self._lock:
            self._on_done = None
