"""Errors of librdkafka as errors of ours."""

from __future__ import annotations

from confluent_kafka import KafkaError

from dataflow.errors import BrokerError, RecordTooLargeError


def describe_error(error: KafkaError, servers: str) -> BrokerError:
    """A connection that failed, with what to do about it."""
    if error.code() in (
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
    ):
        return BrokerError(
            f"no Kafka broker answers at {servers}\n"
            "  remedy: start one with `videojam broker start`, or name yours with "
            "--bootstrap-servers or cluster.bootstrap_servers"
        )
    return BrokerError(f"the cluster at {servers} refused: {error.str()}")


def broker_error(error: KafkaError, what: str) -> BrokerError:
    """A request that was refused.

    Args:
        error: the refusal.
        what: was asked for.
    """
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return RecordTooLargeError(
            f"{what}: the record is too large; raise cluster.max_message_size in topics.yaml and "
            "run `videojam topics apply`, or send smaller frames"
        )
    if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        return BrokerError(f"{what}: no such topic; run `videojam topics apply`")
    if error.code() == KafkaError.INVALID_SESSION_TIMEOUT:
        return BrokerError(
            f"{what}: the broker refuses the session timeout; raise cluster.session_timeout in "
            "topics.yaml, or lower group.min.session.timeout.ms on the brokers"
        )
    if error.code() == KafkaError._UNKNOWN_PARTITION:
        return BrokerError(f"{what}: no such partition; run `videojam topics apply`")
    return BrokerError(f"{what}: {error.str()}")
