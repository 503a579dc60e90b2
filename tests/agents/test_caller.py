"""Calling a plugin that fails, lies or hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.caller import Caller, StalledError
from dataflow.errors import ImageError, RecordError
from dataflow.functions.base import Box, Detection, FunctionParams, Item

FOUND = Detection(kind="vehicle", box=Box(x=1, y=2, w=3, h=4), score=0.5)


class Scripted:
    """A function whose behaviour is one callable; keeps the batches it was given."""

    Params: ClassVar[type[FunctionParams]] = FunctionParams

    def __init__(self, behave: Callable[[Sequence[Item]], object]) -> None:
        self._behave = behave
        self.batches: list[list[int]] = []

    def process(self, batch: Sequence[Item]) -> Sequence[Sequence[Detection]]:
        self.batches.append([item.sequence for item in batch])
        return self._behave(batch)  # type: ignore[return-value] # plugins are not typed by us

    def close(self) -> None:
        """Nothing to release."""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def caller(
    function: Scripted, *, attempts: int = 2, stall_limit: float = 10.0, clock: Clock | None = None
) -> Caller:
    return Caller(
        "look",
        function,
        attempts=attempts,
        stall_limit=stall_limit,
        monotonic=clock or Clock(),
    )


def items(count: int) -> list[Item]:
    return [Item(camera="gate", sequence=n, captured_at=0.0, data=b"jpeg") for n in range(count)]


def each_found(batch: Sequence[Item]) -> list[list[Detection]]:
    return [[FOUND] * item.sequence for item in batch]


def failing_on(bad: set[int], error: Exception) -> Scripted:
    def behave(batch: Sequence[Item]) -> list[list[Detection]]:
        if any(item.sequence in bad for item in batch):
            raise error
        return each_found(batch)

    return Scripted(behave)


def test_a_batch_that_works_is_one_call() -> None:
    function = Scripted(each_found)
    assert caller(function).call(items(3)) == [(), (FOUND,), (FOUND, FOUND)]
    assert function.batches == [[0, 1, 2]]


def test_results_may_be_generators_and_are_read_before_the_next_call() -> None:
    function = Scripted(lambda batch: (iter(found) for found in each_found(batch)))
    assert caller(function).call(items(2)) == [(), (FOUND,)]


@given(st.integers(1, 8), st.sets(st.integers(0, 7)), st.integers(1, 4))
def test_only_failing_items_die_and_each_is_tried_as_often_as_declared(
    count: int, bad: set[int], attempts: int
) -> None:
    function = failing_on(bad, RuntimeError("boom"))
    outcomes = caller(function, attempts=attempts).call(items(count))
    assert len(outcomes) == count
    for sequence, outcome in enumerate(outcomes):
        tries = function.batches.count([sequence])
        if sequence in bad:
            assert isinstance(outcome, RecordError)
            assert outcome.reason == "function-error"
            assert "boom" in outcome.detail
            assert tries == attempts
        else:
            assert outcome == (FOUND,) * sequence
            assert tries <= 1


def test_an_item_that_fails_once_is_processed() -> None:
    failures: Iterator[bool] = iter([True, False])

    def behave(batch: Sequence[Item]) -> list[list[Detection]]:
        if next(failures):
            raise OSError("a hiccup")
        return each_found(batch)

    assert caller(Scripted(behave), attempts=2).call(items(1)) == [()]


def test_bad_bytes_are_not_tried_again() -> None:
    function = failing_on({0}, ImageError("image-empty", "no bytes"))
    (outcome,) = caller(function, attempts=5).call(items(1))
    assert isinstance(outcome, ImageError)
    assert function.batches == [[0]]


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [[], [], []],
        None,
        7,
        [None, None],
        [[FOUND], [{"kind": "vehicle"}]],
        [[FOUND], [None]],
    ],
)
def test_an_answer_that_is_no_answer_is_the_functions_error(answer: object) -> None:
    outcomes = caller(Scripted(lambda _: answer)).call(items(2))
    assert [o.reason for o in outcomes if isinstance(o, RecordError)] == ["function-error"] * 2


def test_a_wrong_number_of_results_for_a_batch_costs_no_item() -> None:
    """Each alone gets its own answer; results are never given to the wrong item."""
    function = Scripted(lambda batch: each_found(batch)[:1])
    assert caller(function).call(items(3)) == [(), (FOUND,), (FOUND, FOUND)]


def test_what_ends_the_process_is_not_held_up() -> None:
    def behave(_: Sequence[Item]) -> None:
        raise KeyboardInterrupt

    function = Scripted(behave)
    called = caller(function)
    with pytest.raises(KeyboardInterrupt):
        called.call(items(2))
    with called.exclusive(timeout=0) as free:
        assert free


def test_a_call_beyond_its_limit_is_a_stall_and_one_that_returned_is_not() -> None:
    clock = Clock()
    called: Caller
    seen: list[str] = []

    def behave(batch: Sequence[Item]) -> list[list[Detection]]:
        clock.now += 10.0
        called.check_stalled()
        clock.now += 0.1
        try:
            called.check_stalled()
        except StalledError as error:
            seen.append(str(error))
        return each_found(batch)

    called = caller(Scripted(behave), stall_limit=10.0, clock=clock)
    called.check_stalled()  # nothing is called yet
    called.call(items(1))
    clock.now += 1000.0
    called.check_stalled()  # nothing is called any more
    assert len(seen) == 1
    assert "look" in seen[0]
    assert "10 s" in seen[0]


def test_a_failed_call_is_no_stall_later() -> None:
    clock = Clock()
    called = caller(failing_on({0}, RuntimeError("boom")), clock=clock)
    called.call(items(1))
    clock.now += 1000.0
    called.check_stalled()


def test_the_limit_is_one_calls_not_that_of_the_retries() -> None:
    clock = Clock()
    called: Caller

    def behave(_: Sequence[Item]) -> None:
        clock.now += 8.0
        called.check_stalled()
        raise RuntimeError("slow and failing")

    called = caller(Scripted(behave), attempts=3, stall_limit=10.0, clock=clock)
    (outcome,) = called.call(items(1))
    assert isinstance(outcome, RecordError)
    assert "slow and failing" in outcome.detail


def test_no_call_runs_while_the_function_is_held() -> None:
    function = Scripted(each_found)
    called = caller(function)
    with called.exclusive() as held:
        assert held
        thread = threading.Thread(target=called.call, args=(items(1),))
        thread.start()
        with called.exclusive(timeout=0.01) as again:
            assert not again
        assert function.batches == []
    thread.join(10)
    assert function.batches == [[0]]


def test_a_hung_call_does_not_let_us_hold_the_function() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def behave(batch: Sequence[Item]) -> list[list[Detection]]:
        entered.set()
        assert go_on.wait(10)
        return each_found(batch)

    called = caller(Scripted(behave))
    thread = threading.Thread(target=called.call, args=(items(1),))
    thread.start()
    assert entered.wait(10)
    with called.exclusive(timeout=0.01) as free:
        assert not free
    go_on.set()
    thread.join(10)
    with called.exclusive(timeout=1) as free:
        assert free
