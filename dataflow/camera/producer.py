"""`CameraProducer`: one camera, publishing to the pipelines that take its kind."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from dataflow.camera.arguments import check_arguments, default_policy
from dataflow.camera.buffer import BufferConfig, FrameBuffer
from dataflow.camera.capture import Capture, CaptureSettings, CaptureThread, Pace
from dataflow.camera.connection import connect
from dataflow.camera.encoding import FrameEncoder
from dataflow.camera.ledger import Ledger
from dataflow.camera.pacing import Backoff, BackoffConfig
from dataflow.camera.routes import routes_for
from dataflow.camera.sender import Sender
from dataflow.camera.sources import Image, SourceSpec, open_source, own_image
from dataflow.camera.stats import CameraStats
from dataflow.config import Config, TopicNames, load_config
from dataflow.errors import BrokerError, ConfigError, ImageError, SourceError
from dataflow.tracing import Tracing, process_tracing
from dataflow.transport.base import Producer, Transport
from dataflow.transport.kafka import KafkaTransport

_TRACES_SECONDS = 2.0
"""How long closing waits for spans: they are worth less than frames."""
_RATE_SECONDS = 5.0
"""The frame rate in the statistics is that of the last so many seconds."""


class CameraProducer:
    """A camera that publishes its frames.

    Each frame goes, as JPEG, to every pipeline that takes cameras of this kind: into the work topic
    of the pipeline's first function, on the partition that belongs to the camera. Delivery is
    idempotent and in order. Nothing is lost silently: each frame gets a sequence number, and is
    either acknowledged by the broker or listed with a reason on the accounting topic. A frame whose
    delivery failed counts as dropped, though it may have been written, with only the
    acknowledgement lost.

    Use it as a context manager. `run` reads the source; an application that has frames of its own
    calls `send` instead (or as well), from any thread::

        with CameraProducer("gate-1", source="rtsp://10.0.0.7/stream") as camera:
            report = camera.run()

    Args:
        name: the camera's name: letters, digits, ``.``, ``_``, ``-``.
        kind: kind of camera, which chooses the pipelines; one that topics.yaml names.
        source: what `open_source` takes; None when only `send` is used.
        config: topics.yaml, as path or loaded.
        transport: where to send; by default the Kafka cluster of ``config``. It stays open.
        bootstrap_servers: another cluster than that of ``config``.
        fps: frames per second. Lower than the source's: frames are skipped evenly. Higher, or None:
            as many as the source has. For pictures and iterables, the rate at which they are
            played.
        pace: ``realtime`` plays recordings at their speed; ``fast`` as fast as they can be read.
            Live sources give the pace themselves.
        loop: begin a recording again when it ends.
        jpeg_quality: 1 to 100. What is JPEG already is not encoded again.
        max_width: frames wider than this, in pixels, are scaled down.
        buffer: limits and drop policy of what waits here. By default ``drop-oldest``, and
            ``block`` with the pace ``fast``, which would otherwise outrun the network and lose
            frames that could have waited.
        reconnect: waits before a lost source is opened again.
        wait_for_broker: seconds to wait for the cluster and its topics when opening.
        flush_timeout: seconds that `run` and `close` wait for deliveries at the end.
        report_every: seconds between records on the accounting topic.
        tracing: begins a trace for each frame, or goes on with the application's; by default as
            the environment's ``OTEL_*`` variables say, see `dataflow.tracing`.
        clock: seconds since the epoch; time stamps of frames.
        monotonic: seconds of a clock that is never set; pacing.
        sleep: waits so many seconds; by default a wait that `stop` ends early.
        rng: jitter and stream ids.

    Raises:
        ConfigError: topics.yaml or one of these arguments is wrong.
    """

    def __init__(
        self,
        name: str,
        kind: str = "fixed",
        *,
        source: SourceSpec | None = None,
        config: Config | Path | str = "topics.yaml",
        transport: Transport | None = None,
        bootstrap_servers: str | None = None,
        fps: float | None = None,
        pace: Pace = "realtime",
        loop: bool = False,
        jpeg_quality: int = 90,
        max_width: int | None = None,
        buffer: BufferConfig | None = None,
        reconnect: BackoffConfig | None = None,
        wait_for_broker: float = 10.0,
        flush_timeout: float = 30.0,
        report_every: float = 2.0,
        tracing: Tracing | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        check_arguments(name, fps, pace)
        self._config = config if isinstance(config, Config) else load_config(config)
        self._routes = routes_for(self._config, kind)
        self._source, self._loop = source, loop
        self._fps, self._pace = fps, pace
        self._encoder = FrameEncoder(quality=jpeg_quality, max_width=max_width)
        self._limits = buffer or BufferConfig(when_full=default_policy(pace))
        self._transport, self._servers = transport, bootstrap_servers
        self._wait_for_broker, self._flush_timeout = wait_for_broker, flush_timeout
        self._report_every = report_every
        self._tracing = tracing or process_tracing("videojam.camera")
        self._clock, self._monotonic = clock, monotonic
        self._stop = threading.Event()
        self._sleep = sleep or self._stop.wait
        self._rng = rng or np.random.default_rng()
        self._reconnect = reconnect or BackoffConfig()

        self.name, self.kind = name, kind
        self.stream = _stream_id(clock(), self._rng)
        self._ledger = Ledger(
            camera=name,
            stream=self.stream,
            kind=kind,
            pipelines=[route.pipeline for route in self._routes],
        )
        self._buffer = FrameBuffer(self._limits, self._ledger)
        self._own_transport: Transport | None = None
        self._sender: Sender | None = None
        self._capture: Capture | None = None
        self._skipped = self._reconnects = 0
        self._times: deque[float] = deque(maxlen=1024)
        self._opened_at = self._closed_at = monotonic()
        self._closed = False
        self._lock = threading.Lock()

    @property
    def pipelines(self) -> tuple[str, ...]:
        """The pipelines that take the frames."""
        return self._ledger.pipelines

    def open(self) -> Self:
        """Connect; again does nothing.

        Raises:
            BrokerError: the cluster was not there, or its topics were not, within
                ``wait_for_broker`` seconds.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the camera {self.name} is closed: make a new CameraProducer")
            if self._sender is None:
                self._sender = Sender(
                    producer=self._connect(),
                    buffer=self._buffer,
                    ledger=self._ledger,
                    encoder=self._encoder,
                    routes=self._routes,
                    accounting_topic=TopicNames(self._config.deployment).accounting,
                    in_flight=self._limits.in_flight,
                    report_every=self._report_every,
                    clock=self._clock,
                    tracing=self._tracing,
                )
                self._opened_at = self._monotonic()
                self._sender.start()
        return self

    def run(self, *, duration: float | None = None, max_frames: int | None = None) -> CameraStats:
        """Publish the source until it ends, `stop` is called, or a limit is reached; then flush.

        Args:
            duration: most seconds.
            max_frames: most frames captured.

        Returns:
            The figures when everything had its outcome, or ``flush_timeout`` had passed.

        Raises:
            ConfigError: the camera has no source.
            SourceError: the source cannot be opened, or one that is not live failed. A live one is
                opened again for as long as it takes.
            BrokerError: see `open`.
        """
        spec = self._source
        if spec is None:
            raise ConfigError("run() needs a source; without one, call send()", key="source")
        settings = CaptureSettings(
            fps=self._fps, pace=self._pace, max_frames=max_frames, duration=duration
        )
        thread = CaptureThread(
            self.name,
            open_source=lambda: open_source(spec, loop=self._loop),
            stopped=lambda: self._stop.is_set() or self._buffer.closed,
            duration=duration,
            monotonic=self._monotonic,
            make=lambda opener, stopped: Capture(
                open_source=opener,
                put=self._take,
                settings=settings,
                backoff=Backoff(self._reconnect, self._rng),
                clock=self._clock,
                monotonic=self._monotonic,
                sleep=self._sleep,
                stopped=stopped,
            ),
        )
        self._capture = thread.capture
        try:
            # The source comes before the broker: a wrong path is told at once, not after waiting
            # for a cluster.
            thread.open()
            if not self._stop.is_set():
                self.open()
                thread.read()
        finally:
            thread.halt()
            self._skipped += thread.capture.skipped
            self._reconnects += thread.capture.reconnects
            self._capture = None
        self._ledger.wait_settled(self._flush_timeout)
        self._raise_fault()
        if thread.fault is not None:
            raise thread.fault
        return self.stats

    def send(
        self, image: Image, captured_at: float | None = None, *, traceparent: str | None = None
    ) -> int:
        """Publish one frame of the application's own. Returns at once, unless the policy is block.

        Args:
            image: uint8 [height, width, 3] BGR or [height, width] grey, which is copied; or an
                encoded picture, of which JPEG is sent untouched.
            captured_at: seconds since the epoch; now, by default.
            traceparent: W3C trace context to go with the frame.

        Returns:
            The frame's sequence number. A frame that the drop policy rejects has one too.

        Raises:
            ImageError: not an image of one of these forms; no number was used for it.
            BrokerError: see `open`; or the sender has failed.
        """
        try:
            owned = own_image(image, f"camera {self.name}")
        except SourceError as error:
            raise ImageError("image-unencodable", str(error)) from error
        self.open()
        when = self._clock() if captured_at is None else captured_at
        sequence = self._put(owned, when, traceparent)
        if sequence is None:
            self._raise_fault()
            raise RuntimeError(f"the camera {self.name} was closed")
        return sequence

    def stop(self) -> None:
        """Make `run` end, after a flush; a later `run` ends at once. Any thread may call it."""
        self._stop.set()

    def close(self, timeout: float | None = None) -> CameraStats:
        """Flush, publish the final account, release the connection; again does nothing.

        Args:
            timeout: seconds for the flush; ``flush_timeout`` by default. What has no outcome by
                then is dropped, as ``unsent`` or ``delivery-failed``.

        Returns:
            The final figures.
        """
        self._stop.set()
        with self._lock:
            if not self._closed:
                self._closed = True
                self._buffer.close()
                if self._sender is not None:
                    self._sender.finish(self._flush_timeout if timeout is None else timeout)
                if self._own_transport is not None:
                    self._own_transport.close()
                if self._tracing is not None:
                    self._tracing.flush(_TRACES_SECONDS)
                self._closed_at = self._monotonic()
        return self.stats

    @property
    def stats(self) -> CameraStats:
        """Figures of this moment."""
        sender, capture, totals = self._sender, self._capture, self._ledger.totals()
        now = self._closed_at if self._closed else self._monotonic()
        seconds = now - self._opened_at
        span = min(_RATE_SECONDS, seconds)
        recent = sum(moment > now - span for moment in tuple(self._times))
        return CameraStats(
            camera=self.name,
            stream=self.stream,
            pipelines=self.pipelines,
            captured=totals.captured,
            skipped=self._skipped + (capture.skipped if capture else 0),
            sent=sender.sent if sender else 0,
            acked=totals.acked,
            failed=sender.failed if sender else 0,
            dropped=totals.dropped,
            open=totals.open,
            reconnects=self._reconnects + (capture.reconnects if capture else 0),
            fps=recent / span if span > 0 else 0.0,
            seconds=seconds,
            closed=self._closed,
        )

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _take(self, image: Image, captured_at: float) -> bool:
        return self._put(image, captured_at, None) is not None

    def _put(self, image: Image, captured_at: float, traceparent: str | None) -> int | None:
        sequence = self._buffer.put(image, captured_at, traceparent)
        if sequence is not None:
            self._times.append(self._monotonic())
        return sequence

    def _raise_fault(self) -> None:
        if self._sender is not None and self._sender.fault is not None:
            raise BrokerError(
                f"camera {self.name}: the sender failed: {self._sender.fault}"
            ) from self._sender.fault

    def _connect(self) -> Producer:
        """A producer that has seen all topics it will need."""
        transport = self._transport
        if transport is None:
            transport = self._own_transport = KafkaTransport.from_config(
                self._config, bootstrap_servers=self._servers
            )
        topics = {route.topic for route in self._routes}
        topics.add(TopicNames(self._config.deployment).accounting)
        return connect(
            transport,
            self.name,
            topics,
            patience=self._wait_for_broker,
            stopped=self._stop.is_set,
            monotonic=self._monotonic,
            sleep=self._sleep,
            rng=self._rng,
        )


def _stream_id(now: float, rng: np.random.Generator) -> str:
    """Sorts by time, and differs between two cameras of one name that start together."""
    started = datetime.fromtimestamp(now, UTC)
    return f"{started:%Y%m%dT%H%M%S}{started.microsecond // 1000:03d}Z-{rng.integers(2**32):08x}"
