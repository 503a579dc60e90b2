"""One term of a controller: reading what was written, hearing, obeying, writing."""

from __future__ import annotations

import logging
import queue
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeAlias

from dataflow.config import TopicNames
from dataflow.errors import BrokerError, RecordError
from dataflow.transport import AtomicWriter, Reader, Received, Record
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

_WRITE_SECONDS = 20.0
"""Longer than it takes to bring up a broker that was killed. The writer goes on as soon as it
answers, which is done seconds sooner than to end the term, to join the group anew and to begin
another one."""
_POLL_SECONDS = 0.02
"""How long an order may wait for the reader."""
_CATCH_UP_SECONDS = 30.0
_POISON_ATTEMPTS = 2
_UNNAMED = "unnamed"
"""In place of the model of an order that names none."""


class TermOverError(Exception):
    """The term is over, as it should be."""


@dataclass(frozen=True)
class Assigned:
    """The partition of orders is ours."""


@dataclass(frozen=True)
class Ordered:
    """An order that waits.

    Attributes:
        record: as it came.
        done: what its sender's offset waits for.
    """

    record: Received
    done: Future[None]


Inbox: TypeAlias = "queue.SimpleQueue[Assigned | Ordered]"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a term has of its controller.

    Attributes:
        names: of the deployment's topics.
        incarnation: of the process.
        tick: seconds between two looks at everything.
        clock: seconds since the epoch.
        monotonic: seconds of a clock that never jumps.
        resigning: whether nothing may be written any more.
        sight: what is shown of it.
        poison: how often deciding on an order failed in a way that nobody has thought of, by topic
            and offset.
    """

    names: TopicNames
    incarnation: str
    tick: float
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    resigning: Callable[[], bool]
    sight: Sight
    poison: Counter[tuple[str, int]] = field(default_factory=Counter)

    def check_poison(self, record: Received) -> None:
        """Refuse an order that has failed so often that it must be the order.

        Raises:
            RecordError: reason ``poison``.
        """
        if self.poison[record.topic, record.offset] >= _POISON_ATTEMPTS:
            raise RecordError("poison", "deciding on it failed each time: a fault of ours")


class Term:
    """One term: a core, what it hears and what it writes.

    Args:
        around: clocks, names, and whether it is over.
        core: a new one.
        writer: the only one that may write placements.
        reader: of all that was written and will be, from the beginning.
    """

    def __init__(
        self, around: Surroundings, core: Core, writer: AtomicWriter, reader: Reader
    ) -> None:
        self._around = around
        self._names = around.names
        self.core = core
        self._writer = writer
        self._reader = reader
        self._heard = around.clock()
        self._tick_at = around.monotonic()

    def catch_up(self) -> None:
        """Read all that was written before, then go on from it."""
        deadline = self._around.monotonic() + _CATCH_UP_SECONDS
        newest: dict[tuple[str, bytes | None], Received] = {}
        while not self._reader.caught_up():
            if self._around.resigning():
                raise TermOverError
            if self._around.monotonic() > deadline:
                raise BrokerError(f"what was written is not read within {_CATCH_UP_SECONDS:g} s")
            for record in self._reader.poll(1000, 0.05):
                if record.topic == self._names.telemetry:
                    self._restore(record)
                else:
                    newest[record.topic, record.key] = record
        for record in newest.values():
            self._restore(record)
        self._write(self.core.resume(self._around.clock()))

    def _restore(self, record: Received) -> None:
        if record.value is None or record.topic == self._names.capacity:
            return
        try:
            if record.topic == self._names.placements:
                self.core.restore_placement(Placement.from_json(record.value))
            elif record.topic == self._names.workers:
                report = WorkerReport.from_json(record.value)
                self.core.restore_worker(report, self._around.clock())
            elif record.topic == self._names.telemetry:
                self.core.restore_telemetry(Telemetry.from_json(record.value))
            elif record.key == ORDERS_KEY:
                self.core.restore_orders(OrderMemory.from_json(record.value))
        except RecordError as error:
            self._ignore(record, error)

    def turn(self, inbox: Inbox) -> None:
        """Hear what there is to hear, obey what there is to obey, and look at everything."""
        for record in self._reader.poll(200, _POLL_SECONDS):
            self._hear(record)
        while True:
            try:
                event = inbox.get_nowait()
            except queue.Empty:
                break
            if isinstance(event, Ordered):
                self._obey(event)
        if self._around.monotonic() >= self._tick_at:
            self._tick_at = self._around.monotonic() + self._around.tick
            began = self._around.monotonic()
            step = self.core.tick(self._around.clock(), self._heard)
            self._around.sight.decided("tick", self._around.monotonic() - began)
            self._write(step)
            self._around.sight.look(self.core)

    def _hear(self, record: Received) -> None:
        now = self._around.clock()
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
                if report.incarnation == self._around.incarnation:
                    self._heard = now
        except RecordError as error:
            self._ignore(record, error)

    def _obey(self, order: Ordered) -> None:
        began = self._around.monotonic()
        now = self._around.clock()
        record = order.record
        model, name = name_of(record)
        try:
            self._around.check_poison(record)
            step = self.core.order(decode_order(record.headers, record.value), now)
        except RecordError as error:
            step = self.core.refuse(model or _UNNAMED, name, error, now)
        except Exception:
            self._around.poison[record.topic, record.offset] += 1
            order.done.set_exception(ResignedError())
            raise
        self._around.sight.decided("order", self._around.monotonic() - began)
        try:
            self._write(step, order=record)
        except (TermOverError, BrokerError):
            order.done.set_exception(ResignedError())
            raise
        order.done.set_result(None)

    def _write(self, step: Step, *, order: Received | None = None) -> None:
        """Write all that a step asks for, as one."""
        if self._around.resigning():
            raise TermOverError
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
            records.append(refusal(names, order, step.refusal, at=self._around.clock()))
        began = self._around.monotonic()
        self._writer.write(records, _WRITE_SECONDS)
        self._around.sight.wrote(step, self._around.monotonic() - began)
        for status in step.statuses:
            _log.info("%s %s: %s", status.model, status.event, status.reason)

    def _ignore(self, record: Received, error: RecordError) -> None:
        _log.warning("ignoring %s/%d: %s", record.topic, record.offset, error)
