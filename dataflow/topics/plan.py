"""What would change on the cluster so that it is as topics.yaml declares: pure comparison.

A plan sorts differences by what they may cost. *Changes* lose nothing. *Shrinks* delete or refuse
data and are carried out only when the caller says so. *Refusals* are what Kafka cannot do, or what
would break the topic: they are reported with a remedy and never attempted. Topics that carry the
deployment's prefix but are not declared are *unmanaged*: reported, and left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dataflow.config.model import Config
from dataflow.config.topics import TopicNames, TopicSpec, declared_topics
from dataflow.transport.base import TopicState


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """The topic does not exist yet."""

    spec: TopicSpec

    @property
    def topic(self) -> str:
        """Full name of the topic."""
        return self.spec.name


@dataclass(frozen=True, slots=True, kw_only=True)
class AddPartitions:
    """The topic has fewer partitions than declared.

    Attributes:
        topic: full name.
        old: partitions now.
        new: partitions declared, above ``old``.
        warning: what records already there, or their senders, notice of it; None if nothing.
    """

    topic: str
    old: int
    new: int
    warning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetConfig:
    """One config differs.

    Attributes:
        topic: full name.
        key: Kafka's topic config, for example ``retention.ms``.
        old: value in force; None where the broker does not know the key.
        new: value declared.
    """

    topic: str
    key: str
    old: str | None
    new: str


Change = Create | AddPartitions | SetConfig
"""One step of `apply_plan`; none of them loses a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrink:
    """A config whose new value deletes records that are there, or refuses ones that were welcome.

    Attributes:
        change: what would be set.
        effect: what is lost, one sentence for a person.
    """

    change: SetConfig
    effect: str

    @property
    def topic(self) -> str:
        """Full name of the topic."""
        return self.change.topic


