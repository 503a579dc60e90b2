"""Invariants of what may be committed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agents.progress import PartitionProgress, Progress
from dataflow.transport import TopicPartition

WORK = TopicPartition("work", 0)
OTHER = TopicPartition("work", 1)


class OnePartition(RuleBasedStateMachine):
    """Offsets grow with gaps and finish in any order, now and then twice."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = PartitionProgress()
        self.started: list[int] = []
        self.open: set[int] = set()
        self.commits: list[int] = []

    @rule(gap=st.integers(0, 3))
    def start(self, gap: int) -> None:
        offset = (self.started[-1] + 1 if self.started else 0) + gap
        self.progress.start(offset)
        self.started.append(offset)
        self.open.add(offset)

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        if self.started:
            offset = data.draw(st.sampled_from(self.started))
            self.progress.finish(offset)
            self.open.discard(offset)

    @rule()
    def commit(self) -> None:
        offset = self.progress.uncommitted()
        if offset is not None:
            self.progress.committed(offset)
            self.commits.append(offset)
            assert self.progress.uncommitted() is None

    @invariant()
    def position_never_passes_an_open_offset(self) -> None:
        position = self.progress.position()
        assert position is None or all(position <= offset for offset in self.open)

    @invariant()
    def position_passes_everything_before_the_oldest_open_offset(self) -> None:
        if self.open:
            assert self.progress.position() == min(self.open)
        elif self.started:
            assert self.progress.position() == self.started[-1] + 1
        else:
            assert self.progress.position() is None

    @invariant()
    def commits_are_strictly_monotone(self) -> None:
        assert all(a < b for a, b in zip(self.commits, self.commits[1:], strict=False))


TestOnePartition = OnePartition.TestCase


def test_nothing_is_committed_before_the_first_item() -> None:
    progress = Progress()
    progress.assign([WORK])
    assert progress.take_commits() == {}
    assert progress.positions([WORK]) == {}


def test_commits_are_taken_once() -> None:
    progress = Progress()
    progress.assign([WORK, OTHER])
    progress.of(WORK).start(5)
    progress.of(OTHER).start(9)
    progress.of(OTHER).finish(9)
    assert progress.take_commits() == {WORK: 5, OTHER: 10}
    assert progress.take_commits() == {}
    progress.of(WORK).finish(5)
    assert progress.take_commits() == {WORK: 6}


def test_what_leaves_is_committed_again_in_case_the_last_commit_failed() -> None:
    progress = Progress()
    progress.assign([WORK, OTHER])
    progress.of(WORK).start(5)
    progress.of(WORK).finish(5)
    progress.of(OTHER).start(1)
    assert progress.take_commits() == {WORK: 6, OTHER: 1}
    assert progress.positions([WORK, TopicPartition("work", 7)]) == {WORK: 6}


def test_a_new_assignment_knows_nothing_of_the_one_before() -> None:
    progress = Progress()
    progress.assign([WORK])
    before = progress.of(WORK)
    before.start(3)
    progress.drop([WORK, OTHER])
    assert WORK not in progress
    assert progress.partitions == []
    progress.assign([WORK])
    progress.of(WORK).start(3)
    before.finish(3)  # a late delivery report of the first assignment
    assert progress.of(WORK).position() == 3


@given(st.lists(st.builds(TopicPartition, st.sampled_from("ab"), st.integers(0, 9))))
def test_what_is_owned_is_sorted_and_unique(partitions: list[TopicPartition]) -> None:
    progress = Progress()
    progress.assign(partitions)
    assert progress.partitions == sorted(set(partitions))
