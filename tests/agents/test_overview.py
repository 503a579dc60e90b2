"""What is shown of a group of replicas."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.overview import FORGOTTEN_SECONDS, SILENT_SECONDS, Sighting, overview
from agents.state import FORMER_PEERS, Balance, LinkState
from tests.agents.shown import NOW, row, sighting, state


def balance(replica: str, **more: Any) -> Balance:
    known: dict[str, Any] = {"policy": "videojam", "row": row(replica), "arrivals": 8.0}
    return Balance.model_validate({**known, **more})


def test_capacity_is_the_sum_of_what_the_living_can_process() -> None:
    (group,) = overview(
        {"find": 3},
        [
            sighting("find-0", balance=balance("find-0", coming=9.0)),
            sighting("find-1", balance=balance("find-1", row=row("find-1", mu=12.0, in_flight=2))),
            sighting("find-2", balance=balance("find-2"), age=SILENT_SECONDS + 0.1),
        ],
        {"find": 7},
    )
    assert (group.alive, group.declared, group.policies) == (2, 3, ("videojam",))
    assert (group.capacity, group.arrivals, group.coming) == (32.0, 16.0, 9.0)
    assert group.load == pytest.approx(0.5)
    assert (group.rate, group.waiting, group.lag) == (25.0, 3 + 3 + 2, 7)
    assert group.processed == 300, "what the silent one has done stays done"
    assert [view.alive for view in group.replicas] == [True, True, False]


def test_a_function_that_nobody_works_on_is_shown_as_empty() -> None:
    (group,) = overview({"find": 2}, [sighting("other-0", function="other")], {})
    assert (group.alive, group.replicas, group.flows) == (0, (), ())
    assert (group.capacity, group.load, group.lag, group.coming) == (0.0, None, None, None)


def test_a_replica_that_does_not_know_its_rate_adds_no_capacity() -> None:
    (group,) = overview(
        {"find": 1}, [sighting(balance=balance("find-0", row=row("find-0", mu=0.0)))], {}
    )
    assert (group.capacity, group.load) == (0.0, None)
    assert group.replicas[0].mu is None


def test_a_row_of_an_older_worker_without_balancing_is_shown() -> None:
    plain = state().model_copy(update={"balance": None, "dropped": 4})
    (group,) = overview({"find": 1}, [Sighting(state=plain, age=0.1)], {})
    (view,) = group.replicas
    assert (view.mu, view.arrivals, view.in_function) == (None, None, 0)
    assert dict(view.dropped) == {"unknown": 4}
    assert (group.policies, group.dropped) == ((), 4)


def test_replicas_that_went_long_ago_are_forgotten() -> None:
    (group,) = overview({"find": 1}, [sighting(age=FORGOTTEN_SECONDS + 1)], {})
    assert group.replicas == ()


def test_who_hands_how_much_to_whom_the_busiest_first() -> None:
    before = state(
        at=NOW - 4, balance=balance("find-0", offloaded={"find-1": 10, "find-2": 100, "gone": 5})
    )
    now = balance(
        "find-0",
        offloaded={"find-1": 50, "find-2": 104, "gone": 5},
        quotas={"find-1": 3, "new": 2},
        links={"find-1": LinkState(seconds=0.012, bytes_per_second=1e6)},
    )
    (group,) = overview({"find": 1}, [sighting(balance=now, earlier=before)], {})
    assert [(f.receiver, f.rate, f.items, f.quota) for f in group.flows] == [
        ("find-1", 10.0, 50, 3),
        ("find-2", 1.0, 104, 0),
        ("gone", 0.0, 5, 0),
        ("new", 0.0, 0, 2),
    ]
    assert (group.flows[0].sender, group.flows[0].link_seconds) == ("find-0", 0.012)
    assert group.replicas[0].offloaded == 159


def test_former_peers_count_and_are_nobody_to_hand_to() -> None:
    shown = balance("find-0", offloaded={FORMER_PEERS: 30, "find-1": 5})
    (group,) = overview({"find": 1}, [sighting(balance=shown)], {})
    assert [flow.receiver for flow in group.flows] == ["find-1"]
    assert group.replicas[0].offloaded == 35


def test_rates_are_unknown_before_a_second_row() -> None:
    own = state(balance=balance("find-0", offloaded={"find-1": 5}))
    for earlier in (None, own):
        (group,) = overview({"find": 1}, [Sighting(state=own, age=0, earlier=earlier)], {})
        assert group.flows[0].rate is None


def test_an_overload_is_shown_with_its_duration_while_somebody_alive_says_so() -> None:
    short = balance("find-0", overloaded_since=NOW - 10, shed=4, dropped={"overload": 4})
    (group,) = overview({"find": 1}, [sighting(balance=short, age=1.0)], {})
    assert group.overloaded_seconds == pytest.approx(11.0)
    assert (group.shed, group.dropped) == (4, 4)
    (group,) = overview({"find": 1}, [sighting(balance=short, age=10.0)], {})
    assert group.overloaded_seconds is None


@given(st.lists(st.tuples(st.floats(0, 1000), st.integers(0, 50)), max_size=12))
def test_every_replica_is_shown_once_and_only_the_living_count(
    seen: list[tuple[float, int]],
) -> None:
    sightings = [
        sighting(f"find-{place}", age=age, queued=queued)
        for place, (age, queued) in enumerate(seen)
    ]
    (group,) = overview({"find": 1}, sightings, {})
    alive = [queued for age, queued in seen if age <= SILENT_SECONDS]
    assert (group.alive, group.waiting) == (len(alive), sum(alive))
    names = [view.replica for view in group.replicas]
    assert len(set(names)) == len(names) == sum(age <= FORGOTTEN_SECONDS for age, _ in seen)
