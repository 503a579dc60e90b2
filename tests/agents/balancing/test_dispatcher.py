"""Invariants of carrying out a policy."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.balancing import BalancingSettings, Dispatcher, Links, Peer, Queue, Transfer, Waiting
from tests.agents.balancing.rows import queue

UNGATED = BalancingSettings(link_aware=False, hop_limit=2)
PEERS = {"a": Peer(busy=0, mu=10), "b": Peer(busy=0, mu=10)}


def transfer(peer: str, items: int, urgent: int = 0) -> Transfer:
    return Transfer("me", peer, items, urgent)


def dispatcher(settings: BalancingSettings = UNGATED) -> Dispatcher:
    return Dispatcher(settings, Links())


def sent(
    work: Dispatcher, now: float, items: Queue, mu: float = 10.0, peers: dict[str, Peer] = PEERS
) -> dict[str, tuple[object, ...]]:
    return dict(work.due(now, items, mu=mu, peers=peers))


@given(
    st.integers(0, 60),
    st.integers(0, 60),
    st.lists(st.floats(0, 12), min_size=1, max_size=20),
)
def test_pacing_is_monotone_bounded_and_complete(
    items: int, urgent: int, times: list[float]
) -> None:
    """By 0.8 of the window everything has been offered, never more, and never ahead of the pace."""
    work, waiting = dispatcher(), queue(60)
    urgent = min(items, urgent)
    work.adopt([transfer("a", items, urgent)], 0.0, 10.0)
    total = 0
    for now in sorted(times):
        total += len(sent(work, now, waiting).get("a", ()))
        pace = urgent + (items - urgent) * min(1.0, now / 8)
        assert total == int(pace + 1e-9)
    total += len(sent(work, 8.0 if max(times) < 8 else 12.0, waiting).get("a", ()))
    assert total == items
    assert work.peers == ()


@given(st.integers(1, 8), st.integers(1, 30))
def test_a_pace_below_one_item_a_policy_is_not_lost_when_policies_follow_each_other(
    items: int, policies: int
) -> None:
    work, total, waiting = dispatcher(), 0, queue(10)
    for second in range(policies):
        work.adopt([transfer("a", items)], float(second), 10.0)
        for tenth in range(10):
            total += len(sent(work, second + tenth / 10, waiting).get("a", ()))
    assert total >= int(items / 8 * (policies - 0.2)) - 1


def test_the_newest_leave_first() -> None:
    work = dispatcher()
    work.adopt([transfer("a", 3, 3)], 0.0, 10.0)
    assert sent(work, 0.0, queue(10)) == {"a": (9, 8, 7)}


def test_items_from_upstream_leave_before_those_from_neighbours() -> None:
    work = dispatcher()
    waiting = [Waiting(key=n, hops=n % 2) for n in range(6)]
    work.adopt([transfer("a", 5, 5)], 0.0, 10.0)
    assert sent(work, 0.0, Queue(waiting=waiting)) == {"a": (4, 2, 0, 5, 3)}


def test_items_are_offloaded_again_only_within_their_hop_limit() -> None:
    work = dispatcher(BalancingSettings(link_aware=False, hop_limit=2))
    waiting = [Waiting(key=n, hops=n) for n in range(5)]
    work.adopt([transfer("a", 5, 5)], 0.0, 10.0)
    assert sent(work, 0.0, Queue(waiting=waiting)) == {"a": (0, 1)}


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.booleans())
def test_only_what_waits_leaves_and_each_item_once(
    waiting: int, to_a: int, to_b: int, gated: bool
) -> None:
    work = dispatcher(BalancingSettings(link_aware=gated))
    transfers = [transfer(p, n, n) for p, n in (("a", to_a), ("b", to_b)) if n]
    work.adopt(transfers, 0.0, 10.0)
    out = sent(work, 0.0, queue(waiting, in_flight=4))
    keys = [key for batch in out.values() for key in batch]
    assert len(set(keys)) == len(keys) <= waiting
    assert set(keys) <= set(range(waiting))
    quotas = Counter({"a": to_a, "b": to_b})
    assert all(len(batch) <= quotas[peer] for peer, batch in out.items())


def test_a_new_policy_replaces_the_old_whole() -> None:
    work = dispatcher()
    work.adopt([transfer("a", 10, 10), transfer("b", 10, 10)], 0.0, 10.0)
    work.adopt([transfer("b", 2, 2)], 1.0, 10.0)
    assert work.peers == ("b",)
    assert sent(work, 1.0, queue(30)) == {"b": (29, 28)}


def test_congestion_stops_a_running_offload_early() -> None:
    work = dispatcher()
    work.adopt([transfer("a", 8)], 0.0, 10.0)
    assert len(sent(work, 4.0, queue(30))["a"]) == 4
    work.limit("a", 0)
    assert sent(work, 8.0, queue(30)) == {}
    assert work.peers == ()


def test_congestion_leaves_what_the_peer_expects_and_never_raises_a_quota() -> None:
    work = dispatcher()
    work.adopt([transfer("a", 8)], 0.0, 10.0)
    work.limit("a", 99)
    work.limit("a", 3)
    work.limit("nobody", 3)
    assert len(sent(work, 9.0, queue(30))["a"]) == 3


def test_a_peer_that_is_not_alive_gets_nothing_whatever_its_quota() -> None:
    work = dispatcher()
    work.adopt([transfer("a", 8, 8), transfer("b", 2, 2)], 0.0, 10.0)
    assert sent(work, 0.0, queue(30), peers={"b": PEERS["b"]}) == {"b": (29, 28)}


def test_what_could_not_be_delivered_does_not_count() -> None:
    work = dispatcher()
    work.adopt([transfer("a", 2, 2)], 0.0, 10.0)
    assert sent(work, 0.0, queue(5)) == {"a": (4, 3)}
    work.acknowledged(200)
    work.returned("a", 2)
    assert work.pending_bytes == 0
    assert sent(work, 0.1, queue(5)) == {"a": (4, 3)}


def test_an_item_stays_when_it_is_done_earlier_here() -> None:
    """Of 10 items at 10 a second, those behind the peer's 0.5 s are worth it."""
    work = dispatcher(BalancingSettings(gain_fraction=0.0))
    work.adopt([transfer("a", 10, 10)], 0.0, 10.0)
    out = sent(work, 0.0, queue(10), peers={"a": Peer(busy=4, mu=10)})
    # 9 here takes 1.0 s, there 0.5 + link; 8: 0.9 against 0.6 + link; 7: 0.8 against 0.7 + link.
    assert out == {"a": (9, 8, 7)}


