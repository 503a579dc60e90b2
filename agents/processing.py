"""What a replica does with its items: batches to the function, and what it finds onwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from agents.caller import Caller
from agents.cameras import CameraStates
from agents.hand import Entry, Hand
from agents.histogram import Histogram
from agents.meter import Meter
from agents.outbox import Outbox
from agents.routing import route
from agents.steering import Steering
from dataflow.config import Config
from dataflow.errors import RecordError, RecordTooLargeError
from dataflow.functions.base import Detection, Item
from dataflow.messages import Stage, WorkItem
from dataflow.tracing import Tracing
from dataflow.transport import DeliveryCallback


class Processing:
    """Calls the function with batches from the hand, and publishes what it finds.

    Args:
        config: the declaration.
        function: the function's name in it.
        replica: this replica's name.
        hand: where batches come from; its lock guards the counts too.
        caller: the function.
        outbox: where outcomes go.
        cameras: state per camera.
        steering: is told how long batches take.
        finisher: what to do when an entry's outcome has been delivered, or cannot be.
        bury: sends an entry to the dead letters.
        stopping: set when no further batch is to be taken.
        tracing: makes a span of each stage; None for none.
        clock: seconds since the epoch.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        *,
        config: Config,
        function: str,
        replica: str,
        hand: Hand,
        caller: Caller,
        outbox: Outbox,
        cameras: CameraStates,
        steering: Steering,
        finisher: Callable[[Entry], DeliveryCallback],
        bury: Callable[[Entry, RecordError], None],
        stopping: threading.Event,
        tracing: Tracing | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._function = function
        self._batch = config.functions[function].batch
        self._replica = replica
        self._hand = hand
        self._caller = caller
        self._outbox = outbox
        self._cameras = cameras
        self._steering = steering
        self._finisher = finisher
        self._bury = bury
        self._stopping = stopping
        self._tracing = tracing
        self._clock = clock
        self._monotonic = monotonic
        self.meter = Meter()
        self.responses = Histogram()
        self.processed = 0
        """Items, in all."""
        self.batches = 0
        """Calls of the function."""
        self.busy_seconds = 0.0
        """Spent in them."""

    def run(self) -> None:
        """Until stopping, and the batch in hand is done. Runs in a thread of its own."""
        while batch := self._take_batch():
            self._process(batch)

    def _take_batch(self) -> list[Entry]:
        """1..B entries, counted as open; none once stopping."""
        limit = self._batch
        with self._hand.changed:
            while not self._stopping.is_set():
                if not len(self._hand):
                    self._hand.changed.wait()
                    continue
                deadline = self._monotonic() + limit.wait
                while 0 < len(self._hand) < limit.max and not self._stopping.is_set():
                    left = deadline - self._monotonic()
                    if left <= 0:
                        break
                    self._hand.changed.wait(left)
                if self._stopping.is_set():
                    break
                batch = self._hand.take(limit.max)
                if batch:  # the queue may have been emptied while the batch waited for more
                    return batch
        return []

    def _process(self, batch: list[Entry]) -> None:
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
                function=self._function,
                replica=self._replica,
                received=entry.received,
                started=started,
                finished=finished,
            )
            passed = entry.item.passed(stage)
            if self._tracing is not None:
                passed = self._tracing.stage(
                    entry.item, passed, stage, batch=len(batch), outcome=outcome
                )
            try:
                if isinstance(outcome, RecordError):
                    raise outcome
                self._publish(entry, passed, item, outcome)
            except RecordError as error:
                self._bury(entry, error)
            except RecordTooLargeError as error:
                self._bury(entry, too_large(error))
        responses = [finished - item.captured_at for item in items]
        with self._hand.changed:
            self._hand.in_function = 0
            self.processed += len(batch)
            self.batches += 1
            self.busy_seconds += ended - began
            self.responses.add(responses)
            # Cutting and publishing count: a peer that gets an item will spend that time too.
            outgoing = self._steering.processed(len(batch), self._monotonic() - began)
            self.meter.add(
                ended,
                items=len(batch),
                busy=ended - began,
                response=sum(responses),
            )
        self._steering.send(outgoing)
        homes = {e.item.frame.camera: e.record.partition for e in batch}
        with self._caller.exclusive():
            self._cameras.used(homes, ended)

    def _publish(
        self, entry: Entry, passed: WorkItem, item: Item, found: tuple[Detection, ...]
    ) -> None:
        pipeline = self._config.pipelines[passed.pipeline]
        routed = route(pipeline, passed, found, lambda: item.image)
        records = [self._outbox.work(onward) for onward in routed.onward]
        records += [self._outbox.result(end) for end in routed.ends]
        self._outbox.send_all(records, self._finisher(entry))


def too_large(error: RecordTooLargeError) -> RecordError:
    """Why an item is dead whose outcome no topic takes."""
    return RecordError("too-large", str(error))
