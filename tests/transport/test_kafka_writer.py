"""How the atomic writer meets what Kafka's client may say, which a real broker says too rarely."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from dataflow.errors import BrokerError, FencedError, RecordTooLargeError
from dataflow.transport import Record
from dataflow.transport.kafka_writer import KafkaAtomicWriter


def fault(code: int, reason: str | None = None, **flags: bool) -> KafkaException:
    return KafkaException(KafkaError(code, reason, **flags))


TIMED_OUT = fault(KafkaError._TIMED_OUT, retriable=True)
TAKE_BACK = fault(KafkaError._TIMED_OUT, txn_requires_abort=True)
FENCED = fault(KafkaError._FENCED, "fenced by another", fatal=True)


class Client:
    """confluent-kafka's producer as the writer uses it.

    Args:
        answers: by method, what each call of it raises; None for none. After them, none.
    """

    def __init__(self, **answers: list[BaseException | None]) -> None:
        self._answers = {name: deque(errors) for name, errors in answers.items()}
        self.calls: list[str] = []
        self.deliveries: list[int] = []
        """Error codes told to the records of the next commit."""
        self.topics = {"orders": 1}
        self.elections = 0
        """How often a topic has no leader yet when it is asked about."""
        self._open: list[tuple[str, Callable[[Any, Any], None]]] = []

    def _answer(self, name: str) -> None:
        self.calls.append(name)
        answers = self._answers.get(name)
        error = answers.popleft() if answers else None
        if error is not None:
            raise error

    def init_transactions(self, _: float) -> None:
        self._answer("init")

    def list_topics(self, topic: str, _: float) -> Any:
        self._answer("list_topics")
        error = None if topic in self.topics else KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
        if self.elections:
            self.elections -= 1
            error = KafkaError(KafkaError.LEADER_NOT_AVAILABLE)
        found = SimpleNamespace(error=error, partitions=range(self.topics.get(topic, 0)))
        return SimpleNamespace(topics={topic: found})

    def begin_transaction(self) -> None:
        self._open.clear()
        self._answer("begin")

    def produce(self, topic: str, *_: Any, on_delivery: Any, **__: Any) -> None:
        self._answer("produce")
        self._open.append((topic, on_delivery))

    def poll(self, _: float) -> None:
        self._answer("poll")

    def commit_transaction(self, _: float) -> None:
        for code in self.deliveries:
            for topic, on_delivery in self._open:
                on_delivery(KafkaError(code), SimpleNamespace(topic=lambda topic=topic: topic))
        self.deliveries.clear()
        self._answer("commit")

    def abort_transaction(self, _: float) -> None:
        self._answer("abort")


def writer(client: Client, *, timeout: float = 60.0) -> KafkaAtomicWriter:
    return KafkaAtomicWriter(
        {"bootstrap.servers": "kafka:9092"},
        "controller",
        timeout,
        make=lambda _: client,  # type: ignore[arg-type,return-value] # as much of it as is used
    )


RECORDS = [Record(topic="orders", value=b"1"), Record(topic="orders", value=b"2")]


def test_it_is_opened_when_the_cluster_answers_after_a_while() -> None:
    client = Client(init=[TIMED_OUT, TIMED_OUT])
    writer(client)
    assert client.calls == ["init"] * 3


@pytest.mark.parametrize(
    "error", [TAKE_BACK, fault(KafkaError.CLUSTER_AUTHORIZATION_FAILED)], ids=["abort", "refusal"]
)
def test_one_that_cannot_be_opened_is_an_error_of_the_broker(error: KafkaException) -> None:
    with pytest.raises(BrokerError, match="opening the writer controller"):
        writer(Client(init=[error]))


def test_one_that_is_fenced_while_it_opens_says_so() -> None:
    with pytest.raises(FencedError, match="fenced by another"):
        writer(Client(init=[FENCED]))


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, RecordTooLargeError, "orders: the record is too large"),
        (KafkaError._UNKNOWN_TOPIC, BrokerError, "orders: no such topic"),
        (KafkaError._UNKNOWN_PARTITION, BrokerError, "orders: no such partition"),
    ],
)
def test_a_record_that_the_client_refuses_is_not_tried_again(
    code: int, kind: type[BrokerError], said: str
) -> None:
    client = Client(produce=[None, fault(code)])
    with pytest.raises(BrokerError, match=said) as caught:
        writer(client).write(RECORDS, 3600.0)
    assert type(caught.value) is kind
    assert client.calls == ["init", "list_topics", "begin", "produce", "produce", "abort"]


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, RecordTooLargeError, "orders: the record is too large"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, BrokerError, "orders: no such topic"),
    ],
)
def test_a_record_that_the_broker_refuses_is_not_tried_again(
    code: int, kind: type[BrokerError], said: str
) -> None:
    client = Client(commit=[TAKE_BACK])
    client.deliveries = [code]
    with pytest.raises(BrokerError, match=said) as caught:
        writer(client).write(RECORDS, 3600.0)
    assert type(caught.value) is kind
    assert client.calls.count("begin") == client.calls.count("abort") == 1


def test_a_transaction_that_was_taken_back_is_made_again() -> None:
    client = Client(commit=[TAKE_BACK, TIMED_OUT, None])
    client.deliveries = [KafkaError._MSG_TIMED_OUT, KafkaError._PURGE_QUEUE]
    writer(client).write(RECORDS, 60.0)
    assert client.calls[2:] == [
        *("begin", "produce", "produce", "commit", "abort"),
        *("begin", "produce", "produce", "commit", "commit"),
    ]


def test_one_that_the_client_lets_nothing_into_is_made_again() -> None:
    client = Client(produce=[fault(KafkaError._STATE)])
    writer(client).write(RECORDS, 60.0)
    assert client.calls[2:] == [
        *("begin", "produce", "abort"),
        *("begin", "produce", "produce", "commit"),
    ]


def test_one_left_open_by_the_last_write_is_taken_back_first() -> None:
    client = Client(begin=[fault(KafkaError._STATE)])
    writer(client).write(RECORDS, 60.0)
    assert client.calls[2:4] == ["begin", "abort"]
    assert client.calls[-1] == "commit"


@pytest.mark.parametrize(
    "error", [TAKE_BACK, fault(KafkaError._STATE), fault(KafkaError._FATAL, fatal=True)]
)
def test_a_transaction_that_cannot_be_taken_back_is_an_error_of_the_broker(
    error: KafkaException,
) -> None:
    client = Client(commit=[TAKE_BACK], abort=[error])
    with pytest.raises(BrokerError, match="taking back what controller wrote"):
        writer(client).write(RECORDS, 60.0)


def test_a_full_buffer_is_waited_for() -> None:
    client = Client(produce=[None, BufferError("full"), BufferError("full")])
    writer(client).write(RECORDS, 60.0)
    assert client.calls[2:] == [
        *("begin", "produce"),
        *("produce", "poll", "produce", "poll", "produce"),
        "commit",
    ]


def test_a_buffer_that_stays_full_ends_the_write() -> None:
    client = Client(produce=[BufferError("full")] * 1000)
    with pytest.raises(BrokerError, match="orders: the local buffer is full"):
        writer(client).write(RECORDS, 0.0)
    assert client.calls[-1] == "abort"


@pytest.mark.parametrize("where", ["begin", "produce", "commit", "abort"])
def test_whoever_is_fenced_stays_so(where: str) -> None:
    answers: dict[str, list[BaseException | None]] = {"commit": [TAKE_BACK], where: [FENCED]}
    client = Client(**answers)
    fenced = writer(client)
    for _ in range(2):
        with pytest.raises(FencedError, match="taken over: fenced by another"):
            fenced.write(RECORDS, 60.0)


def test_what_is_not_written_in_time_says_what_was_in_the_way() -> None:
    client = Client(commit=[fault(KafkaError._TIMED_OUT, "no leader", txn_requires_abort=True)] * 9)
    with pytest.raises(BrokerError, match="not written within 0 s: no leader"):
        writer(client).write(RECORDS, 0.0)


def test_a_topic_without_a_leader_yet_is_asked_about_again() -> None:
    client = Client()
    client.elections = 2
    writer(client).write(RECORDS, 3600.0)
    assert client.calls.count("list_topics") == 3


def test_a_cluster_that_is_away_is_asked_for_its_topics_until_the_deadline() -> None:
    client = Client(list_topics=[fault(KafkaError._TRANSPORT)] * 1000)
    began = time.monotonic()
    with pytest.raises(BrokerError, match="no Kafka broker answers at kafka:9092"):
        writer(client).write(RECORDS, 0.2)
    assert time.monotonic() - began < 60.0
    assert client.calls.count("list_topics") > 1
