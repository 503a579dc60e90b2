"""The life of a Faust application, with one that does what it is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflow.config import ClusterConfig
from dataflow.transport.faust_thread import FaustThread, faust_app, scratch
from tests.transport.kit import until

_LOG = logging.getLogger("videojam.test")


class App:
    """As much of a Faust application as its thread uses.

    Args:
        journal: of all applications of a test.
        fails: when it is started.
        ends: by itself, as soon as it runs.
    """

    crash_reason = "as the test asked for"

    def __init__(self, journal: list[str], *, fails: bool = False, ends: bool = False) -> None:
        self._journal = journal
        self._fails = fails
        self._ends = ends

    async def start(self) -> None:
        self._journal.append("start")
        if self._fails:
            raise OSError("no broker")

    async def wait(self, event: asyncio.Event) -> None:
        if not self._ends:
            await event.wait()

    async def stop(self) -> None:
        self._journal.append("stop")
        raise ValueError("it stops badly, too")


class Builder:
    """Builds these applications one after the other, and then such that go on.

    Args:
        apps: options of the first ones; an exception for one that cannot be built.
        clumsy: raises before each stop.
    """

    def __init__(self, *apps: dict[str, bool] | Exception, clumsy: bool = False) -> None:
        self.journal: list[str] = []
        self._apps = list(apps)
        self._clumsy = clumsy

    def __call__(self, loop: asyncio.AbstractEventLoop) -> App:
        assert loop is asyncio.get_running_loop()
        options = self._apps.pop(0) if self._apps else {}
        if isinstance(options, Exception):
            self.journal.append("no app")
            raise options
        return App(self.journal, **options)

    async def before_stop(self) -> None:
        self.journal.append("before")
        if self._clumsy:
            raise LookupError("already gone")


@pytest.fixture
def started() -> Iterator[list[FaustThread]]:
    threads: list[FaustThread] = []
    yield threads
    for thread in threads:
        thread.close()


def run(builder: Builder, started: list[FaustThread]) -> FaustThread:
    thread = FaustThread(
        builder, what="it", log=_LOG, pauses=(0.001, 0.002), before_stop=builder.before_stop
    )
    started.append(thread)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("app", "said"),
    [({"fails": True}, "it failed: OSError"), ({"ends": True}, "it ended: 'as the test")],
)
def test_one_that_is_over_is_stopped_and_built_anew(
    app: dict[str, bool], said: str, started: list[FaustThread], caplog: pytest.LogCaptureFixture
) -> None:
    builder = Builder(app, app)
    with caplog.at_level(logging.WARNING, "videojam.test"):
        run(builder, started)
        until(lambda: builder.journal.count("start") == 3)
    assert builder.journal == ["start", "before", "stop"] * 2 + ["start"]
    assert caplog.text.count(said) == 2


def test_one_that_cannot_be_built_is_tried_again(
    started: list[FaustThread], caplog: pytest.LogCaptureFixture
) -> None:
    builder = Builder(OSError("no name service"), OSError("still none"))
    with caplog.at_level(logging.WARNING, "videojam.test"):
        thread = run(builder, started)
        until(lambda: "start" in builder.journal)
        thread.close()
    assert builder.journal == ["no app", "no app", "start", "before", "stop"]
    assert caplog.text.count("it failed: OSError") == 2


def test_one_whose_stop_cannot_be_prepared_is_stopped_and_built_anew(
    started: list[FaustThread], caplog: pytest.LogCaptureFixture
) -> None:
    builder = Builder({"ends": True}, clumsy=True)
    with caplog.at_level(logging.WARNING, "videojam.test"):
        run(builder, started)
        until(lambda: builder.journal.count("start") == 2)
    assert builder.journal == ["start", "before", "stop", "start"]
    assert "it could not be prepared for its stop: LookupError" in caplog.text


def test_it_is_built_anew_when_asked_for(
    started: list[FaustThread], caplog: pytest.LogCaptureFixture
) -> None:
    builder = Builder()
    thread = run(builder, started)
    until(lambda: builder.journal == ["start"])
    thread.restart()
    until(lambda: builder.journal == ["start", "before", "stop", "start"])
    assert caplog.records == []


def test_closing_stops_it_once_and_ends_the_thread(started: list[FaustThread]) -> None:
    builder = Builder()
    thread = run(builder, started)
    until(lambda: builder.journal == ["start"])
    thread.close()
    assert builder.journal == ["start", "before", "stop"]
    assert thread.loop.is_closed()
    thread.restart()
    thread.call(lambda: builder.journal.append("too late"))
    thread.close()
    assert len(builder.journal) == 3


def test_an_application_keeps_its_folder_away_from_where_it_is_started() -> None:
    loop = asyncio.new_event_loop()
    app = faust_app("g", bootstrap_servers="127.0.0.1:1", cluster=ClusterConfig(), loop=loop)
    assert Path(app.conf.datadir) == scratch()
    assert not scratch().is_relative_to(Path.cwd())
    loop.close()
