"""Estimates of links, and orders of processing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.balancing import Fifo, Links, Waiting, make_order


@given(
    st.floats(0.001, 0.5),
    st.floats(1e4, 1e8),
    st.lists(st.integers(1000, 200_000), min_size=8, max_size=60, unique=True),
)
def test_latency_and_bandwidth_are_told_apart_when_sizes_differ(
    latency: float, bandwidth: float, sizes: list[int]
) -> None:
    spread = [*sizes, 1000, 200_000] * 20
    links = Links()
    for size in spread:
        links.delivered(0.0, "a", size, latency + size / bandwidth)
    for size in (1000, 50_000, 200_000):
        assert links.line(0.0, "a").seconds(size) == pytest.approx(
            latency + size / bandwidth, rel=0.02
        )


def test_equal_sizes_tell_the_total_only() -> None:
    links = Links(bandwidth=1e6)
    for _ in range(30):
        links.delivered(0.0, "a", 1000, 0.04)
    assert links.line(0.0, "a").seconds(1000) == pytest.approx(0.04)
    assert links.throughput("a") == pytest.approx(25_000)


def test_an_estimate_follows_a_link_that_became_slower() -> None:
    links = Links()
    sizes = [7919 * n % 40_000 for n in range(1, 100)]
    for size in sizes:
        links.delivered(0.0, "a", size, size / 1e6)
    assert links.line(0.0, "a").seconds(10_000) == pytest.approx(0.01, rel=0.01)
    for size in sizes:
        links.delivered(0.0, "a", size, size / 1e5)
    assert links.line(0.0, "a").seconds(10_000) == pytest.approx(0.1, rel=0.05)


def test_before_any_delivery_and_after_goodbye_the_assumption_holds() -> None:
    links = Links(latency=0.02, bandwidth=1e6)
    links.delivered(0.0, "a", 1000, 9.0)
    assert links.line(0.0, "b").seconds(1000) == pytest.approx(0.021)
    assert links.throughput("b") == 0
    links.forget("a")
    assert links.line(0.0, "a").seconds(1000) == pytest.approx(0.021)


def test_the_first_delivery_which_opens_connections_is_not_the_links_speed() -> None:
    links = Links(latency=0.01)
    links.delivered(0.0, "a", 1000, 0.5)
    assert links.line(0.0, "a").seconds(1000) < 0.03
    for _ in range(10):
        links.delivered(0.0, "a", 1000, 0.5)
    assert links.line(0.0, "a").seconds(1000) > 0.2


def test_a_link_that_was_slow_is_tried_again_after_a_while() -> None:
    links = Links(latency=0.01)
    for _ in range(50):
        links.delivered(100.0, "a", 1000, 2.0)
    assert links.line(100.0, "a").seconds(1000) > 1.5
    assert links.line(110.0, "a").seconds(1000) > 1.5
    assert links.line(160.0, "a").seconds(1000) < 0.1
    assert links.line(90.0, "a").seconds(1000) > 1.5  # a clock that was set back changes nothing


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_deliveries_without_a_duration_say_nothing(seconds: float) -> None:
    links = Links(latency=0.02, bandwidth=1e6)
    links.delivered(0.0, "a", 1000, seconds)
    assert links.line(0.0, "a").seconds(0) == 0.02


def work(hops: Sequence[int]) -> list[Waiting]:
    return [Waiting(key=n, hops=h) for n, h in enumerate(hops)]


@given(st.lists(st.integers(0, 2), max_size=30), st.integers(1, 40), st.integers(0, 99))
def test_every_order_takes_each_item_once(hops: list[int], most: int, seed: int) -> None:
    for order in (Fifo(), make_order("thesis", seed=seed)):
        places = order.take(work(hops), most)
        assert len(set(places)) == len(places) == min(most, len(hops))
        assert set(places) <= set(range(len(hops)))


def test_fifo_takes_the_oldest() -> None:
    assert make_order("fifo").take(work([0, 1, 0]), 2) == [0, 1]


def test_the_thesis_takes_items_of_neighbours_first_and_mostly_the_newest() -> None:
    assert set(make_order("thesis").take(work([0, 1, 0, 2, 0]), 2)) == {1, 3}
    order = make_order("thesis", seed=3)
    first = [order.take(work([0] * 10), 1)[0] for _ in range(2000)]
    assert set(first) == {0, 9}
    assert first.count(9) / 2000 == pytest.approx(0.8, abs=0.03)
