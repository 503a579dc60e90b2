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
from typing import Protocol

from dataflow.config import TopicNames
from dataflow.errors import BrokerError, FencedError
from dataflow.transport import Producer, Reader, Received, Record, Transport
from roomie.control.core import Core
from roomie.control.owner import ResignedError
from roomie.control.records import ControllerReport
from roomie.control.sight import Sight
from roomie.control.term import Assigned, Inbox, Ordered, Surroundings, Term, TermOverError

_log = logging.getLogger("videojam.roomie")

_REPORT_SECONDS = 1.0


class Group(Protocol):
    """A membership, as the controller needs it (`roomie.control.membership`)."""

    def rejoin(self) -> None:
        """Leave and join again."""
        ...

    def close(self) -> None:
        """Leave."""
        ...


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
        self._clock = clock
        self._monotonic = monotonic
        self._incarnation = uuid.uuid4().hex[:12]
        self._inbox: Inbox = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._resigning = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._active_since: float | None = None
        self._standing_since = clock()
        self._reported_at = -float("inf")
        self._surroundings = Surroundings(
            names=names,
            incarnation=self._incarnation,
            tick=tick,
            clock=clock,
            monotonic=monotonic,
            resigning=self._resigning.is_set,
            sight=self.sight,
        )

    # -- from other threads ------------------------------------------------------------------------

    def stop(self) -> None:
        """Make `run` return."""
        self._stopping.set()

    def assigned(self) -> None:
        """See `roomie.control.owner.Owner`."""
        self._resigning.clear()
        self._inbox.put(Assigned())

    def revoked(self) -> threading.Event:
        """See `roomie.control.owner.Owner`."""
        self._resigning.set()
        return self._idle

    def obey(self, record: Received) -> Future[None]:
        """See `roomie.control.owner.Owner`."""
        done: Future[None] = Future()
        # It is on its way: who waits for it may cease to wait, but not call it off. Else the term
        # would meet a cancelled future when the order has been acted on, and end by that.
        done.set_running_or_notify_cancel()
        self._inbox.put(Ordered(record, done))
        return done

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
        if isinstance(event, Ordered):
            event.done.set_exception(ResignedError())
            return False
        return not self._resigning.is_set()

    def _hold_term(self, producer: Producer, group: Group) -> None:
        self._idle.clear()
        try:
            self._term(producer)
        except TermOverError:
            _log.info("%s stands by: the partition of orders is another one's", self.name)
        except FencedError as error:
            _log.warning("%s stands by: %s", self.name, error)
            self._resigning.set()  # until the partition is given to us anew
            group.rejoin()
        except BrokerError as error:
            _log.warning("%s: the term ends: %s", self.name, str(error).splitlines()[0])
            self._resigning.set()
            group.rejoin()
        except Exception:  # noqa: BLE001 - a fault of ours
            # What it did to the core is forgotten with the core; the next term begins from what
            # was written. A controller that died of it would only hand it to the next one.
            _log.exception("%s: the term ends by a fault of ours", self.name)
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
            term = Term(self._surroundings, self._make_core(), writer, reader)
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
                    raise TermOverError
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
