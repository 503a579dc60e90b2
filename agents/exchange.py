"""How replicas hear of each other: rows on ``F.state``, signals on ``F.signals``.

`DirectExchange` reads and writes them through the transport, with a reader and a producer of its
own: a signal never waits behind frames. `agents.control.FaustExchange` does the same with Faust
agents; docs/balancing.md says what each costs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from agents.balancing import CapacityEvent, Signal, decode_signal, priority
from agents.state import ReplicaState
from dataflow.config import TopicNames
from dataflow.errors import BrokerError, BufferFullError, RecordError
from dataflow.transport import Producer, Reader, Received, Record, Transport

_log = logging.getLogger("videojam.balancing")

TO_HEADER = "vj_to"
"""Names the only replica that a signal concerns."""
_POLL_RECORDS = 500
_RETRY_SECONDS = 2.0
"""Pause before a reader that could not be opened is tried again."""
OLD_SECONDS = 10.0
"""Rows and signals from before the start that are older than this are history."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A replica said goodbye: its row was deleted."""

    replica: str


Message: TypeAlias = ReplicaState | Gone | Signal | CapacityEvent
"""What is heard. A replica's own messages are heard too."""


class Exchange(Protocol):
    """Rows, signals and capacity events in and out.

    One thread polls and closes; any thread may publish until then.
    """

    def poll(self, timeout: float) -> list[Message]:
        """What has come, congestion first; waits up to ``timeout`` s for the first. Never fails."""
        ...

    def publish_state(self, state: ReplicaState) -> None:
        """Publish a replica's row. Best effort: another one follows within a second."""
        ...

    def send_signal(self, signal: Signal) -> None:
        """Publish a signal. Best effort: every signal is sent again while its reason lasts."""
        ...

    def publish_capacity(self, event: CapacityEvent) -> None:
        """Say that the group lacks capacity, or does so no longer. Best effort."""
        ...

    def close(self) -> None:
        """Withdraw the row, and release the connections."""
        ...


class Decoder:
    """Turns records of the three topics into messages.

    Args:
        names: of the deployment's topics.
        function: whose replicas talk.
        replica: this one.
    """

    def __init__(self, names: TopicNames, function: str, replica: str) -> None:
        self.state = names.state(function)
        self.signals = names.signals(function)
        self.capacity = names.capacity
        self._name = replica.encode()
        self._readers: dict[str, Callable[[bytes], Message]] = {
            self.state: ReplicaState.from_json,
            self.signals: decode_signal,
            self.capacity: CapacityEvent.from_json,
        }

    @property
    def topics(self) -> tuple[str, ...]:
        """What is to be read."""
        return (self.state, self.signals, self.capacity)

    def decode(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
    ) -> Message | None:
        """A message; None for what does not concern us or cannot be read."""
        if value is None:
            name = (key or b"").decode("utf-8", "replace")
            return Gone(name) if name and topic == self.state else None
        if topic == self.signals and dict(headers).get(TO_HEADER, self._name) != self._name:
            return None
        try:
            return self._readers[topic](value)
        except RecordError as error:
            _log.warning("ignoring a record of %s: %s", topic, error)
            return None


def by_priority(messages: Sequence[Message]) -> list[Message]:
    """Congestion first; otherwise as they came."""
    return sorted(
        messages,
        key=lambda message: priority(message) if isinstance(message, Signal) else 1,
    )


class DirectExchange:
    """See `Exchange`.

    Args:
        transport: where the topics are.
        names: of the deployment's topics.
        function: whose replicas talk.
        replica: this one.
        clock: seconds since the epoch.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        transport: Transport,
        names: TopicNames,
        function: str,
        replica: str,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._decoder = Decoder(names, function, replica)
        self._replica = replica
        self._clock = clock
        self._monotonic = monotonic
        self._producer: Producer = transport.producer(client_id=f"{replica}.exchange")
        self._reader: Reader | None = None
        self._retry_at = -float("inf")

    def poll(self, timeout: float) -> list[Message]:
        """See `Exchange`."""
        self._producer.poll(0)
        reader = self._open()
        if reader is None:
            time.sleep(timeout)
            return []
        try:
            records = reader.poll(_POLL_RECORDS, timeout)
        except BrokerError as error:
            _log.warning("cannot follow the other replicas: %s", error)
            self._reader = None
            self._retry_at = self._monotonic() + _RETRY_SECONDS
            return []
        heard = [self._decode(record, caught_up=reader.caught_up()) for record in records]
        return by_priority([message for message in heard if message is not None])

    def publish_state(self, state: ReplicaState) -> None:
        """See `Exchange`."""
        self._send(self._decoder.state, self._replica, state.model_dump_json().encode())

    def send_signal(self, signal: Signal) -> None:
        """See `Exchange`."""
        headers = () if signal.to is None else ((TO_HEADER, signal.to.encode()),)
        self._send(self._decoder.signals, signal.to or self._replica, signal.encode(), headers)

    def publish_capacity(self, event: CapacityEvent) -> None:
        """See `Exchange`."""
        self._send(self._decoder.capacity, event.function, event.model_dump_json().encode())

    def close(self) -> None:
        """See `Exchange`."""
        if self._reader is not None:
            self._reader.close()
        self._send(self._decoder.state, self._replica, None)
        self._producer.close(2.0)

    def _send(
        self,
        topic: str,
        key: str,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        record = Record(topic=topic, key=key.encode(), value=value, headers=headers)
        try:
            self._producer.send(record)
        except (BrokerError, BufferFullError) as error:
            _log.warning("cannot tell the other replicas: %s", error)

    def _open(self) -> Reader | None:
        if self._reader is None and self._monotonic() >= self._retry_at:
            try:
                self._reader = self._transport.reader(self._decoder.topics)
            except BrokerError as error:
                _log.warning("cannot follow the other replicas yet: %s", error)
                self._retry_at = self._monotonic() + _RETRY_SECONDS
        return self._reader

    def _decode(self, record: Received, *, caught_up: bool) -> Message | None:
        if not caught_up and self._clock() - record.timestamp_ms / 1000 > OLD_SECONDS:
            return None  # from before the start, of a replica that is long dead perhaps
        return self._decoder.decode(record.topic, record.key, record.value, record.headers)