@dataclass(frozen=True, slots=True, kw_only=True)
class FewerPartitions:
    """Fewer partitions are declared than there are: Kafka cannot take partitions away."""

    topic: str
    actual: int
    declared: int

    @property
    def message(self) -> str:
        """What is wrong."""
        return (
            f"has {self.actual} partitions, {self.declared} are declared; "
            "Kafka cannot take partitions away"
        )

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return (
            f"declare partitions: {self.actual}, or delete the topic with all it holds "
            "(`videojam topics delete`) and apply again"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationDiffers:
    """The number of copies differs: changing it moves data between brokers."""

    topic: str
    actual: int
    declared: int

    @property
    def message(self) -> str:
        """What is wrong."""
        return f"has {self.actual} copies of each partition, {self.declared} are declared"

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return (
            "move the copies with Kafka's kafka-reassign-partitions.sh, "
            f"or declare cluster.replication: {self.actual}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwritable:
    """More copies in sync would be demanded than the topic has: no record could be written."""

    topic: str
    replication: int
    declared: int

    @property
    def message(self) -> str:
        """What is wrong."""
        return (
            f"min.insync.replicas {self.declared} is declared, but there are only "
            f"{self.replication} copies of each partition: no record could be written"
        )

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return (
            "raise the number of copies first with Kafka's kafka-reassign-partitions.sh, "
            f"or declare cluster.min_insync_replicas: {self.replication}"
        )


Refusal = FewerPartitions | ReplicationDiffers | Unwritable
"""A difference that `apply_plan` cannot mend; carries message and remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All differences between declaration and cluster, in the order of the declaration.

    Attributes:
        changes: what apply does.
        shrinks: what apply does only when shrinking is allowed.
        refusals: what apply cannot do.
        unmanaged: names of topics under the prefix that are not declared, sorted.
    """

    changes: tuple[Change, ...] = ()
    shrinks: tuple[Shrink, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    unmanaged: tuple[str, ...] = ()

    @property
    def in_sync(self) -> bool:
        """Whether every declared topic is as declared. Unmanaged topics do not count."""
        return not (self.changes or self.shrinks or self.refusals)

    def steps(self, *, allow_shrink: bool) -> tuple[Change, ...]:
        """What apply does, in order."""
        if not allow_shrink:
            return self.changes
        return self.changes + tuple(shrink.change for shrink in self.shrinks)


def plan_topics(
    declared: Sequence[TopicSpec],
    actual: Mapping[str, TopicState],
    *,
    prefix: str,
    growth_warnings: Mapping[str, str] | None = None,
) -> Plan:
    """Compare the declared topics with those of the cluster.

    Args:
        declared: topics as they should be.
        actual: topics as they are, by name; may hold topics of others.
        prefix: what the names of all topics of the deployment start with, the dot included.
        growth_warnings: by topic name, what happens when its partitions become more.

    Returns:
        The plan. Configs that the declaration does not name are left as they are.
    """
    changes: list[Change] = []
    shrinks: list[Shrink] = []
    refusals: list[Refusal] = []
    for spec in declared:
        state = actual.get(spec.name)
        if state is None:
            changes.append(Create(spec=spec))
            continue
        if spec.partitions > state.partitions:
            changes.append(
                AddPartitions(
                    topic=spec.name,
                    old=state.partitions,
                    new=spec.partitions,
                    warning=(growth_warnings or {}).get(spec.name),
                )
            )
        elif spec.partitions < state.partitions:
            refusals.append(
                FewerPartitions(topic=spec.name, actual=state.partitions, declared=spec.partitions)
            )
        if spec.replication != state.replication:
            refusals.append(
                ReplicationDiffers(
                    topic=spec.name, actual=state.replication, declared=spec.replication
                )
            )
        for change in _config_changes(spec, state):
            effect = shrink_effect(change.key, change.old, change.new)
            if change.key == "min.insync.replicas" and int(change.new) > state.replication:
                refusals.append(
                    Unwritable(
                        topic=spec.name,
                        replication=state.replication,
                        declared=int(change.new),
                    )
                )
            elif effect is not None:
                shrinks.append(Shrink(change=change, effect=effect))
            else:
                changes.append(change)
    names = {spec.name for spec in declared}
    unmanaged = sorted(name for name in actual if name.startswith(prefix) and name not in names)
    return Plan(
        changes=tuple(changes),
        shrinks=tuple(shrinks),
        refusals=tuple(refusals),
        unmanaged=tuple(unmanaged),
    )


def plan_deployment(config: Config, actual: Mapping[str, TopicState]) -> Plan:
    """The plan for topics.yaml against ``actual``, with its warnings; see `plan_topics`."""
    return plan_topics(
        declared_topics(config),
        actual,
        prefix=deployment_prefix(config),
        growth_warnings=growth_warnings(config),
    )


def deployment_prefix(config: Config) -> str:
    """What the names of all topics of the deployment start with."""
    return f"{config.deployment}."


def growth_warnings(config: Config) -> dict[str, str]:
    """By topic, what becomes of records whose partition follows from their key as it grows."""
    names = TopicNames(config.deployment)
    warnings = {}
    for name, function in config.functions.items():
        if function.partitioning == "camera":
            warnings[names.work(name)] = (
                "most cameras move to another home partition, hence another replica: frames "
                "already waiting may be processed after newer ones"
            )
        if function.stateful:
            warnings[names.snapshots(name)] = (
                "saved states stay in their old partitions: cameras that move home start with "
                "an empty state"
            )
    return warnings


def shrink_effect(key: str, old: str | None, new: str) -> str | None:
    """What setting a config from ``old`` to ``new`` loses; None if nothing.

    Args:
        key: Kafka's topic config.
        old: value in force; None where there is none.
        new: value to set.
    """
    if old is None:
        return None
    if key in _LIMITS:
        before, after = _limit(key, old), _limit(key, new)
        return _LIMITS[key] if after < before else None
    if key == "cleanup.policy":
        added = _words(new) - _words(old)
        if "compact" in added:
            return "all but the newest record of each key are deleted, keyless ones are refused"
        if "delete" in added:
            return "records older or larger than the retention are deleted"
    return None


_LIMITS = {
    "retention.ms": "records older than the new limit are deleted",
    "retention.bytes": "the oldest records above the new limit are deleted",
    "max.message.bytes": "records above the new limit are refused",
}
"""Configs that bound what a topic holds, with what lowering them loses."""

_UNLIMITED = {"retention.ms", "retention.bytes"}
"""Configs in which -1 means no limit (Kafka's topic configuration reference)."""


def _limit(key: str, value: str) -> float:
    number = int(value)
    return float("inf") if key in _UNLIMITED and number < 0 else float(number)


def _config_changes(spec: TopicSpec, state: TopicState) -> list[SetConfig]:
    return [
        SetConfig(topic=spec.name, key=key, old=state.configs.get(key), new=value)
        for key, value in spec.configs.items()
        if not same_config(key, state.configs.get(key), value)
    ]


def same_config(key: str, old: str | None, new: str) -> bool:
    """Whether Kafka treats both values of a config alike.

    Numbers compare as numbers, lists without regard to order, and every negative retention means
    no limit.
    """
    if old is None:
        return False
    if _words(old) == _words(new):
        return True
    number = _number(key, new)
    return number is not None and _number(key, old) == number


def _words(value: str) -> frozenset[str]:
    return frozenset(word.strip().lower() for word in value.split(","))


def _number(key: str, value: str) -> float | None:
    try:
        return _limit(key, value)
    except ValueError:
        return None
