"""Which instance takes the next request."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomie.control.spread import Candidate, Spreader


def candidate(name: str, speed: float = 0.0, weight: float = 1.0, url: str = "u:1") -> Candidate:
    return Candidate(id=name, url=url, batch=8, speed=speed, weight=weight)


def one_by_one(spreader: Spreader, count: int, costs: dict[str, float]) -> Counter[str]:
    """Requests of one item each, the next after the answer; who got how many."""
    now, got = 0.0, Counter[str]()
    for _ in range(count):
        chosen = spreader.choose(1, now)
        assert chosen is not None
        name = chosen.candidate.id
        now += costs[name]
        spreader.succeeded(chosen, costs[name], now)
        got[name] += 1
    return got


def test_nothing_is_chosen_where_nothing_is_ready() -> None:
    assert Spreader().choose(1, 0.0) is None
    assert Spreader().next_chance(0.0) is None


def test_equal_instances_take_turns() -> None:
    spreader = Spreader()
    spreader.update([candidate("a"), candidate("b"), candidate("c")])
    got = one_by_one(spreader, 300, dict.fromkeys("abc", 0.01))
    assert set(got.values()) == {100}


def test_shares_follow_the_expected_speeds_before_anything_is_measured() -> None:
    spreader = Spreader()
    spreader.update([candidate("fast", 30), candidate("slow", 10)])
    chosen = [spreader.choose(1, 0.0) for _ in range(40)]
    got = Counter(c.candidate.id for c in chosen if c)
    assert got["fast"] == pytest.approx(30, abs=2)


def test_shares_follow_what_was_measured_whatever_was_expected() -> None:
    spreader = Spreader()
    spreader.update([candidate("a", 10), candidate("b", 10)])
    one_by_one(spreader, 50, {"a": 0.01, "b": 0.04})
    got = one_by_one(spreader, 500, {"a": 0.01, "b": 0.04})
    assert got["a"] / got["b"] == pytest.approx(4, rel=0.2)


def test_an_instance_on_probation_gets_its_part_however_few_requests_there_are() -> None:
    spreader = Spreader()
    spreader.update([candidate("old", 10), candidate("new", 10, weight=0.1)])
    got = one_by_one(spreader, 440, {"old": 0.1, "new": 0.1})
    assert got["new"] == pytest.approx(40, abs=4)


def test_one_of_weight_zero_serves_where_there_is_no_other() -> None:
    spreader = Spreader()
    spreader.update([candidate("only", 10, weight=0.0)])
    assert one_by_one(spreader, 3, {"only": 0.1}) == {"only": 3}


def test_one_whose_answers_are_outstanding_is_put_off() -> None:
    spreader = Spreader()
    spreader.update([candidate("a", 10), candidate("b", 10)])
    got = Counter[str]()
    stuck = spreader.choose(8, 0.0)
    assert stuck is not None
    for _ in range(4):
        chosen = spreader.choose(1, 0.0)
        assert chosen is not None
        got[chosen.candidate.id] += 1
    assert got[stuck.candidate.id] == 0


def test_one_that_failed_is_left_alone_for_a_while_and_then_tried_again() -> None:
    spreader = Spreader()
    spreader.update([candidate("a"), candidate("b")])
    first = spreader.choose(1, 0.0)
    assert first is not None
    spreader.failed(first, 0.0)
    others = {c.candidate.id for _ in range(10) if (c := spreader.choose(1, 0.1))}
    assert first.candidate.id not in others
    later = {c.candidate.id for _ in range(30) if (c := spreader.choose(1, 10.0))}
    assert first.candidate.id in later


def test_where_all_have_failed_the_next_chance_is_told() -> None:
    spreader = Spreader()
    spreader.update([candidate("a")])
    for failures in range(1, 8):
        sending = spreader.choose(1, 100.0 * failures)
        assert sending is not None
        spreader.failed(sending, 100.0 * failures)
        assert spreader.choose(1, 100.0 * failures) is None
        wait = spreader.next_chance(100.0 * failures)
        assert wait is not None
        assert 0 < wait <= 5


def test_one_that_failed_a_moment_ago_is_tried_every_second_and_later_more_rarely() -> None:
    spreader = Spreader()
    spreader.update([candidate("a")])
    now, tried = 0.0, []
    while now < 60.0:
        sending = spreader.choose(1, now)
        assert sending is not None
        spreader.failed(sending, now)
        tried.append(now)
        now += spreader.next_chance(now) or 0.0
    pauses = [(earlier, later - earlier) for earlier, later in pairwise(tried)]
    assert max(pause for at, pause in pauses if at < 29) == 1.0
    assert max(pause for at, pause in pauses if at > 31) == 5.0


def test_an_outage_of_any_length_can_be_counted() -> None:
    spreader = Spreader()
    spreader.update([candidate("a")])
    for attempt in range(1100):  # a float cannot double so often
        sending = spreader.choose(1, 10.0 * attempt)
        assert sending is not None
        spreader.failed(sending, 10.0 * attempt)
    assert spreader.next_chance(10.0 * 1099) == 5.0


def test_after_suspicion_one_request_tries_it_and_the_others_wait_for_the_outcome() -> None:
    spreader = Spreader()
    spreader.update([candidate("a")])
    first, under_way = spreader.choose(1, 0.0), spreader.choose(1, 0.0)
    assert first is not None
    assert under_way is not None
    assert not first.trial
    spreader.failed(first, 0.0)
    trial = spreader.choose(1, 0.25)
    assert trial is not None
    assert trial.trial
    assert spreader.choose(1, 0.25) is None
    assert spreader.next_chance(0.25) is None, "nobody knows how long it takes"
    spreader.failed(trial, 0.3)
    assert spreader.next_chance(0.3) == pytest.approx(0.5)
    spreader.failed(under_way, 0.3)
    assert spreader.next_chance(0.3) == pytest.approx(0.5), "it is the same outage"
    trial = spreader.choose(1, 0.8)
    assert trial is not None
    spreader.succeeded(trial, 0.1, 0.9)
    assert all(spreader.choose(1, 0.9) for _ in range(5))


def test_a_trial_that_says_nothing_lets_the_next_request_try() -> None:
    spreader = Spreader()
    spreader.update([candidate("a")])
    sending = spreader.choose(1, 0.0)
    assert sending is not None
    spreader.failed(sending, 0.0)
    trial = spreader.choose(1, 1.0)
    assert trial is not None
    spreader.refused(trial)
    again = spreader.choose(1, 1.0)
    assert again is not None
    assert again.trial


def test_a_newcomer_does_not_get_what_it_has_missed() -> None:
    spreader = Spreader()
    spreader.update([candidate("a")])
    one_by_one(spreader, 100, {"a": 0.01})
    spreader.update([candidate("a"), candidate("b")])
    got = one_by_one(spreader, 20, {"a": 0.01, "b": 0.01})
    assert abs(got["a"] - got["b"]) <= 2


def test_an_instance_that_comes_back_elsewhere_is_a_new_one() -> None:
    spreader = Spreader()
    spreader.update([candidate("a")])
    first, second = spreader.choose(1, 0.0), spreader.choose(3, 0.0)
    assert first is not None
    assert second is not None
    spreader.failed(first, 0.0)
    spreader.update([candidate("a", url="u:2")])
    chosen = spreader.choose(1, 0.0)
    assert chosen is not None
    assert (chosen.candidate.url, chosen.ahead) == ("u:2", 1)
    spreader.failed(second, 0.0)  # of the old one
    another = spreader.choose(1, 0.0)
    assert another is not None, "it is not under suspicion for that"
    assert another.ahead == 2


def test_one_that_is_ready_again_still_has_what_it_was_sent() -> None:
    spreader = Spreader()
    spreader.update([candidate("a"), candidate("b")])
    sending = spreader.choose(5, 0.0)
    assert sending is not None
    others = frozenset({"a", "b"} - {sending.candidate.id})
    spreader.update([])
    spreader.update([candidate("a"), candidate("b")])
    meanwhile = spreader.choose(2, 0.0, others)
    assert meanwhile is not None
    assert meanwhile.ahead == 5 + 2
    spreader.refused(meanwhile)
    spreader.refused(sending)
    again = spreader.choose(2, 0.0, others)
    assert again is not None
    assert again.ahead == 2


def test_only_instances_that_take_so_many_at_once_are_chosen() -> None:
    spreader = Spreader()
    assert spreader.fits(99), "of those that may come nothing is known"
    small, large = replace(candidate("small", 100), batch=2), replace(candidate("large"), batch=4)
    spreader.update([small, large])
    chosen = [spreader.choose(4, 0.0) for _ in range(5)]
    assert {c.candidate.id for c in chosen if c} == {"large"}
    assert not spreader.fits(5)
    assert spreader.choose(5, 0.0) is None
    assert chosen[0] is not None
    spreader.failed(chosen[0], 0.0)
    assert spreader.choose(3, 0.0) is None
    assert (spreader.next_chance(0.0, 3) or 0) > 0
    assert spreader.next_chance(0.0, 2) == 0


def test_answers_of_one_that_has_gone_change_nothing() -> None:
    spreader = Spreader()
    spreader.update([candidate("a")])
    sent = [sending for _ in range(3) if (sending := spreader.choose(1, 0.0))]
    spreader.update([])
    spreader.succeeded(sent[0], 0.1, 0.0)
    spreader.failed(sent[1], 0.0)
    spreader.refused(sent[2])
    assert spreader.candidates == ()
    spreader.update([candidate("a")])
    again = spreader.choose(1, 0.0)
    assert again is not None
    assert again.ahead == 1


def test_an_answer_that_was_not_measured_ends_suspicion_and_says_nothing_of_the_speed() -> None:
    spreader = Spreader()
    spreader.update([candidate("a"), candidate("b")])
    for _ in range(10):
        for name, seconds in (("a", None), ("b", 0.01)):
            sending = spreader.choose(1, 0.0, frozenset({"a", "b"} - {name}))
            assert sending is not None
            spreader.succeeded(sending, seconds, 0.0)
    got = one_by_one(spreader, 20, {"a": 0.01, "b": 0.01})
    assert abs(got["a"] - got["b"]) <= 2
    sending = spreader.choose(1, 0.0)
    assert sending is not None
    spreader.failed(sending, 0.0)
    trial = spreader.choose(1, 1.0, frozenset({"a", "b"} - {sending.candidate.id}))
    assert trial is not None
    spreader.succeeded(trial, None, 1.0)
    assert (spreader.next_chance(1.0) or 0.0) == 0.0


@given(
    st.lists(st.floats(0.5, 50), min_size=1, max_size=5),
    st.lists(st.integers(1, 8), min_size=50, max_size=120),
)
def test_no_instance_is_starved_and_shares_follow_speeds(
    speeds: list[float], requests: list[int]
) -> None:
    spreader = Spreader()
    names = {f"i{number}": speed for number, speed in enumerate(speeds)}
    spreader.update([candidate(name, speed) for name, speed in names.items()])
    items = Counter[str]()
    for size in requests:
        chosen = spreader.choose(size, 0.0)
        assert chosen is not None
        items[chosen.candidate.id] += size
        spreader.refused(chosen)  # answered at once, nothing measured
    total, capacity = sum(requests), sum(speeds)
    for name, speed in names.items():
        # each stays within a request or two of its share
        assert items[name] <= total * speed / capacity + 2 * 8
