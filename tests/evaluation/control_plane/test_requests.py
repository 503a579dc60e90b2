"""Which requests may fail while things are killed, and which may not."""

from __future__ import annotations

import pytest

from evaluation.control_plane.requests import (
    Outage,
    Request,
    account,
    by_second,
    longest_silence,
    summed_up,
)

PATIENCE = 10.0


def good(sent: float, ended: float | None = None, version: int = 1) -> Request:
    return Request(
        model="m", sent=sent, ended=sent + 0.01 if ended is None else ended, version=version
    )


def bad(sent: float, ended: float) -> Request:
    return Request(model="m", sent=sent, ended=ended, error="nobody answers\n  remedy: wait")


def test_a_request_may_fail_if_all_its_patience_fell_into_the_outage() -> None:
    outage = Outage(began=100.0, ended=115.0, excuses=True)
    hopeless = [bad(101.0, 111.1), bad(104.9, 115.0), good(103.0, 113.0)]
    in_time = [good(106.0, 115.5), good(99.9, 109.0)]
    (served,), stray = account([*hopeless, *in_time], [outage], PATIENCE)
    assert (served.sent, served.failed, served.bound) == (5, 2, 4)
    assert served.unexcused == ()
    assert served.slowest == pytest.approx(10.0)
    assert stray == ()


def test_a_request_that_could_have_been_answered_after_the_outage_may_not_fail() -> None:
    outage = Outage(began=100.0, ended=105.0, excuses=True)
    (served,), _ = account([bad(101.0, 111.0)], [outage], PATIENCE)
    assert (served.failed, served.bound) == (1, 0)
    assert served.unexcused == ("m at 101.0 s, after 10.0 s: nobody answers",)


def test_no_request_may_fail_where_the_servers_go_on() -> None:
    outage = Outage(began=100.0, ended=130.0, excuses=False)
    (served,), _ = account([bad(101.0, 111.0)], [outage], PATIENCE)
    assert served.bound == 0
    assert len(served.unexcused) == 1


def test_a_request_counts_for_the_first_outage_that_it_touches_and_else_for_none() -> None:
    first = Outage(began=10.0, ended=25.0, excuses=True)
    second = Outage(began=30.0, ended=35.0, excuses=True)
    requests = [
        bad(24.0, 34.0),  # begun in the first, and could have been answered after it
        good(29.99, 30.5),  # under way when the second began
        bad(26.0, 27.0),
        good(5.0),
    ]
    served, stray = account(requests, [first, second], PATIENCE)
    assert [s.sent for s in served] == [1, 1]
    assert [len(s.unexcused) for s in served] == [1, 0]
    assert stray == ("m at 26.0 s, after 1.0 s: nobody answers",)


def test_seconds_are_told_without_a_gap() -> None:
    seconds = by_second([good(1.2, 1.3), good(1.1, 2.8), bad(3.0, 5.5)])
    assert [(s.start, s.answered, s.failed) for s in seconds] == [(1, 2, 0), (2, 0, 0), (3, 0, 1)]
    assert seconds[0].slowest == pytest.approx(1.7)
    assert by_second([]) == []


def test_the_longest_silence_counts_from_the_beginning_and_to_the_end() -> None:
    answers = [good(6.0, 6.0), good(1.0, 1.0), good(2.0, 2.0)]
    assert longest_silence(answers, since=0.5, until=6.5) == 4.0
    assert longest_silence(answers, since=0.5, until=20.0) == 14.0
    assert longest_silence([], since=3.0, until=8.0) == 5.0


def test_the_silence_of_an_outage_is_that_of_the_model_that_suffered_most() -> None:
    outage = Outage(began=10.0, ended=20.0, excuses=True)
    fine = [good(t, t) for t in range(9, 22)]
    other = [Request(model="n", sent=t, ended=t, version=1) for t in (10, 11, 18, 20)]
    failed = Request(model="n", sent=12.0, ended=15.0, error="no")
    (served,), _ = account([*fine, *other, failed], [outage], PATIENCE)
    assert served.silence == 7.0


def test_many_failures_are_one_sentence() -> None:
    assert summed_up("then", []) == []
    assert summed_up("then", ["why"]) == ["a request failed then; the first: why"]
    assert summed_up("then", ["why", "again"]) == ["2 requests failed then; the first: why"]
