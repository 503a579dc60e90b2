"""What is on its way to a peer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.balancing import Row
from agents.balancing.transit import Transit
from tests.agents.balancing.rows import row


def counting(total: int, *, incarnation: str = "i") -> Row:
    return row("peer", incarnation=incarnation, received={"me": total})


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=30))
def test_sent_is_counted_plus_on_its_way(history: list[tuple[int, int]]) -> None:
    transit = Transit("me")
    transit.heard(counting(0))
    sent = counted = 0
    for items, arrives in history:
        transit.sent(0.0, items)
        sent += items
        counted = min(sent, counted + arrives)
        transit.heard(counting(counted))
        assert transit.on_its_way(0.0) == sent - counted


def test_what_came_back_is_not_on_its_way() -> None:
    transit = Transit("me")
    transit.heard(counting(0))
    transit.sent(0.0, 3)
    transit.sent(0.1, 4)
    transit.returned(5)
    assert transit.on_its_way(0.1) == 2


def test_what_never_arrives_is_given_up_and_confuses_nothing_when_it_does() -> None:
    transit = Transit("me")
    transit.heard(counting(0))
    transit.sent(0.0, 4)
    assert transit.on_its_way(4.9) == 4
    assert transit.on_its_way(5.1) == 0
    transit.sent(6.0, 3)
    transit.heard(counting(4))  # the first four, late
    assert transit.on_its_way(6.0) == 3
    transit.heard(counting(7))
    assert transit.on_its_way(6.0) == 0


def test_another_life_of_the_peer_begins_anew() -> None:
    transit = Transit("me")
    transit.heard(counting(10))
    transit.sent(0.0, 4)
    transit.heard(counting(0, incarnation="j"))
    assert transit.on_its_way(0.0) == 0
    transit.sent(0.1, 2)
    transit.heard(counting(1, incarnation="j"))
    assert transit.on_its_way(0.1) == 1
