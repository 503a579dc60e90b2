"""A cluster of topics in a dictionary, which can refuse a request and die after one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from dataflow.config.topics import TopicSpec
from dataflow.errors import BrokerError
from dataflow.transport.base import TopicState

BROKER_DEFAULTS = {
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "segment.ms": "604800000",
    "delete.retention.ms": "86400000",
    "max.message.bytes": "1048588",
    "min.insync.replicas": "1",
}


@dataclass
class FakeAdmin:
    """Behaves as Kafka does: refuses to create what exists and to take partitions away.

    Attributes:
        topics: the cluster.
        calls: every request that changed something, as (method, topic).
        fail_at: number of the changing request (from 0) that fails.
        after_effect: the failing request takes effect all the same, as when an answer is lost.
    """

    topics: dict[str, TopicState] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    fail_at: int | None = None
    after_effect: bool = False

    def check(self, timeout: float) -> None:
        assert timeout > 0

    def describe(self, prefix: str = "") -> dict[str, TopicState]:
        return {name: state for name, state in self.topics.items() if name.startswith(prefix)}

    def create(self, spec: TopicSpec) -> None:
        if spec.name in self.topics:
            raise BrokerError(f"{spec.name} exists")
        self._change(
            "create",
            TopicState(
                name=spec.name,
                partitions=spec.partitions,
                replication=spec.replication,
                configs=BROKER_DEFAULTS | dict(spec.configs),
                defaults=frozenset(BROKER_DEFAULTS) - set(spec.configs),
            ),
        )

    def add_partitions(self, topic: str, total: int) -> None:
        state = self.topics[topic]
        if total <= state.partitions:
            raise BrokerError(f"{topic} has {state.partitions} partitions")
        self._change("add_partitions", replace(state, partitions=total))

    def set_configs(self, topic: str, configs: Mapping[str, str]) -> None:
        state = self.topics[topic]
        self._change("set_configs", replace(state, configs={**state.configs, **configs}))

    def delete(self, topics: Collection[str]) -> None:
        for topic in topics:
            if topic not in self.topics:
                raise BrokerError(f"no topic {topic}")
            self._fail("delete", topic)
            del self.topics[topic]

    def lag(self, group: str, topic: str) -> dict[int, int]:
        del group
        return dict.fromkeys(range(self.topics[topic].partitions), 7)

    def close(self) -> None:
        pass

    def _change(self, method: str, state: TopicState) -> None:
        if self.after_effect:
            self.topics[state.name] = state
        self._fail(method, state.name)
        self.topics[state.name] = state

    def _fail(self, method: str, topic: str) -> None:
        self.calls.append((method, topic))
        if self.fail_at == len(self.calls) - 1:
            raise BrokerError("the connection is gone")
