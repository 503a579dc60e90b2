"""Apache Kafka through confluent-kafka (librdkafka)."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Any, Self

from confluent_kafka import (
    KafkaError,
)

from dataflow.config.model import Config, SecurityConfig
from dataflow.transport.base import (
    RebalanceListener,
    Start,
)
from dataflow.transport.identity import own_identity
from dataflow.transport.kafka_admin import KafkaAdmin
from dataflow.transport.kafka_consumer import KafkaGroupConsumer, KafkaReader
from dataflow.transport.kafka_producer import KafkaProducer
from dataflow.transport.kafka_writer import KafkaAtomicWriter

_log = logging.getLogger("videojam.kafka")

_TRANSACTION_MS = 20_000
"""Outlives the restart of a broker. One that has timed out meanwhile takes seconds to be taken
back, if it can be at all."""
_LEAVE_MARGIN_SECONDS = 4.0
"""How much longer than its session a member may take to leave its group: by then the group has
given its partitions away in any case."""
_HEARTBEAT_MS = 500
"""Longest pause between heartbeats. Members hear of a rebalance with the answer to one: a third of
the session timeout, as is common, would hold up whoever takes over a dead replica's work."""


class KafkaTransport:
    """Connections to one cluster.

    Args:
        bootstrap_servers: comma-separated host:port list.
        security: authentication and encryption.
        max_message_size: largest record, in bytes.
        session_timeout: seconds after which the group gives a silent member's partitions away.
        max_poll_interval: seconds without a poll after which a member leaves its group; not below
            ``session_timeout``.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        security: SecurityConfig | None = None,
        max_message_size: int = 10 * 1024 * 1024,
        session_timeout: float = 6.0,
        max_poll_interval: float = 300.0,
    ) -> None:
        self.bootstrap_servers = bootstrap_servers
        self._max_message_size = max_message_size
        self._session_timeout = session_timeout
        self._max_poll_interval = max_poll_interval
        self._common: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            # A cluster that comes back is noticed within a second, not after librdkafka's ten.
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1000,
            "socket.keepalive.enable": True,
            "logger": _log,
            "error_cb": _on_error,
            **security_settings(security or SecurityConfig()),
        }

    @classmethod
    def from_config(cls, config: Config, *, bootstrap_servers: str | None = None) -> Self:
        """The cluster that topics.yaml declares, or another one with the same settings."""
        return cls(
            bootstrap_servers or config.cluster.bootstrap_servers,
            security=config.cluster.security,
            max_message_size=int(config.cluster.max_message_size),
            session_timeout=config.cluster.session_timeout,
        )

    def producer(self, *, client_id: str = "videojam") -> KafkaProducer:
        """A new idempotent producer."""
        return KafkaProducer(
            {
                **self._common,
                "client.id": client_id,
                "enable.idempotence": True,
                "linger.ms": 2,
                # Frames are JPEG: compressing them again costs time and gains nothing.
                "compression.type": "none",
                "message.max.bytes": self._max_message_size,
                "queue.buffering.max.kbytes": 128 * 1024,
                "delivery.timeout.ms": 120_000,
                "partitioner": "murmur2_random",
                # From the first mention of a topic: a misspelt name is reported after this long.
                "topic.metadata.propagation.max.ms": 5_000,
            }
        )

    def consumer(
        self, group: str, topics: Sequence[str], listener: RebalanceListener
    ) -> KafkaGroupConsumer:
        """A new member of ``group``."""
        timeout = int(self._session_timeout * 1000)
        return KafkaGroupConsumer(
            {
                **self._common,
                **self._fetching(),
                "group.id": group,
                "client.id": own_identity(),
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": timeout,
                "max.poll.interval.ms": int(self._max_poll_interval * 1000),
                "heartbeat.interval.ms": min(_HEARTBEAT_MS, max(30, timeout // 8)),
                "auto.offset.reset": "earliest",
            },
            topics,
            listener,
            leave_seconds=self._session_timeout + _LEAVE_MARGIN_SECONDS,
        )

    def reader(
        self,
        topics: Sequence[str],
        *,
        start: Start = "earliest",
        partitions: Collection[int] | None = None,
    ) -> KafkaReader:
        """A new reader."""
        return KafkaReader(
            {
                **self._common,
                **self._fetching(),
                # Required by librdkafka; nothing joins or commits under it.
                "group.id": f"videojam-reader-{uuid.uuid4()}",
                # Where retention overtakes the reader, it goes on with what is still there.
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
            },
            topics,
            start,
            partitions,
        )

    def writer(self, name: str, *, timeout: float = 30.0) -> KafkaAtomicWriter:
        """A new writer, which takes over from those of that name before it."""
        return KafkaAtomicWriter(
            {
                **self._common,
                "client.id": name,
                "transactional.id": name,
                # It is one client, and what it waits to write holds up everything else.
                "reconnect.backoff.max.ms": 250,
                # Readers do not look past a transaction that is open: one whose writer has died
                # must not hold them up for long.
                "transaction.timeout.ms": _TRANSACTION_MS,
                "delivery.timeout.ms": _TRANSACTION_MS,
                "message.max.bytes": self._max_message_size,
                "linger.ms": 0,
                "partitioner": "murmur2_random",
            },
            name,
            timeout,
        )

    def admin(self) -> KafkaAdmin:
        """A new administration client."""
        return KafkaAdmin(self._common)

    def check(self, timeout: float = 5.0) -> None:
        """Ask the cluster for its metadata.

        Raises:
            BrokerError: no answer within ``timeout`` s.
        """
        self.admin().check(timeout)

    def close(self) -> None:
        """Nothing is shared between the parts."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _fetching(self) -> dict[str, Any]:
        return {
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "fetch.wait.max.ms": 100,
            "fetch.message.max.bytes": max(1024 * 1024, self._max_message_size),
            # Enough to keep a function busy that moves hundreds of frames a second: with 16 MB the
            # data plane is about a tenth slower (evaluation.benchmarks.data_plane).
            "queued.max.messages.kbytes": 64 * 1024,
            "fetch.queue.backoff.ms": 10,
        }


def security_settings(security: SecurityConfig) -> dict[str, str]:
    """Librdkafka's settings for a declaration."""
    settings = {
        "security.protocol": security.protocol,
        "sasl.mechanism": security.sasl_mechanism,
        "sasl.username": security.username,
        "sasl.password": None
        if security.password is None
        else security.password.get_secret_value(),
        "ssl.ca.location": security.ca_file,
        "ssl.certificate.location": security.certificate_file,
        "ssl.key.location": security.key_file,
        "ssl.key.password": None
        if security.key_password is None
        else security.key_password.get_secret_value(),
    }
    return {key: value for key, value in settings.items() if value is not None}


def _on_error(error: KafkaError) -> None:
    """Connection trouble that librdkafka mends by itself: say so, once a change."""
    if error.code() == KafkaError._ALL_BROKERS_DOWN:
        _log.warning("no broker answers; trying again")
    else:
        _log.info("%s", error.str())
