"""The data plane of a replica: fetch, queue, process in batches, publish, commit.

Two threads share one lock: the fetching thread (`Engine.run`) polls the group, decodes headers,
fills the queue and commits; the processing thread takes batches and calls the function. Nothing of
an item is committed before everything that became of it has been acknowledged, so whatever dies,
the item is delivered again: at least once.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from agents.caller import Caller, StalledError
from agents.cameras import CameraStates
from agents.meter import Meter
from agents.outbox import Outbox
from agents.progress import PartitionProgress, Progress
from agents.queue import WorkQueue
from agents.routing import route
from dataflow.config import Config, TopicNames
from dataflow.errors import BrokerError, RecordError, RecordTooLargeError, VideojamError
from dataflow.functions.base import Detection, Function, Item
from dataflow.messages import Stage, WorkItem
from dataflow.transport import Received, TopicPartition, Transport

_log = logging.getLogger("videojam.worker")

_POLL_SECONDS = 0.1
"""Longest wait for records: also how late a stop or a due commit is noticed."""
_POLL_RECORDS = 64
"""Records taken over from the client at once."""
_FULL_SECONDS = 2.0
"""How long a full queue is waited for without polling the group."""
_COMMIT_SECONDS = 0.5
"""Pause between commits: bounds what is processed twice after a crash."""
_HANDOVER_SECONDS = 20.0
"""Deadline for all that a rebalance waits for; well below the group's max.poll.interval."""


class DeliveryFailedError(VideojamError):
    """An outcome could not be published; its item is delivered again after a restart."""


