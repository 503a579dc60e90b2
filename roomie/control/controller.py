"""A controller as it runs: the core between Kafka's topics.

Terms: from being given the partition of orders until it goes, or until something cannot be
written. A term begins by taking over the name under which placements are written, which shuts out
whoever wrote before, and by reading all that was written; it ends by forgetting everything. What
the core answers to one event is written as one, so nobody ever sees half a decision, and a
controller that was stopped for an hour and wakes up can write nothing.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from dataflow.config import TopicNames
from dataflow.errors import BrokerError, FencedError, RecordError
from dataflow.transport import AtomicWriter, Producer, Reader, Received, Record, Transport
from roomie.control.book import Step
from roomie.control.capacity import CapacityReport
from roomie.control.core import Core
from roomie.control.orders import decode_order, name_of, refusal
from roomie.control.owner import ResignedError
from roomie.control.records import (
    ORDERS_KEY,
    ControllerReport,
    OrderMemory,
    Placement,
    Telemetry,
    WorkerReport,
)
from roomie.control.sight import Sight

_log = logging.getLogger("videojam.roomie")

_WRITE_SECONDS = 10.0
_POLL_SECONDS = 0.02
"""How long an order may wait for the reader."""
_REPORT_SECONDS = 1.0
_CATCH_UP_SECONDS = 30.0
_UNNAMED = "unnamed"
"""In place of the model of an order that names none."""


class Group(Protocol):
    """A membership, as the controller needs it (`roomie.control.membership`)."""

    def rejoin(self) -> None:
        """Leave and join again."""
        ...

    def close(self) -> None:
        """Leave."""
        ...


@dataclass(frozen=True)
class _Assigned:
    pass


@dataclass(frozen=True)
class _Order:
    record: Received
    done: Future[None]


class _OverError(Exception):
    """The term is over, as it should be."""


class Controller:
    """See the module. One thread calls `run`; the others' calls go through an inbox.

    Args:
        names: of the deployment's topics.
        transport: where they are.
        make_core: a new core for each term.
        join: joins the group of controllers on behalf of this one.
        name: of this controller.
        tick: seconds between two looks at everything.
        clock: seconds since the epoch.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        *,
        names: TopicNames,
        transport: Transport,
        make_core: Callable[[], Core],
        join: Callable[[Controller], Group],
        name: str,
        tick: float = 0.5,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.sight = Sight()
        self._names = names
        self._transport = transport
        self._make_core = make_core
        self._join = join
        self._tick = tick
        self._clock = clock
        self._monotonic = monotonic
        self._incarnation = uuid.uuid4().hex[:12]
        self._inbox: queue.SimpleQueue[_Assigned | _Order] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._resigning = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._active_since: float | None = None
        self._standing_since = clock()
        self._reported_at = -float("inf")

    # -- from other threads ------------------------------------------------------------------------

    def stop(self) -> None:
        """Make `run` return."""
        self._stopping.set()

    def assigned(self) -> None:
        """See `roomie.control.owner.Owner`."""
        self._resigning.clear()
        self._inbox.put(_Assigned())

    def revoked(self) -> threading.Event:
        """See `roomie.control.owner.Owner`."""
        self._resigning.set()
        return self._idle

    def obey(self, record: Received) -> Future[None]:
        """See `roomie.control.owner.Owner`."""
        order = _Order(record, Future())
        self._inbox.put(order)
        return order.done

    # -- in the controller's thread ----------------------------------------------------------------

    def run(self) -> None:
        """Stand by and decide, in turn, until `stop`."""
        producer = self._transport.producer(client_id=f"roomie-{self.name}")
        group = self._join(self)
        try:
            while not self._stopping.is_set():
                self._report(producer)
                producer.poll(0)
                if self._wait_for_term():
                    self._hold_term(producer, group)
        finally:
            self._resigning.set()
            group.close()
            self._send(
                producer, Record(topic=self._names.controller, key=self.name.encode(), value=None)
            )
            producer.close(2.0)

    def _wait_for_term(self) -> bool:
        """Whether the partition has been given to us."""
        try:
            event = self._inbox.get(timeout=0.1)
        except queue.Empty:
            return False
        if isinstance(event, _Order):
            event.done.set_exception(ResignedError())
            return False
        return not self._resigning.is_set()

    def _hold_term(self, producer: Producer, group: Group) -> None:
        self._idle.clear()
        try:
            self._term(producer)
        except _OverError:
            _log.info("%s stands by: the partition of orders is another one's", self.name)
        except FencedError as error:
            _log.warning("%s stands by: %s", self.name, error)
            self._resigning.set()  # until the partition is given to us anew
            group.rejoin()
        except BrokerError as error:
            _log.warning("%s: the term ends: %s", self.name, str(error).splitlines()[0])
            self._resigning.set()
            group.rejoin()
        finally:
            self._active_since = None
            self._standing_since = self._clock()
            self._reported_at = -float("inf")
            self.sight.stand_by()
            self._idle.set()

    def _term(self, producer: Producer) -> None:
        began = self._monotonic()
        # First: nobody else can write from here on, so what is read is all there is.
        writer = self._transport.writer(f"{self._names.deployment}.roomie.controller")
        reader: Reader | None = None
        try:
            reader = self._transport.reader(
                [
                    self._names.placements,
                    self._names.controller,
                    self._names.workers,
                    self._names.telemetry,
                    self._names.capacity,
                ]
            )
            term = _Term(self, self._make_core(), writer, reader)
            term.catch_up()
            self._active_since = self._clock()
            self._reported_at = -float("inf")
            _log.info(
                "%s decides: %d model(s), %d worker(s), read in %.2f s",
                self.name,
                len(term.core.book.models()),
                len(term.core.fleet.reports()),
                self._monotonic() - began,
            )
            while True:
                if self._stopping.is_set() or self._resigning.is_set():
                    raise _OverError
                self._report(producer)
                producer.poll(0)
                term.turn(self._inbox)
        finally:
            writer.close()
            if reader is not None:
                reader.close()

    def _report(self, producer: Producer) -> None:
        """Say that this controller is there; the active one waits to hear itself."""
        if self._monotonic() - self._reported_at < _REPORT_SECONDS:
            return
        self._reported_at = self._monotonic()
        active = self._active_since is not None
        report = ControllerReport(
            controller=self.name,
            incarnation=self._incarnation,
            active=active,
            at=self._clock(),
            since=self._active_since or self._standing_since,
        )
        record = Record(
            topic=self._names.controller, key=self.name.encode(), value=report.to_json()
        )
        self._send(producer, record)

    def _send(self, producer: Producer, record: Record) -> None:
        try:
            producer.send(record)
        except BrokerError as error:
            _log.debug("cannot report: %s", error)

    # -- for the term ------------------------------------------------------------------------------

    @property
    def tick_seconds(self) -> float:
        """Between two looks at everything."""
        return self._tick

    @property
    def resigning(self) -> bool:
        """Whether nothing may be written any more."""
        return self._resigning.is_set()

    @property
    def incarnation(self) -> str:
        """Of this process."""
        return self._incarnation

    @property
    def names(self) -> TopicNames:
        """Of the deployment's topics."""
        return self._names

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def monotonic(self) -> float:
        """Seconds of a clock that never jumps."""
        return self._monotonic()


