"""What the cluster says of a topic."""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from dataflow.errors import BrokerError
from dataflow.transport.kafka_errors import broker_error, describe_error

METADATA_SECONDS = 10.0
"""Deadline of one request."""


class NoAnswerError(BrokerError):
    """Nobody could say: asking again may help."""


def ask_partitions(
    client: Producer | Consumer,
    topic: str,
    *,
    servers: str,
    what: str,
    timeout: float = METADATA_SECONDS,
) -> list[int]:
    """The numbers of a topic's partitions, sorted.

    Args:
        client: is asked.
        topic: about this one.
        servers: host:port list that the client connects to, for the message.
        what: needs to know, for the message.
        timeout: seconds to wait for the answer.

    Raises:
        NoAnswerError: no broker answers, or a leader is being elected.
        BrokerError: a refusal, or there is no such topic.
    """
    try:
        found = client.list_topics(topic, timeout).topics[topic]
    except KafkaException as error:
        raise NoAnswerError(str(describe_error(error.args[0], servers))) from error
    if found.error is None:
        return sorted(found.partitions)
    fault = broker_error(found.error, what)
    if found.error.code() == KafkaError.LEADER_NOT_AVAILABLE:
        raise NoAnswerError(str(fault))
    raise fault
