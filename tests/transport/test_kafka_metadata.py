"""What the cluster says of a topic, told by a client of the test's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from dataflow.errors import BrokerError
from dataflow.transport.kafka_metadata import NoAnswerError, ask_partitions
from dataflow.transport.kafka_producer import KafkaProducer


class Client:
    """Answers each question with the next answer, the last one for ever.

    Args:
        answers: numbers of partitions, or the code of an error of the topic; a negative one is of
            the connection.
    """

    def __init__(self, *answers: range | int) -> None:
        self._answers = list(answers)

    def list_topics(self, topic: str, timeout: float) -> Any:
        assert timeout > 0
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, range):
            found = SimpleNamespace(error=None, partitions=dict.fromkeys(answer))
        elif answer < 0:
            raise KafkaException(KafkaError(answer))
        else:
            found = SimpleNamespace(error=KafkaError(answer), partitions={})
        return SimpleNamespace(topics={topic: found})


def ask(client: Client) -> list[int]:
    return ask_partitions(
        cast(Producer, client), "orders", servers="kafka:9092", what="topic orders"
    )


def test_partitions_are_told_in_order() -> None:
    assert ask(Client(range(3, -1, -1))) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (KafkaError._TRANSPORT, NoAnswerError, "no Kafka broker answers at kafka:9092"),
        (KafkaError.LEADER_NOT_AVAILABLE, NoAnswerError, "topic orders: "),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, BrokerError, "topic orders: no such topic"),
    ],
)
def test_what_waiting_may_mend_is_told_apart(
    answer: int, kind: type[BrokerError], said: str
) -> None:
    with pytest.raises(BrokerError, match=said) as caught:
        ask(Client(answer))
    assert type(caught.value) is kind


def test_while_the_cluster_is_away_a_producer_believes_what_it_knew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Client(range(4), KafkaError._TRANSPORT)
    producer = KafkaProducer(
        {"bootstrap.servers": "kafka:9092"}, make=lambda _: cast(Producer, client)
    )
    monkeypatch.setattr("dataflow.transport.kafka_producer._PARTITIONS_FRESH_SECONDS", 0.0)
    assert producer.partitions_for("orders") == 4
    assert producer.partitions_for("orders") == 4
    with pytest.raises(BrokerError, match="no Kafka broker answers"):
        producer.partitions_for("results")