class _Term:
    """One term: a core, what it hears and what it writes."""

    def __init__(
        self, controller: Controller, core: Core, writer: AtomicWriter, reader: Reader
    ) -> None:
        self._controller = controller
        self._names = controller.names
        self.core = core
        self._writer = writer
        self._reader = reader
        self._heard = controller.now()
        self._tick_at = controller.monotonic()

    def catch_up(self) -> None:
        """Read all that was written before, then go on from it."""
        deadline = self._controller.monotonic() + _CATCH_UP_SECONDS
        newest: dict[tuple[str, bytes | None], Received] = {}
        while not self._reader.caught_up():
            if self._controller.resigning:
                raise _OverError
            if self._controller.monotonic() > deadline:
                raise BrokerError(f"what was written is not read within {_CATCH_UP_SECONDS:g} s")
            for record in self._reader.poll(1000, 0.05):
                if record.topic == self._names.telemetry:
                    self._restore(record)
                else:
                    newest[record.topic, record.key] = record
        for record in newest.values():
            self._restore(record)
        self._write(self.core.resume(self._controller.now()))

    def _restore(self, record: Received) -> None:
        if record.value is None or record.topic == self._names.capacity:
            return
        try:
            if record.topic == self._names.placements:
                self.core.restore_placement(Placement.from_json(record.value))
            elif record.topic == self._names.workers:
                report = WorkerReport.from_json(record.value)
                self.core.restore_worker(report, self._controller.now())
            elif record.topic == self._names.telemetry:
                self.core.restore_telemetry(Telemetry.from_json(record.value))
            elif record.key == ORDERS_KEY:
                self.core.restore_orders(OrderMemory.from_json(record.value))
        except RecordError as error:
            self._ignore(record, error)

    def turn(self, inbox: queue.SimpleQueue[_Assigned | _Order]) -> None:
        """Hear what there is to hear, obey what there is to obey, and look at everything."""
        for record in self._reader.poll(200, _POLL_SECONDS):
            self._hear(record)
        while True:
            try:
                event = inbox.get_nowait()
            except queue.Empty:
                break
            if isinstance(event, _Order):
                self._obey(event)
        if self._controller.monotonic() >= self._tick_at:
            self._tick_at = self._controller.monotonic() + self._controller.tick_seconds
            began = self._controller.monotonic()
            step = self.core.tick(self._controller.now(), self._heard)
            self._controller.sight.decided("tick", self._controller.monotonic() - began)
            self._write(step)
            self._controller.sight.look(self.core)

    def _hear(self, record: Received) -> None:
        now = self._controller.now()
        try:
            if record.topic == self._names.workers:
                if record.value is None:
                    self._write(self.core.worker_gone((record.key or b"").decode(), now))
                else:
                    self._write(self.core.worker(WorkerReport.from_json(record.value), now))
            elif record.value is None:
                return
            elif record.topic == self._names.telemetry:
                self.core.telemetry(Telemetry.from_json(record.value), now)
            elif record.topic == self._names.capacity:
                self.core.capacity(CapacityReport.from_json(record.value), now)
            elif record.topic == self._names.controller and record.key != ORDERS_KEY:
                report = ControllerReport.from_json(record.value)
                if report.incarnation == self._controller.incarnation:
                    self._heard = now
        except RecordError as error:
            self._ignore(record, error)

    def _obey(self, order: _Order) -> None:
        began = self._controller.monotonic()
        now = self._controller.now()
        record = order.record
        try:
            wanted = decode_order(record.headers, record.value)
            step = self.core.order(wanted, now)
        except RecordError as error:
            model, name = name_of(record)
            step = self.core.refuse(model or _UNNAMED, name, error, now)
        self._controller.sight.decided("order", self._controller.monotonic() - began)
        try:
            self._write(step, order=record)
        except (_OverError, BrokerError):
            order.done.set_exception(ResignedError())
            raise
        order.done.set_result(None)

    def _write(self, step: Step, *, order: Received | None = None) -> None:
        """Write all that a step asks for, as one."""
        if self._controller.resigning:
            raise _OverError
        if not step:
            return
        names = self._names
        records = [
            Record(
                topic=names.placements,
                key=model.encode(),
                value=None if placement is None else placement.to_json(),
            )
            for model, placement in step.placements
        ]
        records += [
            Record(topic=names.status, key=s.model.encode(), value=s.to_json())
            for s in step.statuses
        ]
        if step.memory is not None:
            records.append(
                Record(topic=names.controller, key=ORDERS_KEY, value=step.memory.to_json())
            )
        if step.refusal is not None and order is not None:
            records.append(refusal(names, order, step.refusal, at=self._controller.now()))
        began = self._controller.monotonic()
        self._writer.write(records, _WRITE_SECONDS)
        self._controller.sight.wrote(step, self._controller.monotonic() - began)
        for status in step.statuses:
            _log.info("%s %s: %s", status.model, status.event, status.reason)

    def _ignore(self, record: Received, error: RecordError) -> None:
        _log.warning("ignoring %s/%d: %s", record.topic, record.offset, error)
