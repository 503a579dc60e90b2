"""What commands share that show something until Ctrl-C: `videojam top`, `videojam gpus`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from dataflow.errors import BrokerError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_READY_SECONDS = 20.0
"""How long the first look may take."""
_TERMINAL_SECONDS = 1.0
_PLAIN_SECONDS = 10.0
"""Pause between looks where there is no terminal to draw on."""

OnceOption = Annotated[bool, typer.Option("--once", help="Look once, and end.")]
"""``once: OnceOption = False``."""

IntervalOption = Annotated[
    float | None,
    typer.Option(
        "--interval",
        metavar="SECONDS",
        min=0.1,
        help=r"Pause between looks. \[default: 1; 10 for lines without a terminal]",
        show_default=False,
    ),
]
"""``interval: IntervalOption = None``."""


class Source(Protocol):
    """What reads topics in a thread of its own."""

    def wait_ready(self, timeout: float) -> bool:
        """Whether all that was there has been read, waiting up to ``timeout`` s for it."""
        ...

    def fault(self) -> str | None:
        """Why it cannot read; None while it can."""
        ...


@dataclass(frozen=True, kw_only=True)
class View:
    """How things look at this moment, each time anew.

    Attributes:
        as_json: a line, without its end.
        as_tables: for a terminal.
        as_lines: where there is none.
    """

    as_json: Callable[[], str]
    as_tables: Callable[[], RenderableType]
    as_lines: Callable[[], Iterable[str]]


def wait_ready(
    source: Source, stopping: threading.Event, *, what: str, remedy: str | None = None
) -> None:
    """Wait until all that is there has been read.

    Args:
        source: reads it.
        stopping: nobody waits any more.
        what: is read.
        remedy: what to do if it cannot be.

    Raises:
        BrokerError: it cannot be; says why.
        KeyboardInterrupt: nobody waits any more: what is there would be half a picture.
    """
    deadline = time.monotonic() + _READY_SECONDS
    while not source.wait_ready(0.1):
        if stopping.is_set():
            raise KeyboardInterrupt
        fault = source.fault()
        if fault is not None:
            told = f"cannot read {what}: {fault}"
            raise BrokerError(told if remedy is None else f"{told}\n  remedy: {remedy}")
        if time.monotonic() > deadline:
            raise BrokerError(f"{what} were not read within {_READY_SECONDS:.0f} s")


def show(
    view: View,
    console: Console,
    stopping: threading.Event,
    *,
    once: bool,
    interval: float | None,
    as_json: bool,
) -> None:
    """Look again and again: drawn over the last look on a terminal, below it elsewhere.

    Args:
        view: what is shown.
        console: where.
        stopping: ends it.
        once: look only once.
        interval: seconds between looks; as many as suit the console when None.
        as_json: print JSON, whatever the console.
    """
    if once:
        _look(view, console, as_json=as_json)
    elif console.is_terminal and not console.is_dumb_terminal and not as_json:
        _draw(view, console, stopping, interval or _TERMINAL_SECONDS)
    else:
        pause = interval or (_TERMINAL_SECONDS if as_json else _PLAIN_SECONDS)
        while not stopping.is_set():
            _look(view, console, as_json=as_json)
            stopping.wait(pause)


def _look(view: View, console: Console, *, as_json: bool) -> None:
    if as_json:
        # Straight to the stream: a console would fold long lines.
        console.file.write(view.as_json() + "\n")
        console.file.flush()
    elif console.is_terminal:
        console.print(view.as_tables())
    else:
        for line in view.as_lines():
            console.print(line, markup=False)


def _draw(view: View, console: Console, stopping: threading.Event, interval: float) -> None:
    from rich.live import Live

    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while not stopping.is_set():
            live.update(view.as_tables(), refresh=True)
            stopping.wait(interval)
