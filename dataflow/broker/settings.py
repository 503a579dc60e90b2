"""What an embedded broker is told: the settings, and the files Kafka reads them from.

Everything here is pure: no file is written and no process is started.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

KAFKA_VERSION = "4.3.1"
"""The Apache Kafka release that is started unless another one is asked for."""

DEFAULT_PORT = 9092

MESSAGE_MAX_BYTES = 12 * 1024 * 1024
"""Largest record batch: a frame of 10 MB with its headers and the batch around it."""

_REQUEST_MAX_BYTES = 32 * 1024 * 1024

NODE_ID = 1

LISTENER = "CLIENTS"
CONTROLLER_LISTENER = "CONTROLLER"


@dataclass(frozen=True, kw_only=True)
class BrokerSettings:
    """How one embedded broker runs.

    Attributes:
        data_dir: folder of this broker's log segments, metadata, configuration and log files.
            Two brokers never share one.
        host: address to listen on and, unless `advertised_host` says otherwise, to advertise.
        port: TCP port of the clients' listener; 0 takes a free one, and keeps it across restarts
            on the same data folder. The controller's listener, which only the broker itself
            uses, is always on a free port of the loopback interface.
        advertised_host: the name clients are told to connect to; needed where `host` is a
            wildcard such as 0.0.0.0.
        heap: largest Java heap, as Java writes it (``512m``, ``2g``).
        version: the Apache Kafka release; 4.x.
        message_max_bytes: largest record batch in bytes that the broker accepts.
        extra: further Kafka broker properties; they override the ones written here.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    advertised_host: str | None = None
    heap: str = "512m"
    version: str = KAFKA_VERSION
    message_max_bytes: int = MESSAGE_MAX_BYTES
    extra: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def kafka_dir(self) -> Path:
        """The folder Kafka calls its log directory: topic partitions and cluster metadata."""
        return self.data_dir / "kafka"

    @property
    def log_dir(self) -> Path:
        """The folder of the log files for people."""
        return self.data_dir / "log"

    @property
    def log_file(self) -> Path:
        """The broker's own log, rolled by size."""
        return self.log_dir / "server.log"

    @property
    def console_file(self) -> Path:
        """What the Java process wrote to its standard output and error since its last start."""
        return self.log_dir / "console.log"

    def bootstrap_servers(self, port: int) -> str:
        """Return the ``host:port`` that clients connect to, `port` being the one in use."""
        return _endpoint(self.advertised_host or self.host, port)


def _endpoint(host: str, port: int) -> str:
    """Return ``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def server_properties(settings: BrokerSettings, *, port: int, controller_port: int) -> str:
    """Return the text of Kafka's ``server.properties`` for a combined controller and broker.

    Args:
        settings: how the broker runs.
        port: TCP port of the clients' listener, 1 to 65535.
        controller_port: TCP port of the controller's listener, on the loopback interface.
    """
    controller = f"127.0.0.1:{controller_port}"
    advertised = settings.bootstrap_servers(port)
    request_max_bytes = max(_REQUEST_MAX_BYTES, 2 * settings.message_max_bytes)
    properties = {
        "process.roles": "broker,controller",
        "node.id": str(NODE_ID),
        # A static quorum of one: its voter may move to another port at the next start.
        "controller.quorum.voters": f"{NODE_ID}@{controller}",
        "listeners": (
            f"{LISTENER}://{_endpoint(settings.host, port)},{CONTROLLER_LISTENER}://{controller}"
        ),
        "advertised.listeners": f"{LISTENER}://{advertised}",
        "listener.security.protocol.map": (f"{LISTENER}:PLAINTEXT,{CONTROLLER_LISTENER}:PLAINTEXT"),
        "inter.broker.listener.name": LISTENER,
        "controller.listener.names": CONTROLLER_LISTENER,
        "log.dirs": str(settings.kafka_dir),
        # Topics are declared; a misspelt name is to be an error.
        "auto.create.topics.enable": "false",
        "message.max.bytes": str(settings.message_max_bytes),
        "replica.fetch.max.bytes": str(settings.message_max_bytes),
        # Requests wait in the heap: bound what they take, or a few dozen cameras with large frames
        # fill it. Clients beyond the bound are not read from for a moment.
        "socket.request.max.bytes": str(request_max_bytes),
        "queued.max.request.bytes": str(4 * request_max_bytes),
        # One node cannot replicate.
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # 50 partitions each serve big clusters; here they would only be files to open.
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.num.partitions": "1",
        # Groups form at once, and may declare a dead member after a second.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # A restart after a kill is not to wait for the timeouts of a cluster of many.
        "controller.quorum.election.timeout.ms": "200",
        "controller.quorum.election.backoff.max.ms": "200",
        "broker.heartbeat.interval.ms": "300",
        "broker.session.timeout.ms": "1500",
        # Video fills a disk quickly: enforce retention every 10 s, not every 5 min, and free
        # the space of deleted segments after 5 s, not 60 s.
        "log.retention.check.interval.ms": "10000",
        "log.segment.delete.delay.ms": "5000",
        # The cleaner's map of keys takes 128 MiB of heap by default; our compacted topics are
        # small.
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    }
    properties.update(settings.extra)
    lines = [f"{_escape(key, key=True)}={_escape(value)}" for key, value in properties.items()]
    return "\n".join(lines) + "\n"


def log4j2_properties(settings: BrokerSettings) -> str:
    """Return the text of the log4j2 configuration: one file, rolled at 10 MB, three kept."""
    log_file = str(settings.log_file)
    values = {
        "status": "error",
        "name": "videojam-broker",
        "appender.file.type": "RollingFile",
        "appender.file.name": "FILE",
        "appender.file.fileName": log_file,
        "appender.file.filePattern": f"{log_file}.%i",
        "appender.file.layout.type": "PatternLayout",
        "appender.file.layout.pattern": "%d %p %m (%c{1})%n",
        "appender.file.policies.type": "Policies",
        "appender.file.policies.size.type": "SizeBasedTriggeringPolicy",
        "appender.file.policies.size.size": "10MB",
        "appender.file.strategy.type": "DefaultRolloverStrategy",
        "appender.file.strategy.max": "3",
        "rootLogger.level": "info",
        "rootLogger.appenderRef.file.ref": "FILE",
        # 300 lines a start that say what server.properties says.
        "logger.config.name": "org.apache.kafka.common.config.AbstractConfig",
        "logger.config.level": "warn",
    }
    return "".join(f"{key} = {_escape(value)}\n" for key, value in values.items())


def _escape(text: str, *, key: bool = False) -> str:
    """Return `text` as java.util.Properties reads it back (its `load` documents the escapes)."""
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    if key:
        escaped = escaped.replace(":", "\\:").replace("=", "\\=").replace(" ", "\\ ")
    elif escaped.startswith(" "):
        escaped = "\\" + escaped
    utf16 = escaped.encode("utf-16-be")
    units = [int.from_bytes(utf16[i : i + 2], "big") for i in range(0, len(utf16), 2)]
    return "".join(chr(unit) if unit < 0x7F else f"\\u{unit:04x}" for unit in units)