@dataclass(slots=True)
class _Entry:
    item: WorkItem
    record: Received
    progress: PartitionProgress
    received: float

    @property
    def size(self) -> int:
        return len(self.item.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStatus:
    """A replica at one moment; what its row in ``F.state`` shows.

    Attributes:
        partitions: numbers of the partitions it owns.
        queued: items waiting.
        queued_bytes: their bytes.
        processed: items that the function has processed, in all.
        dropped: items dropped, in all.
        dead: dead letters, in all.
        rate: items a second over the last seconds.
        busy: fraction of the last seconds spent in the function.
        service_seconds: mean time of the function per item, None while unknown.
        response_seconds: mean time from capture to the end of this function.
    """

    partitions: tuple[int, ...]
    queued: int
    queued_bytes: int
    processed: int
    dropped: int
    dead: int
    rate: float
    busy: float
    service_seconds: float | None
    response_seconds: float | None


class Engine:
    """One replica of one function.

    Args:
        config: the declaration.
        name: the function's name in it.
        function: the plugin; the engine closes it.
        transport: where records come from and go to.
        replica: this replica's name, unique in the group.
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
        self._changed = threading.Condition()
        self._queue: WorkQueue[_Entry] = WorkQueue(
            max_items=self._settings.queue.items,
            max_bytes=int(self._settings.queue.size),
            when_full=self._settings.queue.when_full,
            size_of=lambda entry: entry.size,
        )
        self._progress = Progress()
        self._unfinished: Counter[PartitionProgress] = Counter()
        self._meter = Meter()
        self._processed = self._dropped = self._dead = 0
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
        self._consumer = transport.consumer(self._names.group(name), [self._names.work(name)], self)

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
            self._shut_down(processing)

    def stop(self) -> None:
        """Finish the batch in hand, hand everything else back, and return from `run`."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()

    def status(self) -> ReplicaStatus:
        """The replica right now."""
        now = self._monotonic()
        with self._changed:
            return ReplicaStatus(
                partitions=tuple(tp.partition for tp in self._progress.partitions),
                queued=len(self._queue),
                queued_bytes=self._queue.bytes,
                processed=self._processed,
                dropped=self._dropped,
                dead=self._dead,
                rate=self._meter.rate(now),
                busy=self._meter.busy(now),
                service_seconds=self._meter.service_seconds(now),
                response_seconds=self._meter.response_seconds(now),
            )

    def _shut_down(self, processing: threading.Thread) -> None:
        self.stop()
        processing.join(0 if isinstance(self._fault, StalledError) else _HANDOVER_SECONDS)
        # An outage must not keep a stopped worker alive: what is not published and committed by
        # the deadline is delivered again to another replica.
        with contextlib.suppress(BrokerError):
            self._consumer.close()
        self._producer.close(_HANDOVER_SECONDS)
        with self._caller.exclusive(timeout=0.1) as free:
            if free:
                self._function.close()

    def _raise_faults(self) -> None:
        if self._fault is not None:
            raise self._fault
        try:
            self._caller.check_stalled()
        except StalledError as fault:
            self._fault = fault  # so that the hand-over does not wait for the hung call
            raise

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
            if not self._queue.room() and not self._stopping.is_set():
                self._changed.wait(_POLL_SECONDS)
            return self._queue.room()

    def _accept(self, records: list[Received]) -> None:
        if not records:
            return
        now = self._clock()
        evicted: list[_Entry] = []
        broken: list[tuple[Received, PartitionProgress, RecordError]] = []
        with self._changed:
            for record in records:
                if record.topic_partition not in self._progress:
                    continue  # revoked while it was on its way to us; its next owner has it too
                progress = self._progress.of(record.topic_partition)
                progress.start(record.offset)
                try:
                    item = WorkItem.from_record(record.headers, record.value)
                    self._check_step(item)
                except RecordError as fault:
                    self._unfinished[progress] += 1
                    broken.append((record, progress, fault))
                    continue
                evicted += self._queue.offer(_Entry(item, record, progress, now))
            for entry in evicted:
                self._unfinished[entry.progress] += 1
            self._dropped += len(evicted)
            self._dead += len(broken)
            self._changed.notify_all()
        for record, progress, error in broken:
            self._outbox.send_dead(record, error, self._finisher(progress, record))
        for entry in evicted:
            drop = self._outbox.drop(entry.item, "queue-full")
            self._outbox.send_all([drop], self._finisher(entry.progress, entry.record))

    def _check_step(self, item: WorkItem) -> None:
        pipeline = self._config.pipelines.get(item.pipeline)
        if pipeline is None:
            raise RecordError("unknown-pipeline", f"no pipeline {item.pipeline!r} is declared")
        step = pipeline.step(item.step)
        if step is None or step.function != self._name:
            raise RecordError(
                "unknown-step", f"{item.step!r} of {item.pipeline!r} is no step of {self._name}"
            )

    def _finisher(
        self, progress: PartitionProgress, record: Received, *, last_resort: bool = True
    ) -> Callable[[BrokerError | None], None]:
        """What to do when an outcome of ``record`` has been delivered, or cannot be.

        Args:
            progress: of the record's partition.
            record: as it was received.
            last_resort: the outcome is a dead letter or a drop: nothing smaller can take its place.
        """

        def done(fault: BrokerError | None) -> None:
            if isinstance(fault, RecordTooLargeError) and not last_resort:
                self._bury(progress, record, _too_large(fault))
            elif fault is not None:
                self._fail(DeliveryFailedError(str(fault)))
            else:
                with self._changed:
                    progress.finish(record.offset)
                    self._unfinished[progress] -= 1

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

    # -- rebalances: called from within poll() and close() ----------------------------------------

    def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Take over partitions, and the state of the cameras that live there."""
        with self._caller.exclusive():
            self._cameras.take_over([tp.partition for tp in partitions])
        with self._changed:
            self._progress.assign(partitions)
        _log.info("%s owns %s more: %s", self._replica, len(partitions), _numbers(partitions))

    def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Finish what is in hand, commit it, and leave the rest to the next owner."""
        going = set(partitions)
        deadline = self._monotonic() + _HANDOVER_SECONDS
        with self._changed:
            self._queue.discard(lambda entry: entry.record.topic_partition in going)
            leaving = [self._progress.of(tp) for tp in partitions if tp in self._progress]
        while any(self._unfinished[p] for p in leaving) and self._fault is None:
            if self._monotonic() > deadline:
                _log.warning("handing over with work in hand: some items will be done twice")
                break
            self._outbox.poll(0.02)
        # A call that hangs holds the function for ever: its cameras keep their last snapshots.
        patience = 0.1 if self._fault is not None else max(0.1, deadline - self._monotonic())
        with self._caller.exclusive(timeout=patience) as free:
            if free:
                self._cameras.hand_over([tp.partition for tp in partitions])
        self._producer.flush(max(0.1, deadline - self._monotonic()))
        with self._changed:
            positions = self._progress.positions(going)
        self._commit(positions, wait=True)
        self._drop(partitions)

    def on_lost(self, partitions: Collection[TopicPartition]) -> None:
        """Somebody else has them already: forget them."""
        going = set(partitions)
        with self._changed:
            self._queue.discard(lambda entry: entry.record.topic_partition in going)
        with self._caller.exclusive():
            self._cameras.forget([tp.partition for tp in partitions])
        self._drop(partitions)

    def _drop(self, partitions: Collection[TopicPartition]) -> None:
        with self._changed:
            for tp in partitions:
                if tp in self._progress:
                    self._unfinished.pop(self._progress.of(tp), None)
            self._progress.drop(partitions)
        _log.info("%s gave up %s: %s", self._replica, len(partitions), _numbers(partitions))

    # -- processing -----------------------------------------------------------------------------

    def _process_forever(self) -> None:
        try:
            while True:
                batch = self._take_batch()
                if not batch:
                    return
                self._process(batch)
                self._outbox.poll()
        except BaseException as fault:  # noqa: BLE001 - carried to run(), which raises it
            self._fail(fault)

    def _take_batch(self) -> list[_Entry]:
        """1..B entries, counted as unfinished; none once stopping."""
        limit = self._settings.batch
        with self._changed:
            while not self._stopping.is_set():
                if not len(self._queue):
                    self._changed.wait()
                    continue
                deadline = self._monotonic() + limit.wait
                while 0 < len(self._queue) < limit.max and not self._stopping.is_set():
                    left = deadline - self._monotonic()
                    if left <= 0:
                        break
                    self._changed.wait(left)
                if self._stopping.is_set():
                    break
                batch = self._queue.take(limit.max)
                self._changed.notify_all()  # there is room
                for entry in batch:
                    self._unfinished[entry.progress] += 1
                if batch:  # a rebalance may have emptied the queue while the batch waited for more
                    return batch
        return []

    def _process(self, batch: list[_Entry]) -> None:
        items = [
            Item(
                camera=entry.item.frame.camera,
                sequence=entry.item.frame.sequence,
                captured_at=entry.item.captured_at,
                data=entry.item.data,
                detections=entry.item.detections,
            )
            for entry in batch
        ]
        started, began = self._clock(), self._monotonic()
        outcomes = self._caller.call(items)
        finished, ended = self._clock(), self._monotonic()
        for entry, item, outcome in zip(batch, items, outcomes, strict=True):
            stage = Stage(
                function=self._name,
                replica=self._replica,
                received=entry.received,
                started=started,
                finished=finished,
            )
            try:
                if isinstance(outcome, RecordError):
                    raise outcome
                self._publish(entry, entry.item.passed(stage), item, outcome)
            except RecordError as error:
                self._bury(entry.progress, entry.record, error)
            except RecordTooLargeError as error:
                self._bury(entry.progress, entry.record, _too_large(error))
        with self._changed:
            self._processed += len(batch)
            self._meter.add(
                ended,
                items=len(batch),
                busy=ended - began,
                response=sum(finished - item.captured_at for item in items),
            )
        homes = {e.item.frame.camera: e.record.partition for e in batch}
        with self._caller.exclusive():
            self._cameras.used(homes, ended)

    def _publish(
        self, entry: _Entry, passed: WorkItem, item: Item, found: tuple[Detection, ...]
    ) -> None:
        pipeline = self._config.pipelines[passed.pipeline]
        routed = route(pipeline, passed, found, lambda: item.image)
        records = [self._outbox.work(onward) for onward in routed.onward]
        records += [self._outbox.result(end) for end in routed.ends]
        self._outbox.send_all(
            records, self._finisher(entry.progress, entry.record, last_resort=False)
        )


def _too_large(error: RecordTooLargeError) -> RecordError:
    return RecordError("too-large", str(error))


def _numbers(partitions: Collection[TopicPartition]) -> str:
    return ", ".join(str(tp.partition) for tp in sorted(partitions)) or "none"
