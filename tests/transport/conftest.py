"""The transports that keep the contract of `dataflow.transport.base`: in memory, and a real Apache
Kafka.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dataflow.transport import Transport
from dataflow.transport.kafka import KafkaTransport
from dataflow.transport.memory import MemoryTransport
from tests.transport.kit import Kit

_SESSION_SECONDS = 3.0
"""Short, because a real group learns of a change with the heartbeat, a third of it."""


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.broker)])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    with _open(request, poll_seconds=300.0) as transport:
        yield transport


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.broker)])
def impatient(request: pytest.FixtureRequest) -> Iterator[Transport]:
    """One that removes a member as soon as it has not polled for a session's length."""
    with _open(request, poll_seconds=_SESSION_SECONDS) as transport:
        yield transport


def _open(request: pytest.FixtureRequest, *, poll_seconds: float) -> Transport:
    if request.param == "memory":
        return MemoryTransport(session_timeout=_SESSION_SECONDS, max_poll_interval=poll_seconds)
    return KafkaTransport(
        bootstrap_servers=request.getfixturevalue("kafka").bootstrap_servers,
        session_timeout=_SESSION_SECONDS,
        max_poll_interval=poll_seconds,
    )


@pytest.fixture
def kit(transport: Transport) -> Iterator[Kit]:
    kit = Kit(transport)
    yield kit
    kit.close()
