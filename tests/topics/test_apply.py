"""Applying plans and deleting topics, on a cluster that can fail."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.config import declared_topics
from dataflow.errors import BrokerError, ConfigError
from dataflow.topics import (
    apply_plan,
    count_records,
    create_declared_topics,
    delete_topics,
    make_plan,
    select_for_deletion,
    topics_of,
)
from dataflow.transport.base import TopicState
from dataflow.transport.memory import MemoryTransport
from tests.topics.declarations import declaration
from tests.topics.fake_admin import BROKER_DEFAULTS, FakeAdmin
from tests.topics.test_plan import CONFIGS

CONFIG = declaration()
DECLARED = [spec.name for spec in declared_topics(CONFIG)]


def state(name: str, partitions: int = 1, configs: dict[str, str] | None = None) -> TopicState:
    return TopicState(
        name=name, partitions=partitions, replication=1, configs=BROKER_DEFAULTS | (configs or {})
    )


CLUSTERS = st.lists(
    st.builds(
        state,
        st.sampled_from([*DECLARED, "test.old", "other.topic"]),
        st.integers(1, 6),
        CONFIGS,
    ),
    unique_by=lambda topic: topic.name,
).map(lambda states: {topic.name: topic for topic in states})


@settings(deadline=None)
@given(cluster=CLUSTERS, allow_shrink=st.booleans())
def test_after_applying_nothing_is_left_to_apply(
    cluster: dict[str, TopicState], allow_shrink: bool
) -> None:
    admin = FakeAdmin(topics=dict(cluster))
    before = make_plan(CONFIG, admin)
    apply_plan(before, admin, allow_shrink=allow_shrink)
    after = make_plan(CONFIG, admin)
    assert after.steps(allow_shrink=allow_shrink) == ()
    assert after.refusals == before.refusals
    assert set(admin.topics) == set(cluster) | set(DECLARED)
    for name, topic in cluster.items():
        assert admin.topics[name].partitions >= topic.partitions
        if name not in DECLARED:
            assert admin.topics[name] == topic


@settings(deadline=None)
@given(cluster=CLUSTERS, fail_at=st.integers(0, 30), after_effect=st.booleans())
def test_an_interrupted_apply_goes_on_when_run_again(
    cluster: dict[str, TopicState], fail_at: int, after_effect: bool
) -> None:
    admin = FakeAdmin(topics=dict(cluster), fail_at=fail_at, after_effect=after_effect)
    steps = len(make_plan(CONFIG, admin).changes)
    try:
        apply_plan(make_plan(CONFIG, admin), admin)
    except BrokerError:
        assert len(admin.calls) == fail_at + 1
    else:
        assert fail_at >= steps or after_effect
    admin.fail_at = None
    apply_plan(make_plan(CONFIG, admin), admin)
    assert make_plan(CONFIG, admin).changes == ()


def test_each_step_is_reported_and_what_another_did_meanwhile_is_not_an_error() -> None:
    admin = FakeAdmin()
    stale = make_plan(CONFIG, admin)
    admin.create(declared_topics(CONFIG)[0])
    told: list[tuple[str, str]] = []
    made = apply_plan(stale, admin, on_step=lambda change, how: told.append((change.topic, how)))
    assert told == [(DECLARED[0], "already"), *((name, "done") for name in DECLARED[1:])]
    assert made == len(DECLARED) - 1


def test_a_topic_that_another_made_differently_meanwhile_is_an_error() -> None:
    admin = FakeAdmin()
    stale = make_plan(CONFIG, admin)
    admin.topics[DECLARED[0]] = state(DECLARED[0], partitions=9)
    with pytest.raises(BrokerError, match="exists"):
        apply_plan(stale, admin)


def test_the_topics_of_a_function_and_of_a_pipeline() -> None:
    assert topics_of(CONFIG, "motion") == tuple(
        f"test.motion.{part}" for part in ("work", "state", "signals", "dead", "snapshots")
    )
    assert topics_of(CONFIG, "ocr") == tuple(
        f"test.ocr.{part}" for part in ("work", "state", "signals", "dead")
    )
    assert topics_of(CONFIG, "fixed") == ("test.results.fixed",)
    assert topics_of(CONFIG, "pipelines.fixed") == ("test.results.fixed",)


@pytest.mark.parametrize("name", ["", "nobody", "pipelines.ocr", "functions.fixed", "x.ocr"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        topics_of(CONFIG, name)
    assert "motion" in (caught.value.remedy or "")
    assert "fixed" in (caught.value.remedy or "")


def test_a_name_of_both_a_function_and_a_pipeline_must_be_qualified() -> None:
    both = declaration(pipelines="  ocr: {cameras: [other], steps: [{function: ocr}]}")
    with pytest.raises(ConfigError, match="a function and of a pipeline"):
        topics_of(both, "ocr")
    assert topics_of(both, "pipelines.ocr") == ("test.results.ocr",)
    assert "test.ocr.work" in topics_of(both, "functions.ocr")


def test_only_what_is_named_and_exists_is_selected_for_deletion() -> None:
    actual = [*DECLARED, "test.old", "test-2.motion.work", "other"]
    assert select_for_deletion(CONFIG, actual) == ()
    assert select_for_deletion(CONFIG, actual, names=["fixed"]) == ("test.results.fixed",)
    assert select_for_deletion(CONFIG, ["other"], names=["fixed"]) == ()
    assert select_for_deletion(CONFIG, actual, all_declared=True) == tuple(sorted(DECLARED))
    assert select_for_deletion(CONFIG, actual, unmanaged=True) == ("test.old",)


def test_deleting_again_after_an_interruption_is_no_error() -> None:
    admin = FakeAdmin(topics={name: state(name) for name in ["test.a", "test.b"]}, fail_at=1)
    gone: list[str] = []
    with pytest.raises(BrokerError):
        delete_topics(["test.a", "test.b"], admin, on_deleted=gone.append)
    assert gone == ["test.a"]
    delete_topics(["test.a", "test.b"], admin)
    assert admin.topics == {}


def test_records_are_counted_over_all_partitions() -> None:
    admin = FakeAdmin(topics={"test.a": state("test.a", partitions=3)})
    assert count_records(CONFIG, "test.a", admin) == 21


def test_a_new_deployment_gets_all_its_topics_or_those_asked_for() -> None:
    whole, part = MemoryTransport(), MemoryTransport()
    create_declared_topics(CONFIG, whole)
    assert sorted(whole.admin().describe()) == sorted(DECLARED)
    create_declared_topics(CONFIG, part, only=lambda name: name.endswith(".state"))
    assert sorted(part.admin().describe()) == sorted(n for n in DECLARED if n.endswith(".state"))
    with pytest.raises(BrokerError, match="exists"):
        create_declared_topics(CONFIG, whole)
