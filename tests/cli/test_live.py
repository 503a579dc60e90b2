"""How what goes on is shown: drawn, or printed below what was."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console
from rich.text import Text

from cli.live import View, show, wait_ready
from dataflow.errors import BrokerError


class Moments:
    """A view that ends the show after some looks."""

    def __init__(self, looks: int) -> None:
        self.left = looks
        self.stopping = threading.Event()

    def look(self, kind: str) -> str:
        self.left -= 1
        if not self.left:
            self.stopping.set()
        return f"{kind} {self.left}"

    @property
    def view(self) -> View:
        return View(
            as_json=lambda: self.look("json"),
            as_tables=lambda: Text(self.look("table")),
            as_lines=lambda: [self.look("line"), "[bold]"],
        )


@pytest.mark.parametrize(
    ("terminal", "as_json", "once", "shown"),
    [
        (False, False, False, ["line 2", "[bold]", "line 1", "[bold]", "line 0", "[bold]"]),
        (False, False, True, ["line 2", "[bold]"]),
        (False, True, False, ["json 2", "json 1", "json 0"]),
        (True, True, False, ["json 2", "json 1", "json 0"]),
        (True, True, True, ["json 2"]),
        (True, False, True, ["table 2"]),
    ],
)
def test_it_is_shown_as_suits_who_looks(
    terminal: bool, as_json: bool, once: bool, shown: list[str]
) -> None:
    moments, output = Moments(3), io.StringIO()
    console = Console(file=output, force_terminal=terminal, color_system=None)
    show(moments.view, console, moments.stopping, once=once, interval=0.001, as_json=as_json)
    assert output.getvalue().splitlines() == shown


def test_a_terminal_is_drawn_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")  # a dumb one cannot be drawn over
    moments, output = Moments(3), io.StringIO()
    console = Console(file=output, force_terminal=True, color_system=None)
    show(moments.view, console, moments.stopping, once=False, interval=0.001, as_json=False)
    drawn = output.getvalue()
    assert drawn.index("table 2") < drawn.index("table 1") < drawn.index("table 0")
    assert "\x1b[2K" in drawn  # a line is erased before it is drawn anew


def test_a_terminal_that_cannot_be_drawn_over_gets_each_look_below_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    moments, output = Moments(3), io.StringIO()
    console = Console(file=output, force_terminal=True, color_system=None)
    show(moments.view, console, moments.stopping, once=False, interval=0.001, as_json=False)
    drawn = output.getvalue()
    assert drawn.index("table 2") < drawn.index("table 1") < drawn.index("table 0")
    assert "\x1b" not in drawn


class Reading:
    """A source that is ready, or broken, after some looks."""

    def __init__(self, ready: int, fault: str | None = None) -> None:
        self.ready = ready
        self._fault = fault

    def wait_ready(self, timeout: float) -> bool:
        del timeout
        self.ready -= 1
        return self.ready < 0

    def fault(self) -> str | None:
        return self._fault


def test_the_first_look_waits_until_all_is_read() -> None:
    source = Reading(3)
    wait_ready(source, threading.Event(), what="rows")
    assert source.ready == -1


def test_whoever_is_stopped_before_all_is_read_is_interrupted_and_shown_nothing() -> None:
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(KeyboardInterrupt):  # exit code 130
        wait_ready(Reading(10**9), stopping, what="rows")
    wait_ready(Reading(0), stopping, what="rows")  # all was read


def test_what_cannot_be_read_is_said_with_the_remedy() -> None:
    with pytest.raises(BrokerError, match="cannot read rows: no topic\n  remedy: make it"):
        wait_ready(Reading(3, "no topic"), threading.Event(), what="rows", remedy="make it")
