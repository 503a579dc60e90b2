"""The shell of a balancer, with a clock of the test's."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from agents.balancing import Balancer, BalancingSettings, VideoJam, last_window
from agents.balancing.baselines import NoBalancing
from agents.balancing.order import Fifo
from agents.exchange import Exchange, Gone
from agents.hand import Hand
from agents.outbox import Outbox
from agents.showing import Tally
from agents.state import FORMER_PEERS, Balance, ReplicaState
from agents.steering import Outgoing, Steering
from dataflow.config import Config
from tests.agents.balancing.rows import row
from tests.agents.shown import state

START = 1000.0
CONFIG = Config.model_validate(
    {
        "version": 1,
        "functions": {"find": {}},
        "pipelines": {"p": {"cameras": ["any"], "steps": [{"function": "find"}]}},
    }
)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def balancers() -> list[Balancer]:
    settings = BalancingSettings()
    return [
        VideoJam(
            replica="me", incarnation="i", now=START, forecast=last_window(10), settings=settings
        ),
        NoBalancing(replica="me", incarnation="i", now=START, settings=settings),
    ]


def steering(balancer: Balancer, clock: Clock) -> Steering:
    return Steering(
        balancer=balancer,
        exchange=Mock(spec=Exchange),
        hand=Hand(CONFIG.functions["find"].queue, Fifo()),
        outbox=Mock(spec=Outbox),
        config=CONFIG,
        function="find",
        replica="me",
        incarnation="i",
        describe=lambda shown: state("me", balance=shown),
        finisher=lambda _: lambda _: None,
        clock=clock,
        monotonic=clock,
    )


def heard(at: float) -> ReplicaState:
    """What the peer published."""
    return state("peer", balance=Balance(policy="videojam", row=row("peer", at)))


@pytest.mark.parametrize("balancer", balancers(), ids=lambda b: type(b).__name__)
def test_a_peer_that_was_killed_and_never_comes_back_is_forgotten(balancer: Balancer) -> None:
    clock = Clock()
    tended = steering(balancer, clock)
    news = heard(START)
    tended.tick([news])
    tended.offloaded("peer", 3, ())
    assert balancer.member.row(START).received == {"peer": 3}
    clock.now += 59
    tended.tick([])
    assert len(balancer.member.table) == 1
    clock.now += 2
    tended.tick([])
    assert len(balancer.member.table) == 0
    assert balancer.member.row(clock.now).received == {}
    assert tended.balance().received == {FORMER_PEERS: 3}
    asked = []
    for _ in range(40):
        clock.now += 1
        asked += tended.tick([]).signals
    assert not asked, "nobody is left to be asked"


def test_a_peer_that_was_only_away_is_known_again_when_it_is_heard() -> None:
    clock = Clock()
    balancer = balancers()[0]
    tended = steering(balancer, clock)
    tended.tick([heard(START)])
    clock.now += 100
    tended.tick([])
    tended.tick([heard(clock.now)])
    assert balancer.member.table.knows("peer", clock.now)


def test_what_comes_after_a_goodbye_does_not_stay() -> None:
    clock = Clock()
    balancer = balancers()[0]
    tended = steering(balancer, clock)
    tended.tick([heard(START)])
    tended.offloaded("peer", 3, ())
    tended.tick([Gone("peer")])
    tended.offloaded("peer", 1, ())
    assert tended.balance().received == {FORMER_PEERS: 3, "peer": 1}
    clock.now += 61
    tended.tick([])
    assert tended.balance().received == {FORMER_PEERS: 4}
    assert balancer.member.row(clock.now).received == {}


def test_a_peer_that_came_back_after_its_goodbye_is_kept() -> None:
    clock = Clock()
    tended = steering(balancers()[0], clock)
    tended.tick([heard(START)])
    tended.offloaded("peer", 3, ())
    tended.tick([Gone("peer")])
    clock.now += 59
    tended.tick([heard(clock.now)])
    tended.offloaded("peer", 2, ())
    clock.now += 2
    tended.tick([heard(clock.now)])
    assert tended.balance().received == {FORMER_PEERS: 3, "peer": 2}


def test_silent_peers_are_asked_until_they_are_forgotten() -> None:
    """Or the test of forgetting could not fail."""
    clock = Clock()
    tended = steering(balancers()[0], clock)
    tended.tick([heard(START)])
    asked = 0
    for _ in range(50):
        clock.now += 1
        asked += sum(signal.to == "peer" for signal in tended.tick([]).signals)
    assert asked >= 3


def test_rows_within_a_moment_share_their_counts_and_the_time_of_these() -> None:
    clock = Clock()
    tended = steering(balancers()[0], clock)
    counts = iter(range(10))
    tended._describe = lambda shown: state(
        "me", balance=shown, at=clock.now, processed=next(counts)
    )
    told = []
    for load, seconds in ((3, 0.0), (7, 0.2), (9, 0.4)):
        clock.now = START + seconds
        tended.send(Outgoing(rows=[row("me", clock.now, load=load, partitions=(0, 1))]))
        (said,), _ = tended._exchange.publish_state.call_args  # type: ignore[attr-defined]
        told.append((said.at - START, said.processed, said.queued, said.balance.row.load))
    assert told[1] == (0.0, 0, 7, 7)
    assert told[2] == (0.0, 0, 9, 9)
    clock.now = START + 0.6
    tended.send(Outgoing(rows=[row("me", clock.now, partitions=(0, 1))]))
    (said,), _ = tended._exchange.publish_state.call_args  # type: ignore[attr-defined]
    assert (said.at, said.processed) == (clock.now, 1)


def test_what_went_to_former_peers_still_counts() -> None:
    tally = Tally()
    tally.offloaded.update({"a": 2, "b": 3})
    tally.received.update({"b": 4})
    tally.part_from("a")
    tally.part_from("b")
    tally.part_from("nobody")
    assert tally.offloaded == {FORMER_PEERS: 5}
    assert tally.received == {FORMER_PEERS: 4}
