"""An in-memory transport whose clock a test sets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dataflow.errors import BrokerError
from dataflow.transport import Record
from dataflow.transport.memory import MemoryTransport
from tests.transport.kit import Kit


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> MemoryTransport:
    return MemoryTransport(
        clock=clock, session_timeout=6.0, max_poll_interval=300.0, delivery_timeout=120.0
    )


@pytest.fixture
def kit(memory: MemoryTransport) -> Iterator[Kit]:
    kit = Kit(memory)
    yield kit
    memory.restore()
    kit.close()


def send(kit: Kit, topic: str, value: bytes, outcomes: list[BrokerError | None]) -> None:
    kit.producer.send(Record(topic=topic, value=value), outcomes.append)
