"""Plans as a pure function of declaration and cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.config import TopicSpec, declared_topics
from dataflow.topics import (
    AddPartitions,
    Create,
    FewerPartitions,
    Plan,
    ReplicationDiffers,
    SetConfig,
    Shrink,
    Unwritable,
    plan_deployment,
    plan_topics,
)
from dataflow.topics.plan import same_config, shrink_effect
from dataflow.transport.base import TopicState
from tests.topics.declarations import declaration

SPEC = TopicSpec(
    name="d.work", partitions=4, replication=1, configs={"retention.ms": "1000", "segment.ms": "9"}
)
STATE = TopicState(
    name="d.work",
    partitions=4,
    replication=1,
    configs={"retention.ms": "1000", "segment.ms": "9", "segment.bytes": "77"},
)


def plan(spec: TopicSpec, state: TopicState) -> Plan:
    return plan_topics([spec], {state.name: state}, prefix="d.")


def with_config(key: str, value: str) -> TopicSpec:
    return replace(SPEC, configs={**SPEC.configs, key: value})


def test_a_cluster_as_declared_needs_nothing() -> None:
    assert plan(SPEC, STATE) == Plan()
    assert plan(SPEC, STATE).in_sync


def test_an_absent_topic_is_created() -> None:
    assert plan_topics([SPEC], {}, prefix="d.") == Plan(changes=(Create(spec=SPEC),))


def test_partitions_are_added_and_never_taken_away() -> None:
    assert plan(replace(SPEC, partitions=6), STATE).changes == (
        AddPartitions(topic="d.work", old=4, new=6),
    )
    fewer = plan(replace(SPEC, partitions=3), STATE)
    assert fewer.steps(allow_shrink=True) == ()
    assert fewer.refusals == (FewerPartitions(topic="d.work", actual=4, declared=3),)
    assert "partitions: 4" in fewer.refusals[0].remedy


def test_another_number_of_copies_is_reported_only() -> None:
    found = plan(replace(SPEC, replication=3), STATE)
    assert found.steps(allow_shrink=True) == ()
    assert found.refusals == (ReplicationDiffers(topic="d.work", actual=1, declared=3),)
    assert not found.in_sync


def test_more_in_sync_copies_than_there_are_would_stop_all_writing() -> None:
    found = plan(with_config("min.insync.replicas", "2"), STATE)
    assert found.steps(allow_shrink=True) == ()
    assert found.refusals == (Unwritable(topic="d.work", replication=1, declared=2),)


def test_a_longer_retention_is_set_and_a_shorter_one_waits_for_permission() -> None:
    longer = plan(with_config("retention.ms", "2000"), STATE)
    change = SetConfig(topic="d.work", key="retention.ms", old="1000", new="2000")
    assert longer == Plan(changes=(change,))
    shorter = plan(with_config("retention.ms", "500"), STATE)
    assert shorter.steps(allow_shrink=False) == ()
    assert [step.topic for step in shorter.steps(allow_shrink=True)] == ["d.work"]
    assert isinstance(shorter.shrinks[0], Shrink)


def test_only_topics_under_the_prefix_are_unmanaged() -> None:
    names = ["d.work", "d.old", "d-2.work", "other"]
    found = plan_topics([SPEC], {n: replace(STATE, name=n) for n in names}, prefix="d.")
    assert found.unmanaged == ("d.old",)
    assert found.in_sync


@pytest.mark.parametrize(
    ("key", "old", "new", "same"),
    [
        ("retention.ms", "-1", "-1", True),
        ("retention.bytes", "-1", "-2", True),
        ("retention.ms", "1000", "01000", True),
        ("retention.ms", "1000", "1001", False),
        ("segment.ms", "-1", "-2", False),
        ("cleanup.policy", "compact,delete", "delete, compact", True),
        ("cleanup.policy", "compact", "delete", False),
        ("retention.ms", None, "1000", False),
    ],
)
def test_values_that_kafka_treats_alike(key: str, old: str | None, new: str, same: bool) -> None:
    assert same_config(key, old, new) is same


@pytest.mark.parametrize(
    ("key", "old", "new", "loses"),
    [
        ("retention.ms", "-1", "1000", True),
        ("retention.ms", "1000", "-1", False),
        ("retention.ms", "1000", "999", True),
        ("retention.bytes", "-1", "5", True),
        ("retention.bytes", "5", "6", False),
        ("max.message.bytes", "10", "9", True),
        ("max.message.bytes", "9", "10", False),
        ("cleanup.policy", "compact", "delete", True),
        ("cleanup.policy", "delete", "compact", True),
        ("cleanup.policy", "compact,delete", "compact", False),
        ("segment.ms", "10", "9", False),
        ("retention.ms", None, "1", False),
    ],
)
def test_what_loses_records(key: str, old: str | None, new: str, loses: bool) -> None:
    assert (shrink_effect(key, old, new) is not None) is loses


def test_cameras_that_move_home_are_told_of() -> None:
    config = declaration()
    states = {
        spec.name: TopicState(
            name=spec.name, partitions=1, replication=1, configs=dict(spec.configs)
        )
        for spec in declared_topics(config)
    }
    warnings = {
        change.topic: change.warning
        for change in plan_deployment(config, states).changes
        if isinstance(change, AddPartitions)
    }
    assert "home partition" in (warnings["test.motion.work"] or "")
    assert "empty state" in (warnings["test.motion.snapshots"] or "")
    assert warnings["test.ocr.work"] is None


KEYS = ["retention.ms", "retention.bytes", "max.message.bytes", "segment.ms"]
CONFIGS = st.dictionaries(st.sampled_from(KEYS), st.integers(-1, 5).map(str))
NAMES = st.sampled_from(["d.a", "d.b", "d.c", "e.a"])
SPECS = st.lists(
    st.builds(
        TopicSpec,
        name=NAMES,
        partitions=st.integers(1, 4),
        replication=st.integers(1, 2),
        configs=CONFIGS,
    ),
    unique_by=lambda spec: spec.name,
)
STATES = st.lists(
    st.builds(
        TopicState,
        name=NAMES,
        partitions=st.integers(1, 4),
        replication=st.integers(1, 2),
        configs=CONFIGS,
    ),
    unique_by=lambda state: state.name,
)


@settings(deadline=None)
@given(specs=SPECS, states=STATES)
def test_unasked_steps_only_ever_add(specs: list[TopicSpec], states: list[TopicState]) -> None:
    actual = {state.name: state for state in states}
    found = plan_topics(specs, actual, prefix="d.")
    assert {step.topic for step in found.steps(allow_shrink=True)} <= {s.name for s in specs}
    assert not set(found.unmanaged) & {spec.name for spec in specs}
    for step in found.changes:
        match step:
            case Create(spec=spec):
                assert spec.name not in actual
            case AddPartitions(topic=topic, old=old, new=new):
                assert actual[topic].partitions == old < new
            case SetConfig(key="segment.ms"):
                pass
            case SetConfig(old=old_value, new=new_value) if old_value is not None:
                assert new_value == "-1" or int(new_value) > int(old_value)
