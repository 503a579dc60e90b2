"""The thread between the buffer and the broker: encodes, sends, hears of deliveries, reports."""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections.abc import Callable, Sequence

from dataflow.accounting import CameraReport
from dataflow.camera.buffer import FrameBuffer, Waiting
from dataflow.camera.encoding import FrameEncoder
from dataflow.camera.ledger import (
    DELIVERY_FAILED,
    REFUSED,
    TOO_LARGE,
    UNSENT,
    Ledger,
)
from dataflow.camera.routes import Route
from dataflow.errors import (
    BrokerError,
    BufferFullError,
    ImageError,
    RecordTooLargeError,
    VideojamError,
)
from dataflow.messages import FrameId, WorkItem
from dataflow.tracing import Tracing
from dataflow.transport.base import DeliveryCallback, Producer, Record

_log = logging.getLogger("videojam.camera")

_WAIT_SECONDS = 0.05
"""Longest wait for a frame or a delivery: how late the other of the two can be noticed."""
_REPORT_SECONDS = 2.0
"""Time kept for delivering the last reports when a camera closes."""
_PARTITIONS_FRESH_SECONDS = 300.0
"""How long a topic's number of partitions is believed: asking may take seconds."""


class Sender:
    """Sends what the buffer holds, until it is finished.

    Encoding is done here and not where frames are captured: a machine too slow to encode then
    drops by the declared policy, counted, where a capture loop that comes late loses frames in the
    driver of the camera, where nobody sees it. It also encodes no frame that is dropped.

    Args:
        producer: used by this thread alone, and closed by it at the end.
        buffer: frames to send.
        ledger: told of every outcome.
        encoder: makes JPEG.
        routes: one for each pipeline.
        accounting_topic: where the reports go.
        in_flight: most records sent and not acknowledged.
        report_every: seconds between reports.
        clock: seconds since the epoch, for the reports.
        tracing: begins a trace for each frame, or goes on with the application's.
    """

    def __init__(
        self,
        *,
        producer: Producer,
        buffer: FrameBuffer,
        ledger: Ledger,
        encoder: FrameEncoder,
        routes: Sequence[Route],
        accounting_topic: str,
        in_flight: int,
        report_every: float,
        clock: Callable[[], float],
        tracing: Tracing | None = None,
    ) -> None:
        self._producer, self._buffer, self._ledger = producer, buffer, ledger
        self._encoder, self._routes = encoder, routes
        self._accounting = accounting_topic
        self._window, self._report_every = in_flight, report_every
        self._clock, self._tracing = clock, tracing
        self._in_flight = 0
        self._turns = dict.fromkeys(
            # Cameras start at different partitions, so that they do not march in step.
            (route.topic for route in routes),
            zlib.crc32(ledger.camera.encode()),
        )
        self._partitions: dict[str, tuple[float, int]] = {}
        self._deadline: float | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"videojam-camera-{ledger.camera}-sender", daemon=True
        )
        self._told: set[str] = set()
        self.sent = 0
        self.failed = 0
        self.fault: Exception | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self, timeout: float) -> None:
        """Send what waits, hear of all deliveries, publish the last reports; up to ``timeout`` s.

        What is still waiting then is dropped as ``unsent``, and what is still on its way as
        ``delivery-failed``. The last reports get two seconds more.
        """
        self._deadline = time.monotonic() + timeout
        self._buffer.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:  # noqa: BLE001 - run() and send() raise it again
            self.fault = error
            self._buffer.close()
            _log.exception("the sender of camera %s failed", self._ledger.camera)
        self._wind_up()

    def _serve(self) -> None:
        report_due = time.monotonic()
        while not self._late():
            self._producer.poll(0.0)
            if time.monotonic() >= report_due:
                self._report(closed=False)
                report_due = time.monotonic() + self._report_every
            if self._in_flight >= self._window:
                self._producer.poll(_WAIT_SECONDS)
                continue
            frame = self._buffer.get(_WAIT_SECONDS)
            if frame is not None:
                self._send(frame)
            elif self._buffer.drained:
                return

    def _wind_up(self) -> None:
        while (frame := self._buffer.get(0.0)) is not None:
            self._ledger.drop(frame.sequence, UNSENT)
        try:
            self._producer.flush(self._time_left())
            self._ledger.drop_open(DELIVERY_FAILED)
            self._report(closed=True)
            self._producer.close(_REPORT_SECONDS)
        except Exception as error:  # noqa: BLE001 - run() and send() raise it again
            self.fault = self.fault or error
            _log.exception("camera %s closed without its last account", self._ledger.camera)
        finally:
            self._ledger.drop_open(DELIVERY_FAILED)

    def _time_left(self) -> float:
        return 0.0 if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _send(self, frame: Waiting) -> None:
        try:
            data = self._encoder.encode(frame.image)
        except ImageError as error:
            self._lose(frame.sequence, error.reason, error)
            return
        trace = self._trace(frame, data)
        for route in self._routes:
            self._send_to(route, frame, data, trace)

    def _trace(self, frame: Waiting, data: bytes) -> str | None:
        """The trace context that goes with a frame."""
        if self._tracing is None:
            return frame.traceparent
        return self._tracing.frame(
            FrameId(
                camera=self._ledger.camera, stream=self._ledger.stream, sequence=frame.sequence
            ),
            kind=self._ledger.kind,
            captured_at=frame.captured_at,
            sent_at=self._clock(),
            size=len(data),
            parent=frame.traceparent,
        )

    def _send_to(self, route: Route, frame: Waiting, data: bytes, trace: str | None) -> None:
        camera, sequence = self._ledger.camera, frame.sequence
        item = WorkItem(
            frame=FrameId(camera=camera, stream=self._ledger.stream, sequence=sequence),
            pipeline=route.pipeline,
            step=route.step,
            captured_at=frame.captured_at,
            data=data,
            traceparent=trace,
        )

        def delivered(error: BrokerError | None) -> None:
            self._in_flight -= 1
            if error is None:
                self._ledger.ack(sequence, route.pipeline)
                return
            self.failed += 1
            too_large = isinstance(error, RecordTooLargeError)
            reason = TOO_LARGE if too_large else DELIVERY_FAILED
            self._lose(sequence, reason, error, route.pipeline)

        try:
            record = Record(
                topic=route.topic,
                value=data,
                key=camera.encode(),
                headers=item.headers(),
                partition=self._next_partition(route.topic) if route.spread else None,
            )
            if self._hand_over(record, delivered):
                self.sent += 1
                self._in_flight += 1
            else:
                self._ledger.drop(sequence, UNSENT, route.pipeline)
        except BrokerError as error:
            too_large = isinstance(error, RecordTooLargeError)
            self._lose(sequence, TOO_LARGE if too_large else REFUSED, error, route.pipeline)

    def _hand_over(self, record: Record, delivered: DeliveryCallback) -> bool:
        """Send, waiting while the client's buffer is full; False when the deadline passed."""
        while True:
            try:
                self._producer.send(record, delivered)
            except BufferFullError:
                if self._late():
                    return False
                self._producer.poll(_WAIT_SECONDS)
            else:
                return True

    def _lose(
        self, sequence: int, reason: str, error: VideojamError, pipeline: str | None = None
    ) -> None:
        self._ledger.drop(sequence, reason, pipeline)
        # Said once for each reason; all of them are counted, and listed in the reports.
        level = logging.DEBUG if reason in self._told else logging.WARNING
        self._told.add(reason)
        _log.log(level, "camera %s dropped frame %d: %s", self._ledger.camera, sequence, error)

    def _next_partition(self, topic: str) -> int:
        known = self._partitions.get(topic)
        if known is None or time.monotonic() >= known[0] + _PARTITIONS_FRESH_SECONDS:
            try:
                known = (time.monotonic(), self._producer.partitions_for(topic))
            except BrokerError:
                if known is None:
                    raise
                known = (time.monotonic(), known[1])  # away now; it will not have shrunk
            self._partitions[topic] = known
        self._turns[topic] += 1
        return self._turns[topic] % known[1]

    def _report(self, *, closed: bool) -> None:
        for report in self._ledger.reports(at=self._clock(), closed=closed):
            try:
                self._producer.send(
                    Record(
                        topic=self._accounting,
                        value=report.model_dump_json().encode(),
                        key=report_key(report),
                    ),
                    self._reported(report),
                )
            except BrokerError as error:
                _log.info("camera %s cannot report: %s", report.camera, error)
                self._ledger.relist(report)

    def _reported(self, report: CameraReport) -> DeliveryCallback:
        def delivered(error: BrokerError | None) -> None:
            if error is not None:
                _log.info("camera %s cannot report: %s", report.camera, error)
                self._ledger.relist(report)

        return delivered


def report_key(report: CameraReport) -> bytes:
    """Key of a camera's records on the accounting topic."""
    return f"camera/{report.camera}/{report.stream}/{report.pipeline}".encode()
