"""The topics that follow from topics.yaml."""

from __future__ import annotations

from typing import ClassVar

from dataflow.config import Config, TopicNames, declared_topics, parse_config
from tests.config.kit import changed


class TestDeclaredTopics:
    config: Config = parse_config(
        changed(
            "replicas: 2", "replicas: 2\n    stateful: true\n    retention: {time: 1m, size: 1GB}"
        ),
        environment={},
    )
    specs: ClassVar = {spec.name: spec for spec in declared_topics(config)}

    def test_each_function_and_pipeline_has_its_topics(self) -> None:
        assert set(self.specs) == {
            "demo.detect.work",
            "demo.detect.state",
            "demo.detect.signals",
            "demo.detect.dead",
            "demo.detect.snapshots",
            "demo.read.work",
            "demo.read.state",
            "demo.read.signals",
            "demo.read.dead",
            "demo.results.fixed",
            "demo.accounting",
            "demo.capacity",
        }
        assert TopicNames("demo").work("detect") in self.specs
        assert len(declared_topics(self.config)) == len(self.specs)

    def test_policies_follow_what_is_kept(self) -> None:
        policies = {name: spec.configs["cleanup.policy"] for name, spec in self.specs.items()}
        compacted = {name for name, policy in policies.items() if policy == "compact"}
        assert compacted == {"demo.detect.snapshots", "demo.capacity"}
        renewed = {name for name, policy in policies.items() if policy == "compact,delete"}
        assert renewed == {"demo.detect.state", "demo.read.state"}
        assert set(policies.values()) == {"compact", "compact,delete", "delete"}

    def test_work_keeps_what_its_retention_says(self) -> None:
        work = self.specs["demo.detect.work"]
        assert work.configs["retention.ms"] == "60000"
        assert work.configs["retention.bytes"] == "1000000000"
        assert int(work.configs["segment.ms"]) < 60_000
        assert "retention.bytes" not in self.specs["demo.results.fixed"].configs

    def test_partitions_follow_the_function_and_state_has_one(self) -> None:
        assert self.specs["demo.detect.work"].partitions == 4
        assert self.specs["demo.detect.snapshots"].partitions == 4
        assert {
            spec.partitions for name, spec in self.specs.items() if name.endswith((".state", "ing"))
        } == {1}

    def test_all_values_are_text_and_the_clusters_settings_are_everywhere(self) -> None:
        for spec in self.specs.values():
            assert all(isinstance(value, str) for value in spec.configs.values())
            assert spec.replication == 1
            assert spec.configs["max.message.bytes"] == str(10 * 1024 * 1024)
            assert spec.configs["min.insync.replicas"] == "1"