def test_a_small_gain_is_no_reason_to_move() -> None:
    work = dispatcher(BalancingSettings(gain_fraction=0.4))
    work.adopt([transfer("a", 10, 10)], 0.0, 10.0)
    out = sent(work, 0.0, queue(10), peers={"a": Peer(busy=4, mu=10)})
    # 8 would gain less than 0.3 s of 0.9 s: not two fifths.
    assert out == {"a": (9,)}


def test_a_slow_link_makes_offloads_not_worth_it() -> None:
    links = Links()
    for size in (50, 100, 150, 200) * 8:
        links.delivered(0.0, "a", size, 0.5 + size / 100)
    work = Dispatcher(BalancingSettings(), links)
    work.adopt([transfer("a", 10, 10)], 0.0, 10.0)
    assert sent(work, 0.0, queue(10)) == {}  # 1.5 s on the link alone
    assert len(sent(work, 0.0, queue(40))["a"]) > 0


def test_what_is_on_its_way_delays_what_follows() -> None:
    links = Links()
    for size in (50, 100, 150, 200):
        links.delivered(0.0, "a", size, size / 1000)
    work = Dispatcher(BalancingSettings(), links)
    work.adopt([transfer("a", 10, 10)], 0.0, 10.0)
    fast = {"a": Peer(busy=0, mu=1000)}
    first = sent(work, 0.0, queue(10), peers=fast)["a"]
    assert 0 < len(first) < 10  # each takes 0.1 s of the link, as long as here
    work.acknowledged(work.pending_bytes)
    work.adopt([transfer("a", 10, 10)], 0.0, 10.0)
    assert len(sent(work, 0.0, queue(10), peers=fast)["a"]) == len(first)


def test_small_items_go_first_when_the_link_is_what_limits() -> None:
    capped = dispatcher(BalancingSettings(link_aware=False, bytes_per_second=1000))
    sizes = [700, 300, 600, 200, 400]
    waiting = [Waiting(key=n, size=size) for n, size in enumerate(sizes)]
    capped.adopt([transfer("a", 5, 5)], 0.0, 10.0)
    assert sent(capped, 0.0, Queue(waiting=waiting)) == {"a": (3, 1, 4)}
    free = dispatcher()
    free.adopt([transfer("a", 3, 3)], 0.0, 10.0)
    assert sent(free, 0.0, Queue(waiting=waiting)) == {"a": (4, 3, 2)}


@given(st.lists(st.integers(1, 900), min_size=1, max_size=50), st.integers(100, 2000))
def test_the_cap_on_bytes_is_kept_over_any_time(sizes: list[int], cap: int) -> None:
    work = dispatcher(BalancingSettings(link_aware=False, bytes_per_second=cap))
    left = {n: Waiting(key=n, size=size) for n, size in enumerate(sizes)}
    total = 0
    for tenth in range(40):
        now = tenth / 10
        work.adopt([transfer("a", 100, 100)], now, 10.0)
        leaving = sent(work, now, Queue(waiting=list(left.values()))).get("a", ())
        total += sum(item.size for item in left.values() if item.key in leaving)
        left = {key: item for key, item in left.items() if key not in leaving}
        assert total <= cap * (1 + now) + 1e-6


@pytest.mark.parametrize("rate", [0.0, 10.0])
def test_a_replica_that_does_not_know_its_rate_lets_others_have_the_work(rate: float) -> None:
    work = dispatcher(BalancingSettings())
    work.adopt([transfer("a", 1, 1)], 0.0, 10.0)
    busy = {"a": Peer(busy=100, mu=10)}
    assert bool(sent(work, 0.0, queue(5), mu=rate, peers=busy)) == (rate == 0)


def test_a_queue_that_is_as_good_as_full_hands_on_also_what_is_done_later_there() -> None:
    """Better late than dropped, but only what there is no room for."""
    slow = {"a": Peer(busy=5, mu=1)}
    work = dispatcher(BalancingSettings(capacity=20, full=0.9))
    work.adopt([transfer("a", 10, 10)], 0.0, 10.0)
    assert sent(work, 0.0, queue(18), mu=10.0, peers=slow) == {}
    assert sent(work, 0.0, queue(20), mu=10.0, peers=slow) == {"a": (19, 18)}
    endless = dispatcher(BalancingSettings(capacity=None))
    endless.adopt([transfer("a", 10, 10)], 0.0, 10.0)
    assert sent(endless, 0.0, queue(20), mu=10.0, peers=slow) == {}
