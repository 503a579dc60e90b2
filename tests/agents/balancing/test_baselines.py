"""The balancers that videojam is compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.balancing import (
    BALANCERS,
    Actions,
    Balancer,
    BalancingSettings,
    InformationRequest,
    NoBalancing,
    Offload,
    Peer,
    Place,
    PublishState,
    Queue,
    RoundRobin,
    SendSignal,
    SharedQueue,
    ShortestQueue,
    Waiting,
    WeightedRoundRobin,
    WorkRequest,
    last_window,
    make_balancer,
)
from agents.balancing.baselines import intended_weights, original_weights
from dataflow.errors import ConfigError, MissingDependencyError
from dataflow.plugins import installed
from tests.agents.balancing.rows import queue, row

SETTINGS = BalancingSettings()


def offloads(actions: Actions) -> dict[str, tuple[object, ...]]:
    return {a.peer: a.keys for a in actions if isinstance(a, Offload)}


def items(count: int, first: int = 0) -> list[Waiting]:
    return [Waiting(key=n) for n in range(first, first + count)]


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), min_size=1), st.integers(1, 200)
)
def test_each_gets_its_proportion_of_every_stretch(weights: dict[str, int], turns: int) -> None:
    robin = RoundRobin({name: float(weight) for name, weight in weights.items()})
    total, counts = sum(weights.values()), Counter[str]()
    for turn in range(1, turns + 1):
        counts[robin.next()] += 1
        for name, weight in weights.items():
            assert abs(counts[name] - turn * weight / total) < len(weights)
    for _ in range(turns, total * -(-turns // total)):
        counts[robin.next()] += 1
    rounds = sum(counts.values()) // total
    assert counts == {name: weight * rounds for name, weight in weights.items()}


def test_the_largest_weight_comes_first_and_turns_interleave() -> None:
    robin = RoundRobin({"a": 1, "b": 2, "c": 3})
    turns = "".join(robin.next() for _ in range(6))
    assert turns[0] == "c"
    assert "ccc" not in turns


def test_intended_weights_are_proportional_and_the_originals_are_not() -> None:
    rates = {"a": 10.0, "b": 20.0, "c": 30.0}
    assert intended_weights(rates) == rates
    assert original_weights(rates) == {"a": 2, "b": 3, "c": 4}


def wrr(*, keep_dead: bool = False) -> WeightedRoundRobin:
    balancer = WeightedRoundRobin(
        replica="me",
        incarnation="i",
        now=0.0,
        settings=SETTINGS,
        warm_up=2.0,
        keep_dead=keep_dead,
    )
    balancer.processed(0.5, 1, 0.1)  # 10 a second
    balancer.heard(1.0, row("b", 1.0, mu=30.0))
    return balancer


def warmed_up(*, keep_dead: bool = False) -> WeightedRoundRobin:
    balancer = wrr(keep_dead=keep_dead)
    balancer.arrived(0.0, items(1))
    return balancer


def dealt(balancer: WeightedRoundRobin, now: float, count: int) -> Counter[str]:
    out = offloads(balancer.arrived(now, items(count)))
    counts = Counter({peer: len(keys) for peer, keys in out.items()})
    counts["me"] = count - sum(counts.values())
    return counts


def test_wrr_deals_by_the_rates_measured_at_the_start_which_then_stay() -> None:
    balancer = warmed_up()
    assert dealt(balancer, 2.0, 40) == {"me": 10, "b": 30}
    balancer.heard(3.0, row("b", 3.0, mu=1.0))
    assert dealt(balancer, 3.0, 40) == {"me": 10, "b": 30}


def test_wrr_deals_evenly_while_rates_are_being_measured() -> None:
    assert dealt(wrr(), 1.5, 40) == {"me": 20, "b": 20}


def test_wrr_drops_a_dead_neighbour_unless_it_is_to_behave_as_the_original() -> None:
    balancer, original = warmed_up(), warmed_up(keep_dead=True)
    for one in (balancer, original):
        assert dealt(one, 2.0, 4) == {"me": 1, "b": 3}
    assert dealt(balancer, 9.0, 40) == {"me": 40}
    assert dealt(original, 9.0, 40) == {"me": 10, "b": 30}


def test_wrr_never_moves_what_is_queued() -> None:
    balancer = wrr()
    dealt(balancer, 2.0, 4)
    assert offloads(balancer.tick(2.1, queue(50))) == {}


def test_jsq_sends_each_item_where_it_is_done_first() -> None:
    seen = {"me": Peer(busy=2, mu=10), "b": Peer(busy=0, mu=10), "c": Peer(busy=0, mu=2)}
    balancer = ShortestQueue(
        replica="me", incarnation="i", now=0.0, settings=SETTINGS, oracle=lambda: seen
    )
    for name in "bc":
        balancer.heard(0.0, row(name))
    # Done after 0.1, 0.2 at b; then here and there by turns, here first; c takes 0.5.
    assert offloads(balancer.arrived(1.0, items(5))) == {"b": (0, 1, 3)}


def test_jsq_without_an_oracle_counts_what_it_has_sent_itself() -> None:
    balancer = ShortestQueue(replica="me", incarnation="i", now=0.0, settings=SETTINGS)
    balancer.processed(0.0, 1, 0.1)
    balancer.heard(1.0, row("b", 1.0, mu=10.0))
    balancer.tick(1.0, queue(4))
    assert offloads(balancer.arrived(1.0, items(4, 10))) == {"b": (10, 11, 12, 13)}
    assert offloads(balancer.arrived(1.0, items(2, 20))) == {"b": (21,)}


def test_jsq_keeps_everything_when_it_knows_nobody() -> None:
    balancer = ShortestQueue(replica="me", incarnation="i", now=0.0, settings=SETTINGS)
    assert balancer.arrived(1.0, items(9)) == ()


def shared() -> SharedQueue:
    balancer = SharedQueue(
        replica="me", incarnation="i", now=0.0, settings=SETTINGS, reserve=2, patience=0.5
    )
    balancer.heard(0.0, row("b", load=7))
    balancer.heard(0.0, row("c", load=9))
    balancer.tick(0.0, Queue())
    return balancer


def requests(actions: Actions) -> list[tuple[str | None, int]]:
    signals = [a.signal for a in actions if isinstance(a, SendSignal)]
    return [(s.to, s.room) for s in signals if isinstance(s, WorkRequest)]


def test_a_consumer_with_room_asks_whoever_has_most_waiting_once() -> None:
    balancer = SharedQueue(
        replica="me", incarnation="i", now=0.0, settings=SETTINGS, reserve=2, patience=0.5
    )
    balancer.heard(0.0, row("b", load=7))
    balancer.heard(0.0, row("c", load=9))
    assert requests(balancer.tick(0.0, queue(1))) == [("c", 1)]
    assert requests(balancer.tick(0.1, queue(0))) == []
    assert requests(balancer.tick(0.6, queue(0))) == [("c", 2)]  # nobody answered
    balancer.offloaded(0.7, "c", 2, ())
    assert requests(balancer.tick(0.7, queue(0))) == [("c", 2)]


def test_a_consumer_asks_nobody_when_nothing_waits_anywhere() -> None:
    balancer = SharedQueue(replica="me", incarnation="i", now=0.0, settings=SETTINGS)
    balancer.heard(0.0, row("b", load=0))
    assert requests(balancer.tick(0.0, queue(0))) == []


def ask(balancer: SharedQueue, sender: str, room: int, to: str = "me") -> None:
    request = WorkRequest(sender=sender, incarnation="i", to=to, at=1.0, room=room)
    balancer.signalled(1.0, request)


def test_the_owner_answers_with_its_oldest_items_beyond_its_reserve() -> None:
    balancer = shared()
    ask(balancer, "b", 2)
    ask(balancer, "c", 5)
    assert offloads(balancer.tick(1.0, queue(6))) == {"b": (2, 3), "c": (4, 5)}
    assert offloads(balancer.tick(1.1, queue(6))) == {}


def test_requests_to_others_from_strangers_or_without_work_move_nothing() -> None:
    balancer = shared()
    ask(balancer, "b", 2, to="c")
    ask(balancer, "stranger", 2)
    assert offloads(balancer.tick(1.0, queue(6))) == {}
    ask(balancer, "b", 2)
    assert offloads(balancer.tick(1.1, queue(2))) == {}


def test_items_at_their_hop_limit_are_not_pulled_any_further() -> None:
    balancer = shared()
    ask(balancer, "b", 2)
    assert offloads(balancer.tick(1.0, queue(6, hops=SETTINGS.hop_limit))) == {}


def test_without_balancing_nothing_moves_but_the_row_is_published() -> None:
    balancer = NoBalancing(replica="me", incarnation="i", now=0.0, settings=SETTINGS)
    assert any(isinstance(a, PublishState) for a in balancer.start(0.0))
    balancer.heard(0.0, row("b"))
    assert balancer.arrived(0.1, items(50)) == ()
    assert offloads(balancer.tick(0.2, queue(50))) == {}


def test_an_information_request_is_answered_with_a_row() -> None:
    balancer = NoBalancing(replica="me", incarnation="i", now=0.0, settings=SETTINGS)
    for to, answers in (("me", True), (None, True), ("other", False)):
        request = InformationRequest(sender="b", incarnation="i", to=to, at=1.0)
        assert bool(balancer.signalled(1.0, request)) == answers
    own = InformationRequest(sender="me", incarnation="i", at=1.0)
    assert balancer.signalled(1.0, own) == ()


steps = st.lists(
    st.tuples(
        st.floats(0, 2),
        st.sampled_from(["arrive", "offloaded", "done", "row", "gone", "tick", "signal", "fail"]),
        st.integers(0, 30),
    ),
    max_size=40,
)


@given(st.sampled_from(BALANCERS), steps)
def test_whatever_happens_a_balancer_only_sends_what_waits_to_whom_it_knows(
    name: str, history: Sequence[tuple[float, str, int]]
) -> None:
    balancer = make_balancer(name, place(forecast=last_window(10)))
    now, waiting, number, known = 0.0, dict[object, Waiting](), 0, set[str]()
    actions: list[object] = [*balancer.start(now), *balancer.assigned(now, [3])]
    for pause, what, count in history:
        now += pause
        peer = f"peer-{count % 3}"
        if what == "arrive":
            new = [Waiting(key=number + n, size=10) for n in range(count)]
            number += count
            waiting |= {item.key: item for item in new}
            out = balancer.arrived(now, new)
        elif what == "offloaded":
            new = [Waiting(key=number + n, size=10, hops=1) for n in range(count)]
            number += count
            waiting |= {item.key: item for item in new}
            out = balancer.offloaded(now, peer, count, ())
        elif what == "done":
            out = balancer.processed(now, count, 0.05 * count)
        elif what == "row":
            known.add(peer)
            out = balancer.heard(now, row(peer, now, load=count))
        elif what == "gone":
            out = balancer.gone(now, peer)
        elif what == "signal":
            out = balancer.signalled(
                now, WorkRequest(sender=peer, incarnation="i", to="me", at=now, room=count)
            )
        elif what == "fail":
            out = balancer.failed(now, peer, 1, 10)
        else:
            out = balancer.tick(now, Queue(waiting=list(waiting.values()), in_flight=1))
        for action in out:
            if isinstance(action, Offload):
                assert action.peer in known
                assert action.partitions == (0,)
                assert len(set(action.keys)) == len(action.keys) > 0
                for key in action.keys:
                    del waiting[key]  # fails for what does not wait, or left before
        actions += out
    rows = [a.row for a in actions if isinstance(a, PublishState)]
    assert [r.at for r in rows] == sorted(r.at for r in rows)


def place(**fields: Any) -> Place:
    values = {"forecast": last_window(1), **fields}
    return Place(replica="me", incarnation="i", now=0.0, **values)


@pytest.mark.parametrize("name", BALANCERS)
def test_every_balancer_is_made_by_its_name(name: str) -> None:
    assert make_balancer(name, place()).start(0.0)


def test_the_balancers_that_ship_are_installed() -> None:
    assert set(BALANCERS) <= set(installed("videojam.balancers", "balancer"))


def test_an_unknown_balancer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="did you mean 'jsq'") as caught:
        make_balancer("jsqq", place())
    assert caught.value.key == "balancing.policy"
    assert "shared-queue" in (caught.value.remedy or "")


@pytest.mark.parametrize("name", BALANCERS)
def test_a_parameter_that_a_balancer_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown parameter") as caught:
        make_balancer(name, place(parameters={"patience": 3}))
    assert caught.value.key == "balancing.parameters.patience"


def test_the_weights_of_the_original_are_asked_for_by_a_flag() -> None:
    flags = {"original_weights": True, "keep_dead": False}
    assert make_balancer("wrr", place(parameters=flags)).start(0.0)
    with pytest.raises(ConfigError, match="valid boolean"):
        make_balancer("wrr", place(parameters={"original_weights": "yes"}))


def install(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    point = EntryPoint(name="mine", value=value, group="videojam.balancers")
    monkeypatch.setattr("dataflow.plugins.entry_points", lambda **_: [point])


def stay_at_home(at: Place) -> Balancer:
    """Somebody else's balancer."""
    if at.parameters != {"patience": 3}:
        raise ConfigError("patience is missing", key="balancing.parameters.patience")
    return make_none(at)


def make_none(at: Place) -> Balancer:
    return NoBalancing(replica=at.replica, incarnation="i", now=at.now, settings=at.settings)


def test_a_balancer_of_a_third_party_gets_its_place_and_parameters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, f"{__name__}:stay_at_home")
    assert make_balancer("mine", place(parameters={"patience": 3})).start(0.0)
    with pytest.raises(ConfigError, match="patience is missing"):
        make_balancer("mine", place())


def give_up(_: Place) -> Balancer:
    """Somebody else's balancer, which does not like the place."""
    raise KeyError("no such table")


def test_whatever_a_third_partys_factory_raises_is_an_error_of_the_policy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, f"{__name__}:give_up")
    with pytest.raises(ConfigError, match="'mine' cannot be made: KeyError: 'no such") as caught:
        make_balancer("mine", place())
    assert caught.value.key == "balancing.policy"


def test_a_balancer_that_cannot_be_imported_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, "no_such_package_anywhere:balancer")
    with pytest.raises(MissingDependencyError, match="install what it needs"):
        make_balancer("mine", place())
