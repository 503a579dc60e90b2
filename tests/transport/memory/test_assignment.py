"""Which partition is whose: Kafka's hash, and a cooperative, sticky assignment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.transport import TopicPartition
from dataflow.transport.memory.group import assign
from dataflow.transport.partitioning import murmur2, partition_for_key


# Vectors of Kafka's own UtilsTest.testMurmur2, signed as Java prints them.
@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_kafkas(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed % 2**32
    assert partition_for_key(key, 1000) == (signed & 0x7FFFFFFF) % 1000


TOPICS = ("a", "b", "c")


subscriptions = st.lists(st.sets(st.sampled_from(TOPICS), min_size=1), max_size=7)


sizes = st.fixed_dictionaries(dict.fromkeys(TOPICS, st.integers(0, 9)))


class TestAssignment:
    @given(subscriptions, sizes)
    def test_each_wanted_partition_lies_with_exactly_one_subscriber(
        self, members: list[set[str]], partitions: dict[str, int]
    ) -> None:
        shares = assign([(topics, ()) for topics in members], partitions)
        wanted = set[str]().union(*members)
        assert sorted(tp for share in shares for tp in share) == [
            TopicPartition(topic, number)
            for topic in TOPICS
            if topic in wanted
            for number in range(partitions[topic])
        ]
        assert all(
            tp.topic in topics
            for topics, share in zip(members, shares, strict=True)
            for tp in share
        )

    @given(st.integers(1, 8), sizes)
    def test_equal_members_get_equal_shares(self, members: int, partitions: dict[str, int]) -> None:
        counts = [len(share) for share in assign([(TOPICS, ())] * members, partitions)]
        assert max(counts) - min(counts) <= 1

    @given(st.integers(1, 8), sizes)
    def test_nothing_moves_without_a_reason(self, members: int, partitions: dict[str, int]) -> None:
        before = assign([(TOPICS, ())] * members, partitions)
        assert assign([(TOPICS, share) for share in before], partitions) == before

    @given(st.integers(1, 8), sizes)
    def test_a_newcomer_takes_its_share_and_nothing_else_moves(
        self, members: int, partitions: dict[str, int]
    ) -> None:
        before = assign([(TOPICS, ())] * members, partitions)
        after = assign([*((TOPICS, share) for share in before), (TOPICS, ())], partitions)
        for old, new in zip(before, after, strict=False):
            assert new <= old
        assert len(after[-1]) == sum(partitions.values()) // (members + 1)

    @given(st.integers(2, 8), sizes)
    def test_a_leavers_share_is_dealt_out_and_nothing_else_moves(
        self, members: int, partitions: dict[str, int]
    ) -> None:
        before = assign([(TOPICS, ())] * members, partitions)
        after = assign([(TOPICS, share) for share in before[1:]], partitions)
        assert all(old <= new for old, new in zip(before[1:], after, strict=True))
