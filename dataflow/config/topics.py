"""The topics that follow from topics.yaml: names, partitions and configs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dataflow.config.model import Config

_STATE_MS = 86_400_000
_TELEMETRY_MS = 600_000
"""Enough for a controller that takes over to judge a new version by what it did until then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """One topic as it should be.

    Attributes:
        name: full name.
        partitions: at least 1.
        replication: copies of each partition.
        configs: Kafka's topic configs, as strings; keys that are absent are left as they are.
    """

    name: str
    partitions: int
    replication: int
    configs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopicNames:
    """Names of all topics and groups of one deployment."""

    deployment: str

    def work(self, function: str) -> str:
        """Frames or objects to process; offloads too."""
        return f"{self.deployment}.{function}.work"

    def state(self, function: str) -> str:
        """One row per replica, compacted."""
        return f"{self.deployment}.{function}.state"

    def signals(self, function: str) -> str:
        """Messages between replicas."""
        return f"{self.deployment}.{function}.signals"

    def dead(self, function: str) -> str:
        """Records that cannot be processed."""
        return f"{self.deployment}.{function}.dead"

    def snapshots(self, function: str) -> str:
        """State per camera of a stateful function, compacted, partitioned like its work."""
        return f"{self.deployment}.{function}.snapshots"

    def results(self, pipeline: str) -> str:
        """What a pipeline found."""
        return f"{self.deployment}.results.{pipeline}"

    @property
    def accounting(self) -> str:
        """What cameras produced and what was dropped where."""
        return f"{self.deployment}.accounting"

    @property
    def capacity(self) -> str:
        """Which functions lack capacity, compacted; keyed by function."""
        return f"{self.deployment}.capacity"

    @property
    def deploy(self) -> str:
        """Orders to ROOMIE: which models are to run."""
        return f"{self.deployment}.roomie.deploy"

    @property
    def placements(self) -> str:
        """What ROOMIE wants to run where, compacted; keyed by model."""
        return f"{self.deployment}.roomie.placements"

    @property
    def workers(self) -> str:
        """GPU nodes and what runs on them, compacted; keyed by worker."""
        return f"{self.deployment}.roomie.workers"

    @property
    def telemetry(self) -> str:
        """What model instances did, every few seconds."""
        return f"{self.deployment}.roomie.telemetry"

    @property
    def status(self) -> str:
        """What became of orders, and why ROOMIE decided what it did."""
        return f"{self.deployment}.roomie.status"

    @property
    def controller(self) -> str:
        """Which controllers there are and which orders they know, compacted."""
        return f"{self.deployment}.roomie.controller"

    @property
    def refused(self) -> str:
        """Orders that cannot be read or obeyed, with the reason."""
        return f"{self.deployment}.roomie.dead"

    def group(self, function: str) -> str:
        """Consumer group of a function's replicas."""
        return f"{self.deployment}.{function}"


def declared_topics(config: Config) -> tuple[TopicSpec, ...]:
    """All topics that the declaration asks for, in a stable order."""
    names = TopicNames(config.deployment)
    cluster = config.cluster
    specs: list[TopicSpec] = []

    def add(name: str, partitions: int, policy: str, **configs: float | None) -> None:
        values = {
            key.replace("_", "."): str(int(value))
            for key, value in configs.items()
            if value is not None
        }
        values["cleanup.policy"] = policy
        values["min.insync.replicas"] = str(cluster.min_insync_replicas)
        values["max.message.bytes"] = str(int(cluster.max_message_size))
        specs.append(
            TopicSpec(
                name=name, partitions=partitions, replication=cluster.replication, configs=values
            )
        )

    for name, function in config.functions.items():
        keep = function.retention
        # Kafka deletes whole segments: a segment spans a tenth of the retention, so that what is
        # kept is at most a tenth more than what was asked for.
        add(
            names.work(name),
            function.partitions,
            "delete",
            retention_ms=keep.time * 1000,
            retention_bytes=keep.size,
            segment_ms=max(keep.time * 100, 10_000),
        )
        # Deleted too: a living replica's row is renewed all the time, and where each replica that
        # is started has a name of its own, those of the dead would pile up.
        add(
            names.state(name),
            1,
            "compact,delete",
            retention_ms=_STATE_MS,
            segment_ms=60_000,
            delete_retention_ms=60_000,
        )
        add(names.signals(name), 1, "delete", retention_ms=60_000, segment_ms=10_000)
        add(names.dead(name), 1, "delete", retention_ms=function.dead_retention * 1000)
        if function.stateful:
            add(names.snapshots(name), function.partitions, "compact", segment_ms=60_000)
    keep = config.results.retention
    for name in config.pipelines:
        add(
            names.results(name),
            config.results.partitions,
            "delete",
            retention_ms=keep.time * 1000,
            retention_bytes=keep.size,
        )
    add(
        names.accounting,
        1,
        "delete",
        retention_ms=config.results.accounting_retention * 1000,
    )
    add(names.capacity, 1, "compact", segment_ms=60_000, delete_retention_ms=60_000)
    if config.roomie is not None:
        kept = config.roomie.retention * 1000
        # One partition: whoever owns it is the controller that decides.
        add(names.deploy, 1, "delete", retention_ms=kept)
        for name in (names.placements, names.workers, names.controller):
            add(name, 1, "compact", segment_ms=60_000, delete_retention_ms=60_000)
        add(names.telemetry, 1, "delete", retention_ms=_TELEMETRY_MS, segment_ms=60_000)
        add(names.status, 1, "delete", retention_ms=kept)
        add(names.refused, 1, "delete", retention_ms=kept)
    return tuple(specs)
