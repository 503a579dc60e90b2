"""Reading topics to their ends, while others write, and when there is no end."""

from __future__ import annotations

from itertools import count
from typing import Any, cast

import pytest

from dataflow.transport import Received, Transport
from evaluation.errors import MeasurementError
from evaluation.kafka import read_to_end


class Reader:
    """One record a poll; the end is behind the third, or nowhere."""

    def __init__(self, *, ends: bool) -> None:
        self.polls = 0
        self.closed = False
        self._ends = ends

    def poll(self, _records: int, _timeout: float) -> list[Received]:
        self.polls += 1
        return [cast("Received", self.polls)]

    def caught_up(self) -> bool:
        return self._ends and self.polls == 3

    def close(self) -> None:
        self.closed = True


class Around:
    """A transport that gives out one reader."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def reader(self, topics: list[str]) -> Reader:
        assert topics == ["a", "b"]
        return self._reader


def read(reader: Reader) -> list[Any]:
    seconds = count()
    transport = cast("Transport", cast("Any", Around(reader)))
    return list(read_to_end(transport, ["a", "b"], seconds=10, clock=lambda: float(next(seconds))))


def test_reading_ends_where_the_topics_did_although_more_is_written() -> None:
    reader = Reader(ends=True)
    assert read(reader) == [1, 2, 3]
    assert reader.closed


def test_topics_without_an_end_are_given_up() -> None:
    reader = Reader(ends=False)
    with pytest.raises(MeasurementError, match="a, b: not read to the end within 10 s"):
        read(reader)
    assert reader.closed
