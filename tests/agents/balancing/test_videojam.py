"""The balancer of the thesis as a state machine: what it does when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agents.balancing import (
    Actions,
    BalancingSettings,
    CongestionRisk,
    InformationRequest,
    Offload,
    PublishState,
    Queue,
    Relayed,
    SendSignal,
    StateUpdate,
    VideoJam,
    Waiting,
    last_window,
)
from agents.balancing.values import Histories
from tests.agents.balancing.rows import queue, row

START = 1000.0
QUIET = BalancingSettings(news_seconds=1e9, settle=0.0, gain=0.0, gain_fraction=0.0)
THESIS = BalancingSettings.thesis()


def videojam(settings: BalancingSettings = QUIET, mu: float = 10.0, **options: Any) -> VideoJam:
    """A started balancer that has measured its rate."""
    values = {"forecast": last_window(10), **options}
    balancer = VideoJam(replica="me", incarnation="i", now=START, settings=settings, **values)
    balancer.start(START)
    balancer.processed(START, 1, 1 / mu)
    return balancer


def signals(actions: Actions) -> list[Any]:
    return [action.signal for action in actions if isinstance(action, SendSignal)]


def offloads(actions: Actions) -> dict[str, Sequence[object]]:
    return {action.peer: action.keys for action in actions if isinstance(action, Offload)}


def table(*rows: Any) -> list[Relayed]:
    return [Relayed(row=r, age=0.0) for r in rows]


def test_at_the_start_it_announces_itself_and_asks_everybody() -> None:
    balancer = VideoJam(
        replica="me", incarnation="i", now=START, forecast=last_window(10), settings=QUIET
    )
    published, asked = balancer.start(START)
    assert isinstance(published, PublishState)
    assert isinstance(asked, SendSignal)
    assert isinstance(asked.signal, InformationRequest)
    assert asked.signal.to is None


def test_until_it_has_measured_its_own_rate_it_takes_the_mean_of_its_neighbours() -> None:
    balancer = VideoJam(
        replica="me", incarnation="i", now=START, forecast=last_window(10), settings=QUIET
    )
    balancer.heard(START, row("a", START, mu=10.0))
    balancer.heard(START, row("b", START, mu=30.0))
    assert balancer.member.row(START).mu == 20
    balancer.processed(START, 1, 0.2)
    assert balancer.member.row(START).mu == 5


def test_its_row_goes_out_each_second_without_news() -> None:
    balancer = videojam()
    times = [
        round(START + tick / 20, 2)
        for tick in range(1, 101)
        if any(
            isinstance(action, PublishState) for action in balancer.tick(START + tick / 20, Queue())
        )
    ]
    assert times == [START + second for second in range(1, 6)]


def test_its_row_goes_out_early_when_its_queue_is_not_what_the_others_believe() -> None:
    balancer = videojam(replace(QUIET, news_seconds=0.1, news_gap=0.2))
    assert balancer.tick(START + 0.3, queue(1)) == ()
    (news,) = balancer.tick(START + 0.31, queue(5))
    assert isinstance(news, PublishState)
    assert news.row.load == 5
    assert balancer.tick(START + 0.4, queue(20)) == ()  # too soon
    assert len(balancer.tick(START + 0.51, queue(20))) == 1


def test_in_a_large_group_news_is_told_less_often() -> None:
    balancer = videojam(replace(QUIET, news_seconds=0.1, news_gap=0.09))
    for n in range(40):
        balancer.heard(START, row(f"r{n}", START, load=90))
    published = [
        tick
        for tick in range(1, 19)
        for action in balancer.tick(START + tick / 20, queue(10 * tick))
        if isinstance(action, PublishState)
    ]
    assert published == [8, 16]  # not within 0.36 s


def test_a_queue_that_shrinks_as_everybody_expects_is_no_news() -> None:
    balancer = videojam(replace(QUIET, news_seconds=0.1, news_gap=0.01))
    balancer.tick(START + 0.3, queue(8))
    for tenth in range(1, 6):
        assert balancer.tick(START + 0.3 + tenth / 10, queue(8 - tenth)) == ()


def test_surplus_goes_to_an_idle_neighbour_newest_first_and_with_the_table() -> None:
    balancer = videojam()
    balancer.tick(START + 0.1, Queue())
    balancer.heard(START + 0.2, row("a", START + 0.2, partitions=(4, 7)))
    (offload,) = balancer.tick(START + 0.3, queue(20))
    assert isinstance(offload, Offload)
    assert (offload.peer, offload.partitions) == ("a", (4, 7))
    assert offload.keys == tuple(range(19, 9, -1))
    assert [r.row.replica for r in offload.table] == ["me", "a"]


def test_only_the_first_offload_to_a_peer_under_a_policy_carries_the_table() -> None:
    balancer = videojam(THESIS)
    balancer.heard(START, row("a", START, load=0))
    balancer.tick(START + 0.1, queue(20))
    first = balancer.tick(START + 2.0, queue(20))
    later = balancer.tick(START + 4.0, queue(15))
    tables = [len(a.table) for a in (*first, *later) if isinstance(a, Offload)]
    assert tables == [2, 0]


def test_a_queue_that_was_relieved_is_not_relieved_again() -> None:
    """What was sent counts as being there before any row says so."""
    balancer = videojam()
    balancer.heard(START + 0.2, row("a", START + 0.2))
    first = offloads(balancer.tick(START + 0.3, queue(20)))["a"]
    assert len(first) == 10
    assert offloads(balancer.tick(START + 0.4, queue(9, in_flight=0))) == {}


def test_equal_queues_stay_where_they_are() -> None:
    balancer = videojam()
    balancer.heard(START + 0.2, row("a", START + 0.2, load=20))
    assert offloads(balancer.tick(START + 0.2, queue(20))) == {}


def test_a_neighbour_that_was_silent_for_three_seconds_gets_nothing() -> None:
    balancer = videojam()
    balancer.heard(START, row("a", START))
    assert offloads(balancer.tick(START + 3.1, queue(30))) == {}


def test_a_neighbour_that_said_goodbye_gets_nothing_from_then_on() -> None:
    balancer = videojam(replace(QUIET, lookahead=10, urgent=False))
    balancer.heard(START, row("a", START))
    balancer.tick(START + 0.1, queue(40))
    balancer.gone(START + 1.0, "a")
    assert offloads(balancer.tick(START + 1.1, queue(40))) == {}
    assert balancer.policy is not None
    assert balancer.policy.replicas == ("me",)


def test_forecasts_are_made_in_one_call_a_slot_for_everybody() -> None:
    calls: list[Histories] = []

    def forecast(histories: Histories) -> Histories:
        calls.append(histories)
        return np.full((len(histories), 10), -3, dtype=np.float32)  # a model may go below 0

    balancer = videojam(forecast=forecast)
    balancer.heard(START, row("a", START, history=(3,) * 50))
    for tick in range(1, 21):
        balancer.heard(START + tick / 20, row("a", START + tick / 20, history=(3,) * 50))
        balancer.tick(START + tick / 20, queue(tick))
    assert [h.shape for h in calls] == [(2, 50)] * 2
    assert calls[0].dtype == np.float32
    assert calls[0][0].tolist() == [0] * 50
    assert balancer.policy is not None
    assert (balancer.policy.loads >= 0).all()


def test_a_congestion_risk_stops_the_running_offload() -> None:
    balancer = videojam(THESIS)
    balancer.heard(START, row("a", START))
    balancer.tick(START + 0.1, queue(40))
    assert len(offloads(balancer.tick(START + 4.1, queue(40)))["a"]) == 10
    balancer.signalled(
        START + 4.2, CongestionRisk(sender="a", incarnation="i", to="me", at=START, expected=0)
    )
    assert offloads(balancer.tick(START + 9.0, queue(30))) == {}


def test_a_congestion_risk_for_somebody_else_stops_nothing() -> None:
    balancer = videojam(THESIS)
    balancer.heard(START, row("a", START))
    balancer.tick(START + 0.1, queue(40))
    balancer.signalled(START + 0.2, CongestionRisk(sender="a", incarnation="i", to="b", at=START))
    assert len(offloads(balancer.tick(START + 8.2, queue(40)))["a"]) == 20


def test_an_information_request_is_answered_with_a_state_update_and_its_table_is_taken() -> None:
    balancer = videojam()
    request = InformationRequest(
        sender="a",
        incarnation="i",
        to="me",
        at=START,
        table=tuple(table(row("a", START), row("b", START))),
    )
    (update,) = signals(balancer.signalled(START + 0.1, request))
    assert isinstance(update, StateUpdate)
    assert update.to == "a"
    assert [r.row.replica for r in update.table] == ["me", "a", "b"]
    assert balancer.member.table.neighbours == ("a", "b")


def test_a_request_to_somebody_else_is_not_answered_but_its_table_is_taken() -> None:
    balancer = videojam()
    request = InformationRequest(
        sender="a", incarnation="i", to="b", at=START, table=tuple(table(row("a", START)))
    )
    assert balancer.signalled(START + 0.1, request) == ()
    assert balancer.member.table.neighbours == ("a",)


def test_old_rows_are_asked_for_each_window() -> None:
    balancer = videojam(THESIS)
    balancer.heard(START, row("a", START))
    asked = [
        second
        for second in range(1, 50)
        for signal in signals(balancer.tick(START + second, Queue()))
        if isinstance(signal, InformationRequest) and signal.to == "a"
    ]
    assert asked == [20, 30, 40]


def test_work_from_an_unexpected_sender_is_a_congestion_risk_once() -> None:
    """It has more than its share itself, and tells the sender to stop."""
    balancer = videojam()
    balancer.heard(START, row("a", START, load=0))
    balancer.tick(START + 0.1, queue(30))
    actions = balancer.offloaded(START + 0.2, "b", 3, table(row("b", START + 0.2, load=1)))
    (risk,) = signals(actions)
    assert isinstance(risk, CongestionRisk)
    assert (risk.to, risk.expected) == ("b", 0)
    assert signals(balancer.offloaded(START + 0.3, "b", 1, ())) == []


def test_unexpected_work_is_no_risk_for_a_replica_with_room() -> None:
    balancer = videojam()
    balancer.heard(START, row("a", START, load=30))
    balancer.tick(START + 0.1, Queue())
    assert signals(balancer.offloaded(START + 0.2, "b", 3, table(row("b", START + 0.2)))) == []


def test_the_receivers_recomputation_leaves_its_own_offload_alone() -> None:
    balancer = videojam(THESIS)
    balancer.heard(START, row("a", START))
    balancer.tick(START + 0.1, queue(40))
    balancer.offloaded(START + 0.2, "b", 1, table(row("b", START + 0.2, load=500)))
    assert len(offloads(balancer.tick(START + 8.2, queue(40)))["a"]) == 20


def test_work_that_differs_from_the_prediction_brings_a_state_update() -> None:
    """As printed: more than 0.2 off, relative to what the policy predicted."""
    balancer = videojam(THESIS)
    balancer.heard(START, row("a", START, load=20))
    balancer.tick(START, Queue())
    assert balancer.policy is not None
    assert balancer.policy.expected_from("a", "me") == 10
    assert signals(balancer.offloaded(START + 1.0, "a", 12, ())) == []
    (update,) = signals(balancer.offloaded(START + 1.1, "a", 1, ()))
    assert isinstance(update, StateUpdate)
    assert update.to == "a"


def test_as_printed_a_policy_holds_for_a_window_whatever_happens() -> None:
    balancer = videojam(THESIS)
    times = []
    for second in range(1, 31):
        balancer.heard(START + second, row("a", START + second, load=second))
        balancer.tick(START + second, queue(30))
        assert balancer.policy is not None
        times.append(balancer.policy.at - START)
    assert sorted(set(times)) == [1, 10, 20, 30]


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        (queue(1, in_flight=1), [0.05, 0.5]),
        (Queue(), [0.05]),
        (queue(0, in_flight=1), [0.05]),
        (queue(1), [0.05]),  # the function takes it at once
    ],
)
def test_between_slots_a_policy_follows_news_if_there_is_something_to_hand_on(
    waiting: Queue, expected: list[float]
) -> None:
    balancer = videojam(replace(QUIET, react=0.1))
    times = set()
    for tick in range(1, 20):
        now = START + tick / 20
        if tick == 10:
            balancer.heard(now, row("a", now))
        balancer.tick(now, waiting)
        assert balancer.policy is not None
        times.add(round(balancer.policy.at - START, 2))
    assert sorted(times) == expected


def test_a_slow_replica_hands_on_even_what_it_could_begin_at_once() -> None:
    slow = videojam(mu=2.0)
    slow.heard(START, row("fast", START, mu=20.0))
    slow.tick(START, Queue())
    slow.arrived(START + 0.1, [Waiting(key=0)])
    assert offloads(slow.tick(START + 0.1, queue(1))) == {"fast": (0,)}
    even = videojam(mu=18.0)
    even.heard(START, row("fast", START, mu=20.0))
    even.tick(START, Queue())
    even.arrived(START + 0.1, [Waiting(key=0)])
    assert offloads(even.tick(START + 0.1, queue(1))) == {}


def test_what_arrives_is_decided_about_however_new_the_policy_is() -> None:
    balancer = videojam(replace(QUIET, react=10.0))
    balancer.heard(START, row("a", START))
    balancer.tick(START, Queue())
    for after in (0.001, 0.002, 0.003):
        balancer.arrived(START + after, [Waiting(key="new")])
        balancer.tick(START + after, queue(1, in_flight=1))
        assert balancer.policy is not None
        assert balancer.policy.at == START + after
    balancer.tick(START + 0.004, queue(1, in_flight=1))
    assert balancer.policy is not None
    assert balancer.policy.at == START + 0.003


def test_items_that_could_not_be_delivered_are_sent_again() -> None:
    balancer = videojam()
    balancer.heard(START + 0.2, row("a", START + 0.2))
    keys = offloads(balancer.tick(START + 0.3, queue(20)))["a"]
    balancer.failed(START + 0.4, "a", len(keys), 100 * len(keys))
    assert len(offloads(balancer.tick(START + 0.5, queue(20)))["a"]) >= len(keys) - 1


def test_the_groups_demand_counts_everybody() -> None:
    balancer = videojam()
    balancer.heard(
        START, row("a", START, load=30, mu=20.0, history=(5,) * 50, cameras={"x": 5.0, "y": 1.0})
    )
    balancer.tick(START, queue(10))
    demand = balancer.demand(START)
    assert demand.available == 30
    assert demand.waiting == 40
    assert demand.arriving == pytest.approx(5)
    assert demand.needed == pytest.approx(9)
    assert demand.cameras == {"x": 5.0, "y": 1.0}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pace", 0.0),
        ("pace", 1.5),
        ("slot", -1.0),
        ("lookahead", 11.0),
        ("liveness", 0.0),
        ("settle", -0.1),
        ("react", -1.0),
        ("hop_limit", 0),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        BalancingSettings(**{name: value})  # type: ignore[arg-type] # on purpose
