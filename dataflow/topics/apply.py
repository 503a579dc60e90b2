"""Carrying out a plan, and deleting topics: everything that changes the cluster goes through here.

Both may be interrupted at any point and run again: a plan is made anew from what the cluster then
is, and a step whose outcome is already there counts as done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable
from typing import Literal

from dataflow.config.model import Config
from dataflow.config.topics import TopicNames, declared_topics
from dataflow.errors import BrokerError, ConfigError
from dataflow.topics.plan import (
    AddPartitions,
    Change,
    Create,
    Plan,
    SetConfig,
    deployment_prefix,
    plan_deployment,
    same_config,
)
from dataflow.transport.base import Admin, Transport

Outcome = Literal["done", "already"]
"""``already`` where somebody else had made the change since the plan was made."""


def make_plan(config: Config, admin: Admin) -> Plan:
    """Compare topics.yaml with the cluster.

    Raises:
        BrokerError: the cluster does not answer.
    """
    return plan_deployment(config, admin.describe(deployment_prefix(config)))


def create_declared_topics(
    config: Config, transport: Transport, *, only: Callable[[str], bool] = lambda _: True
) -> None:
    """Create what a new deployment needs, without a plan: for tests and experiments.

    Args:
        config: the declaration.
        transport: the cluster.
        only: which of the topics, by name; all by default.

    Raises:
        BrokerError: one of them exists already, or is refused.
    """
    admin = transport.admin()
    try:
        for spec in declared_topics(config):
            if only(spec.name):
                admin.create(spec)
    finally:
        admin.close()


def apply_plan(
    plan: Plan,
    admin: Admin,
    *,
    allow_shrink: bool = False,
    on_step: Callable[[Change, Outcome], None] = lambda _change, _outcome: None,
) -> int:
    """Carry out the steps of a plan one by one, stopping at the first that fails.

    Args:
        plan: from `make_plan`, as recent as possible.
        admin: of the cluster that the plan was made for.
        allow_shrink: carry out the plan's shrinks too.
        on_step: called after each step.

    Returns:
        How many steps were made by this call.

    Raises:
        BrokerError: the cluster refused a step. The steps before it are made; plan and apply
            again to go on.
    """
    made = 0
    for change in plan.steps(allow_shrink=allow_shrink):
        outcome: Outcome = "done"
        try:
            _execute(change, admin)
            made += 1
        except BrokerError:
            if not _holds(change, admin):
                raise
            outcome = "already"
        on_step(change, outcome)
    return made


def _execute(change: Change, admin: Admin) -> None:
    match change:
        case Create(spec=spec):
            admin.create(spec)
        case AddPartitions(topic=topic, new=total):
            admin.add_partitions(topic, total)
        case SetConfig(topic=topic, key=key, new=value):
            admin.set_configs(topic, {key: value})


def _holds(change: Change, admin: Admin) -> bool:
    """Whether the cluster is as ``change`` would make it, although the request failed."""
    state = admin.describe(change.topic).get(change.topic)
    if state is None:
        return False
    match change:
        case Create(spec=spec):
            return state.partitions == spec.partitions and all(
                same_config(key, state.configs.get(key), value)
                for key, value in spec.configs.items()
            )
        case AddPartitions(new=total):
            return state.partitions == total
        case SetConfig(key=key, new=value):
            return same_config(key, state.configs.get(key), value)


def topics_of(config: Config, name: str) -> tuple[str, ...]:
    """Declared topics of one function or pipeline.

    Args:
        config: topics.yaml.
        name: a function's or a pipeline's name; ``functions.NAME`` or ``pipelines.NAME`` where
            both have it.

    Raises:
        ConfigError: no function or pipeline has that name, or both have it.
    """
    kind, _, bare = name.rpartition(".")
    in_functions = kind in ("", "functions") and bare in config.functions
    in_pipelines = kind in ("", "pipelines") and bare in config.pipelines
    if in_functions and in_pipelines:
        raise ConfigError(
            f"{name!r} is the name of a function and of a pipeline",
            remedy=f"say functions.{name} or pipelines.{name}",
        )
    names = TopicNames(config.deployment)
    if in_pipelines:
        return (names.results(bare),)
    if not in_functions:
        raise ConfigError(
            f"no function or pipeline is called {name!r}",
            remedy=(
                f"functions: {', '.join(config.functions)}; pipelines: "
                f"{', '.join(config.pipelines)}; topics that topics.yaml no longer declares "
                "are deleted with --unmanaged"
            ),
        )
    own = {
        names.work(bare),
        names.state(bare),
        names.signals(bare),
        names.dead(bare),
        names.snapshots(bare),
    }
    return tuple(spec.name for spec in declared_topics(config) if spec.name in own)


def select_for_deletion(
    config: Config,
    actual: Collection[str],
    *,
    names: Iterable[str] = (),
    all_declared: bool = False,
    unmanaged: bool = False,
) -> tuple[str, ...]:
    """Existing topics that a delete command means.

    Args:
        config: topics.yaml.
        actual: names of the topics that exist.
        names: functions and pipelines; see `topics_of`.
        all_declared: all declared topics of the deployment.
        unmanaged: topics with the deployment's prefix that are not declared.

    Returns:
        Names, sorted; never one outside the deployment's prefix.

    Raises:
        ConfigError: a name is unknown or ambiguous.
    """
    declared = {spec.name for spec in declared_topics(config)}
    chosen = {topic for name in names for topic in topics_of(config, name)}
    if all_declared:
        chosen |= declared
    if unmanaged:
        prefix = deployment_prefix(config)
        chosen |= {name for name in actual if name.startswith(prefix)} - declared
    return tuple(sorted(chosen & set(actual)))


def delete_topics(
    topics: Iterable[str],
    admin: Admin,
    *,
    on_deleted: Callable[[str], None] = lambda _topic: None,
) -> None:
    """Delete topics one by one, with all they hold.

    Args:
        topics: names; those that do not exist any more count as deleted.
        admin: of the cluster.
        on_deleted: called after each topic.

    Raises:
        BrokerError: the cluster refused; the topics before are gone.
    """
    for topic in topics:
        try:
            admin.delete([topic])
        except BrokerError:
            if topic in admin.describe(topic):
                raise
        on_deleted(topic)


def count_records(config: Config, topic: str, admin: Admin) -> int | None:
    """How many records a topic holds at most (Kafka counts offsets, compaction leaves gaps).

    Returns:
        The number, or None where the cluster does not tell.
    """
    with contextlib.suppress(BrokerError):
        # What a group that never committed has yet to read is everything there is.
        return sum(admin.lag(f"{config.deployment}.nobody", topic).values())
    return None
