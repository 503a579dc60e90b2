"""The coordinator of one consumer group: members, assignment and commits. Pure: no locks, no clock.

It follows Kafka's cooperative protocol. A membership change computes a new target at once; a
partition that moves is first given up by the member that has it (at that member's next poll), and
only then taken by its new owner.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from dataflow.transport.base import TopicPartition


@dataclass(slots=True, eq=False)
class Member:
    """A member as the coordinator sees it.

    Attributes:
        topics: what it subscribes to.
        owned: partitions that it has.
        target: partitions that it shall have.
        polled_at: when it last polled, in seconds; None while it waits within a poll.
        gone_at: since when nothing is heard of it; None while it lives.
    """

    topics: tuple[str, ...]
    owned: set[TopicPartition] = field(default_factory=set)
    target: set[TopicPartition] = field(default_factory=set)
    polled_at: float | None = None
    gone_at: float | None = None

    def revocable(self) -> list[TopicPartition]:
        """What it has and shall give up."""
        return sorted(self.owned - self.target)


class Group:
    """One consumer group.

    Args:
        session_timeout: seconds after which a silent member is removed.
        max_poll_interval: seconds without a poll after which a member is removed.
    """

    def __init__(self, session_timeout: float, max_poll_interval: float) -> None:
        self.committed: dict[TopicPartition, int] = {}
        self._members: list[Member] = []
        self._session_timeout = session_timeout
        self._max_poll_interval = max_poll_interval

    def __contains__(self, member: Member) -> bool:
        return member in self._members

    @property
    def awaits_timeout(self) -> bool:
        """Whether a member has vanished whose partitions are not yet free."""
        return any(member.gone_at is not None for member in self._members)

    def join(self, member: Member, partitions: Mapping[str, int]) -> None:
        """Admit a member and compute the new target."""
        self._members.append(member)
        self.rebalance(partitions)

    def leave(self, member: Member, partitions: Mapping[str, int]) -> None:
        """Remove a member; what it had is free at once."""
        if member in self._members:
            self._members.remove(member)
            self.rebalance(partitions)

    def expire(self, now: float, partitions: Mapping[str, int]) -> bool:
        """Remove members that were silent, or did not poll, for too long; tell whether any."""
        expired = [
            member
            for member in self._members
            if (member.gone_at is not None and now - member.gone_at >= self._session_timeout)
            or (member.polled_at is not None and now - member.polled_at >= self._max_poll_interval)
        ]
        for member in expired:
            self._members.remove(member)
        if expired:
            self.rebalance(partitions)
        return bool(expired)

    def assignable(self, member: Member) -> list[TopicPartition]:
        """What ``member`` shall have and nobody else still has."""
        taken = {
            partition for other in self._members if other is not member for partition in other.owned
        }
        return sorted(member.target - member.owned - taken)

    def rebalance(self, partitions: Mapping[str, int]) -> None:
        """Compute the target of each member.

        Args:
            partitions: number of partitions of each topic that exists.
        """
        targets = assign([(member.topics, member.target) for member in self._members], partitions)
        for member, target in zip(self._members, targets, strict=True):
            member.target = target

    def forget(self, topic: str) -> None:
        """Drop the commits of a topic that was deleted."""
        self.committed = {tp: at for tp, at in self.committed.items() if tp.topic != topic}


def assign(
    members: Sequence[tuple[Collection[str], Collection[TopicPartition]]],
    partitions: Mapping[str, int],
) -> list[set[TopicPartition]]:
    """A balanced assignment that moves as little as possible.

    Args:
        members: the subscription and the present share of each, in the order they joined.
        partitions: number of partitions of each topic that exists.

    Returns:
        The share of each member: every partition that somebody subscribes to lies in exactly one.
    """
    shares: list[set[TopicPartition]] = []
    taken: set[TopicPartition] = set()
    for topics, present in members:
        kept = {
            tp
            for tp in present
            if tp.topic in topics and tp.partition < partitions.get(tp.topic, 0) and tp not in taken
        }
        taken |= kept
        shares.append(kept)

    def least_loaded(topic: str) -> int | None:
        eligible = [index for index, (topics, _) in enumerate(members) if topic in topics]
        return min(eligible, key=lambda index: len(shares[index]), default=None)

    for topic in sorted(partitions):
        for number in range(partitions[topic]):
            partition = TopicPartition(topic, number)
            receiver = least_loaded(topic)
            if receiver is not None and partition not in taken:
                shares[receiver].add(partition)
    while _move_one(shares, least_loaded):
        pass
    return shares


def _move_one(shares: list[set[TopicPartition]], least_loaded: Callable[[str], int | None]) -> bool:
    """Move one partition from a fuller to an emptier member; False where that helps no more."""
    for giver in sorted(range(len(shares)), key=lambda index: -len(shares[index])):
        for partition in sorted(shares[giver], reverse=True):
            receiver = least_loaded(partition.topic)
            if receiver is not None and len(shares[receiver]) + 1 < len(shares[giver]):
                shares[giver].remove(partition)
                shares[receiver].add(partition)
                return True
    return False
