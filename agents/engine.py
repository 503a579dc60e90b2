"""The data plane of a replica: fetch, queue, process in batches, publish, commit.

Three threads share what is in hand: the fetching thread (`Engine.run`) polls the group, decodes
headers, fills the queue and commits; the processing thread takes batches and calls the function;
the balancing thread (`agents.steering`) hands items on to peers. Nothing of an item is committed
before everything that became of it has been acknowledged, so whatever dies, the item is delivered
again: at least once.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping

from agents.balancing import Balancer, make_order
from agents.caller import Caller, StalledError
from agents.cameras import CameraStates
from agents.exchange import Exchange
from agents.hand import Hand
from agents.handover import HANDOVER_SECONDS, Handover
from agents.intake import Intake
from agents.outbox import Outbox
from agents.processing import Processing, too_large
from agents.progress import PartitionProgress
from agents.state import Balance, ForecasterState, ReplicaState
from agents.status import Glance, ReplicaStatus
from agents.steering import Steering
from dataflow.config import Config, TopicNames
from dataflow.errors import BrokerError, RecordError, RecordTooLargeError, VideojamError
from dataflow.functions.base import Function
from dataflow.tracing import Tracing
from dataflow.transport import DeliveryCallback, Received, TopicPartition, Transport

_log = logging.getLogger("videojam.worker")

_POLL_SECONDS = 0.1
"""Longest wait for records: also how late a stop or a due commit is noticed."""
_POLL_RECORDS = 64
"""Records taken over from the client at once."""
_FULL_SECONDS = 2.0
"""How long a full queue is waited for without polling the group."""
_COMMIT_SECONDS = 0.5
"""Pause between commits: bounds what is processed twice after a crash."""


class DeliveryFailedError(VideojamError):
    """An outcome could not be published; its item is delivered again after a restart."""


class Engine:
    """One replica of one function.

    Args:
        config: the declaration.
        name: the function's name in it.
        function: the plugin; the engine closes it.
        transport: where records come from and go to.
        replica: this replica's name, unique in the group.
        incarnation: this process's own name.
        balancer: decides what is handed on to peers.
        exchange: how the peers are heard and told; the engine closes it.
        describe: makes the replica's record of ``F.state`` from its status and its balancing.
        drift: how the forecaster does.
        tracing: makes a span of each stage and offload; None for none.
        clock: seconds since the epoch.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        *,
        config: Config,
        name: str,
        function: Function,
        transport: Transport,
        replica: str,
        incarnation: str,
        balancer: Balancer,
        exchange: Exchange,
        describe: Callable[[ReplicaStatus, Balance], ReplicaState],
        drift: Callable[[], ForecasterState] | None = None,
        tracing: Tracing | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._settings = config.functions[name]
        self._name = name
        self._function = function
        self._replica = replica
        self._clock = clock
        self._monotonic = monotonic
        self._names = TopicNames(config.deployment)
        self._hand = Hand(self._settings.queue, make_order(self._settings.balancing.order))
        self._changed = self._hand.changed
        self._progress = self._hand.progress
        self._dead = 0
        self._paused: set[TopicPartition] = set()
        self._full_since: float | None = None
        self._stopping = threading.Event()
        self._fault: BaseException | None = None
        self._caller = Caller(
            name,
            function,
            attempts=self._settings.attempts,
            stall_limit=self._settings.stall_limit,
            monotonic=monotonic,
        )
        self._producer = transport.producer(client_id=replica)
        self._outbox = Outbox(self._producer, config, name, replica, clock=clock)
        self._cameras = CameraStates(
            function,
            transport,
            self._producer,
            topic=self._names.snapshots(name) if self._settings.stateful else None,
            every=self._settings.snapshot_every,
        )
        self._steering = Steering(
            balancer=balancer,
            exchange=exchange,
            hand=self._hand,
            outbox=self._outbox,
            config=config,
            function=name,
            replica=replica,
            incarnation=incarnation,
            describe=lambda balance: describe(self.status(), balance),
            finisher=lambda entry: self._finisher(entry.progress, entry.record),
            drift=drift,
            tracing=tracing,
            clock=clock,
            monotonic=monotonic,
        )
        self._processing = Processing(
            config=config,
            function=name,
            replica=replica,
            hand=self._hand,
            caller=self._caller,
            outbox=self._outbox,
            cameras=self._cameras,
            steering=self._steering,
            finisher=lambda entry: self._finisher(entry.progress, entry.record, last_resort=False),
            bury=lambda entry, error: self._bury(entry.progress, entry.record, error),
            stopping=self._stopping,
            tracing=tracing,
            clock=clock,
            monotonic=monotonic,
        )
        self._intake = Intake(config, name, self._hand, self._steering)
        handover = Handover(
            replica=replica,
            hand=self._hand,
            caller=self._caller,
            cameras=self._cameras,
            steering=self._steering,
            producer=self._producer,
            commit=lambda offsets: self._commit(offsets, wait=True),
            dropped=self._paused.difference_update,
            failing=self._failing,
            monotonic=monotonic,
        )
        self._consumer = transport.consumer(
            self._names.group(name), [self._names.work(name)], handover
        )

    # -- life -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until `stop` is called.

        Raises:
            StalledError: a call of the function hangs; the process should exit at once.
            DeliveryFailedError: an outcome could not be published.
            BrokerError: the group or the topic refuses us.
        """
        processing = threading.Thread(target=self._process_forever, name="process", daemon=True)
        processing.start()
        balancing = threading.Thread(target=self._balance_forever, name="balance", daemon=True)
        balancing.start()
        due = self._monotonic() + _COMMIT_SECONDS
        try:
            while not self._stopping.is_set():
                self._raise_faults()
                self._accept(self._fetch())
                self._outbox.poll()
                if self._monotonic() >= due:
                    self._commit_moved()
                    due = self._monotonic() + _COMMIT_SECONDS
            self._raise_faults()
        finally:
            self._shut_down(processing, balancing)

    def stop(self) -> None:
        """Finish the batch in hand, hand everything else back, and return from `run`."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()

    def status(self) -> ReplicaStatus:
        """The replica right now."""
        now, meter = self._monotonic(), self._processing.meter
        with self._changed:
            return ReplicaStatus(
                partitions=tuple(tp.partition for tp in self._progress.partitions),
                queued=len(self._hand),
                queued_bytes=self._hand.bytes,
                processed=self._processing.processed,
                dropped=self._steering.tally.dropped.total(),
                dead=self._dead,
                rate=meter.rate(now),
                busy=meter.busy(now),
                service_seconds=meter.service_seconds(now),
                response_seconds=meter.response_seconds(now),
            )

    def glance(self) -> Glance:
        """All that metrics are made of; made when they are asked for."""
        with self._changed:
            return Glance(
                status=self.status(),
                balance=self._steering.balance(with_row=True),
                balancing_seconds=self._steering.tally.spent.seconds,
                batches=self._processing.batches,
                busy_seconds=self._processing.busy_seconds,
                responses=self._processing.responses.snapshot(),
            )

    def _shut_down(self, processing: threading.Thread, balancing: threading.Thread) -> None:
        self.stop()
        self._steering.stop()
        balancing.join(HANDOVER_SECONDS)
        processing.join(0 if isinstance(self._fault, StalledError) else HANDOVER_SECONDS)
        # An outage must not keep a stopped worker alive: what is not published and committed by
        # the deadline is delivered again to another replica.
        with contextlib.suppress(BrokerError):
            self._consumer.close()
        self._producer.close(HANDOVER_SECONDS)
        with self._caller.exclusive(timeout=0.1) as free:
            if free:
                self._function.close()

    def _raise_faults(self) -> None:
        if self._failing() and self._fault is not None:
            raise self._fault

    def _failing(self) -> bool:
        """Whether there is a fault, of any thread; looks whether a call of the function hangs."""
        if self._fault is None:
            try:
                self._caller.check_stalled()
            except StalledError as fault:
                self._fail(fault)
        return self._fault is not None

    def _fail(self, fault: BaseException) -> None:
        with self._changed:
            self._fault = self._fault or fault
            self._stopping.set()
            self._changed.notify_all()

    # -- fetching -------------------------------------------------------------------------------

    def _fetch(self) -> list[Received]:
        """Records, as many as the queue has room for; waits for them, or for room."""
        room = self._await_room()
        now = self._monotonic()
        if room:
            self._full_since = None
            if self._paused:
                self._consumer.resume([tp for tp in self._paused if tp in self._progress])
                self._paused.clear()
            return self._consumer.poll(min(room, _POLL_RECORDS), _POLL_SECONDS)
        self._full_since = self._full_since or now
        if now - self._full_since < _FULL_SECONDS:
            return []
        # Polling keeps us in the group. Pausing is for the rare queue that stays full: the client
        # throws away what it has prefetched, and fetches it again later.
        owned = set(self._progress.partitions)
        self._consumer.pause(owned - self._paused)
        self._paused |= owned
        return self._consumer.poll(1, 0)

    def _await_room(self) -> int:
        """Room in the queue, waiting a moment for some; with ``drop-oldest`` there always is."""
        if self._settings.queue.when_full == "drop-oldest":
            return _POLL_RECORDS
        with self._changed:
            if not self._hand.room() and not self._stopping.is_set():
                self._changed.wait(_POLL_SECONDS)
            return self._hand.room()

    def _accept(self, records: list[Received]) -> None:
        if not records:
            return
        with self._changed:
            came = self._intake.accept(records, self._clock())
            self._dead += len(came.broken)
        for record, progress, error in came.broken:
            self._outbox.send_dead(record, error, self._finisher(progress, record))
        for entry in came.evicted:
            self._steering.drop(entry, "queue-full")
        for entry in came.refused:
            self._steering.drop(entry, "overload")
        for outgoing in came.outgoing:
            self._steering.send(outgoing)

    def _finisher(
        self, progress: PartitionProgress, record: Received, *, last_resort: bool = True
    ) -> DeliveryCallback:
        """What to do when an outcome of ``record`` has been delivered, or cannot be.

        Args:
            progress: of the record's partition.
            record: as it was received.
            last_resort: the outcome is a dead letter or a drop: nothing smaller can take its place.
        """

        def done(fault: BrokerError | None) -> None:
            if isinstance(fault, RecordTooLargeError) and not last_resort:
                self._bury(progress, record, too_large(fault))
            elif fault is not None:
                self._fail(DeliveryFailedError(str(fault)))
            else:
                with self._changed:
                    self._hand.finish(progress, record.offset)

        return done

    def _bury(self, progress: PartitionProgress, record: Received, error: RecordError) -> None:
        """Send the dead letter of an item that had been taken from the queue."""
        _log.warning("%s/%d/%d is dead: %s", *record[:3], error)
        with self._changed:
            self._dead += 1
        self._outbox.send_dead(record, error, self._finisher(progress, record))

    def _commit_moved(self) -> None:
        with self._changed:
            offsets = self._progress.take_commits()
        self._commit(offsets, wait=False)

    def _commit(self, offsets: Mapping[TopicPartition, int], *, wait: bool) -> None:
        if not offsets:
            return
        try:
            self._consumer.commit(offsets, wait=wait)
        except BrokerError as error:
            _log.warning("%s (the records will be delivered again)", error)

    # -- balancing and processing ---------------------------------------------------------------

    def _balance_forever(self) -> None:
        try:
            self._steering.run()
        except BaseException as fault:  # noqa: BLE001 - carried to run(), which raises it
            self._fail(fault)

    def _process_forever(self) -> None:
        try:
            self._processing.run()
        except BaseException as fault:  # noqa: BLE001 - carried to run(), which raises it
            self._fail(fault)
