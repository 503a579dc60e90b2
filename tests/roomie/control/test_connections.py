"""Connections to servers: opened once, closed when nobody needs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from roomie.control.connections import Connections
from roomie.errors import UnavailableError
from roomie.triton.fake import FakeTriton


class Opened:
    """What was opened and what was closed."""

    def __init__(self, folder: Path) -> None:
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.faults: list[Exception] = []
        self._folder = folder

    def __call__(self, url: str) -> FakeTriton:
        if self.faults:
            raise self.faults.pop()
        self.opened.append(url)
        closed = self.closed

        class Server(FakeTriton):
            def close(self) -> None:
                closed.append(url)

        return Server(self._folder, {}, url=url)


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    return Opened(tmp_path)


@pytest.fixture
def connections(opened: Opened) -> Connections:
    made = Connections(opened)
    made.keep(["a:1", "b:1"])
    return made


def test_one_is_opened_to_each_server_and_used_again(
    connections: Connections, opened: Opened
) -> None:
    for url in ("a:1", "b:1", "a:1"):
        with connections.use(url) as connection:
            assert connection.server.url == url
    assert opened.opened == ["a:1", "b:1"]
    connections.close()
    assert sorted(opened.closed) == ["a:1", "b:1"]


def test_it_is_warm_as_long_as_its_calls_are_answered(connections: Connections) -> None:
    with connections.use("a:1") as connection:
        assert not connection.warm
    with connections.use("a:1") as connection:
        assert connection.warm
    with pytest.raises(UnavailableError), connections.use("a:1"):
        raise UnavailableError("gone")
    with connections.use("a:1") as connection:
        assert not connection.warm


def test_one_that_is_needed_no_more_is_closed_when_its_calls_have_ended(
    connections: Connections, opened: Opened
) -> None:
    with connections.use("a:1"), connections.use("a:1"):
        connections.keep(["b:1"])
        assert opened.closed == []
    assert opened.closed == ["a:1"]


def test_one_that_cannot_be_opened_is_opened_by_the_next_call(
    connections: Connections, opened: Opened
) -> None:
    opened.faults = [OSError("too many open files")]
    with pytest.raises(OSError, match="too many"), connections.use("a:1"):
        raise AssertionError
    with connections.use("a:1") as connection:
        assert connection.users == 1
