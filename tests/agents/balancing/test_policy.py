"""Invariants of the policy, and the check vector of the design notes."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.balancing import Policy, compute_policy

Node = tuple[float, float, float]
"""Waiting, forecast, mu."""

node = st.tuples(
    st.integers(0, 500).map(float), st.floats(0, 500, width=32), st.integers(1, 60).map(float)
)
unknown = st.sampled_from(
    [(5.0, 1.0, 0.0), (5.0, 1.0, -1.0), (float("nan"), 1.0, 3.0), (1.0, float("inf"), 3.0)]
)
groups = st.lists(node, min_size=1, max_size=30)


def policy(
    nodes: list[Node],
    least: int = 1,
    at: float = 0.0,
    most: int | None = None,
    late: float = math.inf,
) -> Policy:
    return compute_policy(
        at=at,
        window=10.0,
        replicas=[f"r{place:03d}" for place in range(len(nodes))],
        waiting=[n[0] for n in nodes],
        forecast=[n[1] for n in nodes],
        mus=[n[2] for n in nodes],
        least=least,
        most=most,
        late=late,
    )


def shares(nodes: list[Node]) -> list[int]:
    return [int(share) for share in policy(nodes).expected]


def test_the_check_vector_of_the_corrected_equation() -> None:
    result = policy([(100, 0, 10), (20, 0, 30), (60, 0, 20)])
    assert result.expected.tolist() == [30, 90, 60]
    assert [(t.sender, t.receiver, t.items) for t in result] == [("r000", "r001", 70)]


def test_the_forecast_counts_like_what_waits() -> None:
    assert shares([(40, 60, 10), (20, 0, 30), (0, 60, 20)]) == [30, 90, 60]


@given(groups)
def test_work_is_conserved(nodes: list[Node]) -> None:
    result = policy(nodes)
    total = round(sum(waiting + forecast for waiting, forecast, _ in nodes))
    assert result.loads.sum() == result.expected.sum() == total
    assert (result.expected >= 0).all()


@given(groups)
def test_quotas_sum_to_zero_and_explain_the_expected_loads(nodes: list[Node]) -> None:
    result = policy(nodes)
    change: Counter[str] = Counter()
    for transfer in result:
        assert transfer.items > 0
        change[transfer.sender] -= transfer.items
        change[transfer.receiver] += transfer.items
    assert sum(change.values()) == 0
    for place, name in enumerate(result.replicas):
        assert result.loads[place] + change[name] == result.expected[place]


@given(groups)
def test_nobody_both_sends_and_receives_and_no_pair_meets_twice(nodes: list[Node]) -> None:
    transfers = list(policy(nodes))
    assert not {t.sender for t in transfers} & {t.receiver for t in transfers}
    pairs = [(t.sender, t.receiver) for t in transfers]
    assert len(set(pairs)) == len(pairs)


@given(groups)
def test_there_are_fewer_transfers_than_replicas(nodes: list[Node]) -> None:
    assert len(policy(nodes)) <= len(nodes) - 1


@given(groups)
def test_each_gets_its_share_of_the_capacity_to_within_one_item(nodes: list[Node]) -> None:
    result = policy(nodes)
    exact = result.loads.sum() * result.mus / result.mus.sum()
    assert np.abs(result.expected - exact).max() < 1 + 1e-6


@given(groups, st.integers(1, 600), st.floats(1, 5))
def test_queues_that_fill_up_leave_the_rest_to_slower_replicas(
    nodes: list[Node], most: int, late: float
) -> None:
    limited, free = policy(nodes, most=most, late=late), policy(nodes)
    mus = free.mus
    limits = np.maximum(1, np.floor(most * np.minimum(1, late * mus / mus.max())))
    total = int(free.expected.sum())
    assert limited.expected.sum() == total  # conserved
    assert len(limited) <= len(nodes) - 1
    if (free.expected <= limits).all():
        assert list(limited) == list(free)
    elif total <= limits.sum():
        assert (limited.expected <= limits + 1).all()
        # Nobody gets less because somebody else is full.
        assert (limited.expected >= np.minimum(free.expected, limits) - 1).all()
    else:
        assert (limited.expected >= limits).all()


def test_what_the_fast_have_no_room_for_is_shared_by_the_slow_in_proportion() -> None:
    nodes: list[Node] = [(100, 0, 60), (0, 0, 20), (0, 0, 10)]
    assert policy(nodes).expected.tolist() == [67, 22, 11]
    result = policy(nodes, most=40)
    assert result.expected.tolist() == [40, 40, 20]
    assert [t.urgent for t in result] == [40, 20]
    # The fastest is full with 2/3 s of work; 4/3 s are 27 items of the second, 13 of the third, and
    # the 21 that are left are everybody's.
    assert policy(nodes, most=40, late=2.0).expected.tolist() == [40 + 14, 26 + 5, 13 + 2]


@given(groups, st.lists(unknown, min_size=1, max_size=5))
def test_unknown_rows_get_nothing_and_change_nothing(
    nodes: list[Node], strangers: list[Node]
) -> None:
    result = policy([*nodes, *strangers])
    alone = policy(nodes)
    assert result.replicas == alone.replicas
    assert list(result) == list(alone)
    for place in range(len(nodes), len(nodes) + len(strangers)):
        assert result.expected_load(f"r{place:03d}") is None
        assert result.sent_to(f"r{place:03d}") == ()


@given(groups, st.data(), st.integers(1, 50))
def test_a_faster_replica_never_gets_less(
    nodes: list[Node], data: st.DataObject, more: int
) -> None:
    place = data.draw(st.integers(0, len(nodes) - 1))
    waiting, forecast, mu = nodes[place]
    faster = [*nodes]
    faster[place] = (waiting, forecast, mu + more)
    assert shares(faster)[place] >= shares(nodes)[place]


@given(groups, st.permutations(range(30)))
def test_the_order_of_the_rows_does_not_matter(nodes: list[Node], order: list[int]) -> None:
    """All replicas must come to the same policy, whoever is first in their tables."""
    places = [place for place in order if place < len(nodes)]
    shuffled = compute_policy(
        at=0.0,
        window=10.0,
        replicas=[f"r{place:03d}" for place in places],
        waiting=[nodes[place][0] for place in places],
        forecast=[nodes[place][1] for place in places],
        mus=[nodes[place][2] for place in places],
    )
    assert list(shuffled) == list(policy(nodes))


@given(groups, st.integers(1, 40))
def test_transfers_below_the_threshold_are_left_out_and_no_others(
    nodes: list[Node], least: int
) -> None:
    every = list(policy(nodes))
    result = policy(nodes, least=least)
    assert list(result) == [t for t in every if t.items >= least]
    assert result.expected.sum() == result.loads.sum()


@given(groups)
def test_only_what_waits_is_urgent_and_never_more_than_the_transfer(nodes: list[Node]) -> None:
    result = policy(nodes)
    urgent: Counter[str] = Counter()
    for transfer in result:
        assert 0 <= transfer.urgent <= transfer.items
        urgent[transfer.sender] += transfer.urgent
    for name, items in urgent.items():
        # Each of a sender's transfers may round up by half an item.
        assert items <= nodes[int(name[1:])][0] + len(result.sent_by(name)) / 2


def test_the_most_loaded_sends_to_the_least_loaded_first() -> None:
    result = policy([(90, 0, 1), (60, 0, 1), (0, 0, 1), (10, 0, 1)])  # shares of 40
    assert [(t.sender, t.receiver, t.items) for t in result] == [
        ("r000", "r002", 40),
        ("r000", "r003", 10),
        ("r001", "r003", 20),
    ]
    assert result.sent_by("r001") == tuple(result)[2:]
    assert result.sent_to("r003") == tuple(result)[1:]
    assert result.expected_from("r000", "r003") == 10
    assert result.expected_from("r003", "r000") == 0


@pytest.mark.parametrize("nodes", [[], [(5.0, 5.0, 0.0), (1.0, 1.0, 0.0)], [(7.0, 0.0, 2.0)]])
def test_without_capacity_or_company_there_is_nothing_to_do(nodes: list[Node]) -> None:
    assert list(policy(nodes)) == []


def test_a_policy_is_immutable() -> None:
    result = policy([(4, 0, 1), (0, 0, 1)])
    with pytest.raises(FrozenInstanceError):
        result.at = 3.0  # type: ignore[misc] # frozen, which is the point
    for array in (result.loads, result.expected, result.mus):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 9


def test_arguments_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        compute_policy(at=0, window=10, replicas=["a", "b"], waiting=[1], forecast=[1], mus=[1])
