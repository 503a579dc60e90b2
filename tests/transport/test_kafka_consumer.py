"""What only Kafka's client does to a group member: it may not come back from leaving."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import TopicPartition as ConfluentPartition

from dataflow.errors import BrokerError
from dataflow.transport import TopicPartition
from dataflow.transport import kafka as kafka_module
from dataflow.transport.kafka import KafkaTransport
from dataflow.transport.kafka_consumer import KafkaGroupConsumer
from tests.transport.kit import Recorder, until

_PARTITIONS = [ConfluentPartition("work", 0)]


class Client:
    """confluent-kafka's consumer as `KafkaGroupConsumer` uses it, which leaves when it is let."""

    def __init__(self, leave: Callable[[Client], None]) -> None:
        self._leave = leave
        self.on_revoke: Callable[[Any, list[ConfluentPartition]], None]
        self.left = threading.Event()
        """Leaving has ended, whenever that was."""

    def subscribe(self, _: list[str], **callbacks: Any) -> None:
        self.on_revoke = callbacks["on_revoke"]
        callbacks["on_assign"](self, _PARTITIONS)

    def poll(self, _: float) -> None:
        return None

    def close(self) -> None:
        try:
            self._leave(self)
        finally:
            self.left.set()


def member(
    client: Client, listener: Recorder, *, leave_seconds: float = 60.0
) -> KafkaGroupConsumer:
    consumer = KafkaGroupConsumer(
        {},
        ["work"],
        listener,
        leave_seconds=leave_seconds,
        make=lambda _: client,  # type: ignore[arg-type,return-value] # as much of it as is used
    )
    consumer.poll(1, 0.0)
    return consumer


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Set at the end of the test at the latest, so that no thread stays behind."""
    event = threading.Event()
    yield event
    event.set()


def test_a_client_that_does_not_leave_the_group_is_left_behind(
    released: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    def leave(client: Client) -> None:
        released.wait()
        client.on_revoke(client, _PARTITIONS)

    client, listener = Client(leave), Recorder()
    consumer = member(client, listener, leave_seconds=0.05)
    with caplog.at_level(logging.WARNING, "videojam.kafka"):
        consumer.close()
    assert "not left within 0.05 s" in caplog.text
    with pytest.raises(BrokerError, match="closed"):
        consumer.commit({TopicPartition("work", 0): 1}, wait=True)
    consumer.close()
    # The application has gone on: what the client does afterwards is no longer told.
    released.set()
    assert client.left.wait(30.0)
    assert listener.events("revoked") == []


def test_the_time_of_the_listener_does_not_count(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Recorder):
        def on_revoked(self, partitions: Any) -> None:
            time.sleep(1.5)  # commits what it has finished
            super().on_revoked(partitions)

    client, listener = Client(lambda client: client.on_revoke(client, _PARTITIONS)), Slow()
    member(client, listener, leave_seconds=1.0).close()
    assert listener.events("revoked") == [{TopicPartition("work", 0)}]
    assert caplog.text == ""


def test_what_the_listener_raises_reaches_whoever_closes() -> None:
    class Broken(Recorder):
        def on_revoked(self, _: Any) -> None:
            raise BrokerError("the last commit was refused")

    client = Client(lambda client: client.on_revoke(client, _PARTITIONS))
    consumer = member(client, Broken())
    with pytest.raises(BrokerError, match="the last commit was refused"):
        consumer.close()
    until(client.left.is_set)


def test_leaving_is_waited_for_longer_than_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(
        kafka_module, "KafkaGroupConsumer", lambda *_, **options: made.append(options)
    )
    for session_seconds in (6.0, 30.0):
        transport = KafkaTransport("localhost:9", session_timeout=session_seconds)
        transport.consumer("group", ["work"], Recorder())
        assert made[-1]["leave_seconds"] > session_seconds
