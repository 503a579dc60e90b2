"""Invariants of a replica's queue."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.queue import WorkQueue

Full = Literal["drop-oldest", "block"]
Item = tuple[int, int]
"""Number and bytes."""

sizes = st.integers(0, 60)
steps = st.lists(
    st.tuples(st.just("offer"), sizes)
    | st.tuples(st.just("take"), st.integers(0, 6))
    | st.tuples(st.just("pick"), st.integers(1, 4))
    | st.tuples(st.just("discard"), st.integers(1, 4)),
    max_size=40,
)
policies: st.SearchStrategy[Full] = st.sampled_from(["drop-oldest", "block"])


def queue(items: int, size: int, when_full: Full) -> WorkQueue[Item]:
    return WorkQueue(
        max_items=items, max_bytes=size, when_full=when_full, size_of=lambda item: item[1]
    )


@given(steps, st.integers(1, 8), st.integers(1, 100), policies)
def test_items_are_conserved_in_order_and_limits_kept(
    history: list[tuple[str, int]], max_items: int, max_bytes: int, when_full: Full
) -> None:
    """offered = taken + evicted + discarded + waiting, each oldest first."""
    work = queue(max_items, max_bytes, when_full)
    waiting: list[Item] = []
    for number, (what, argument) in enumerate(history):
        if what == "offer":
            waiting.append((number, argument))
            evicted = work.offer((number, argument))
            assert evicted == waiting[: len(evicted)]
            del waiting[: len(evicted)]
            # No more went than had to.
            over = [*evicted[-1:], *waiting]
            assert not evicted or len(over) > max_items or sum(s for _, s in over) > max_bytes
            assert when_full == "drop-oldest" or not evicted
        elif what == "take":
            taken = work.remove(range(min(argument, len(work))))
            assert taken == waiting[:argument]
            del waiting[:argument]
        elif what == "pick":
            places = range(0, len(work), argument)[::-1]
            assert work.remove(places) == [waiting[place] for place in places]
            waiting = [item for place, item in enumerate(waiting) if place not in places]
        else:
            gone = work.discard(lambda item, every=argument: item[0] % every == 0)  # type: ignore[misc] # mypy cannot infer a lambda with a default
            assert gone == [item for item in waiting if item[0] % argument == 0]
            waiting = [item for item in waiting if item[0] % argument]
        assert len(work) == len(waiting)
        assert work.bytes == sum(size for _, size in waiting)
        if when_full == "drop-oldest":
            assert len(work) <= max_items
            assert work.bytes <= max_bytes or len(work) == 1
    assert work.remove(range(len(work))) == waiting
    assert (len(work), work.bytes) == (0, 0)


@given(st.lists(sizes, max_size=30), st.integers(1, 8), st.integers(1, 100))
def test_whoever_asks_for_room_first_passes_no_limit_by_more_than_one_item(
    arriving: list[int], max_items: int, max_bytes: int
) -> None:
    work = queue(max_items, max_bytes, "block")
    for number, size in enumerate(arriving):
        if work.room():
            work.offer((number, size))
        assert len(work) <= max_items
        assert work.bytes < max_bytes + 60
        assert 0 <= work.room() <= max_items - len(work)


def test_the_newest_item_stays_however_large_it_is() -> None:
    work = queue(5, 100, "drop-oldest")
    work.offer((0, 10))
    work.offer((1, 10))
    assert work.offer((2, 500)) == [(0, 10), (1, 10)]
    assert len(work) == 1
    assert work.offer((3, 1)) == [(2, 500)]


@pytest.mark.parametrize("when_full", ["drop-oldest", "block"])
def test_a_queue_full_of_bytes_has_no_room(when_full: Full) -> None:
    work = queue(5, 100, when_full)
    assert work.room() == 5
    work.offer((0, 100))
    assert work.room() == 0
    work.remove([0])
    assert work.room() == 5
