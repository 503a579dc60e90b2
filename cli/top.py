"""`videojam top`: replicas and how they balance, as they say themselves."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import (
    DEFAULT_CONFIG,
    BootstrapOption,
    ConfigOption,
    JsonOption,
    effective_config,
    open_transport,
    stdout,
    with_examples,
)
from dataflow.errors import BrokerError, ConfigError

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping
    from pathlib import Path

    from rich.console import Console

    from agents.observer import Observer
    from dataflow.config import Config

_READY_SECONDS = 20.0
"""How long the first look may take."""
_TERMINAL_SECONDS = 1.0
_PLAIN_SECONDS = 10.0
"""Pause between looks where there is no terminal to draw on."""


def top(
    functions: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FUNCTION]...", help="Only these; default: all."),
    ] = None,
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    interval: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.1,
            help="Pause between looks. [default: 1; 10 for lines without a terminal]",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show replicas, their load, and who hands how much to whom."""
    from agents.observer import Observer
    from cli.up import stop_on_signals

    settings = effective_config(config, bootstrap_servers)
    declared = chosen(functions or [], settings, config)
    console = stdout()
    with ExitStack() as stack:
        stopping = stack.enter_context(stop_on_signals(quiet=True))
        transport = stack.enter_context(open_transport(settings))
        transport.check()
        observer = stack.enter_context(Observer(settings, transport, functions=declared))
        wait_ready(observer, stopping)
        if once:
            look(observer, declared, console, as_json=as_json)
        elif console.is_terminal and not as_json:
            _draw(observer, declared, console, stopping, interval or _TERMINAL_SECONDS)
        else:
            pause = interval or (_TERMINAL_SECONDS if as_json else _PLAIN_SECONDS)
            while not stopping.is_set():
                look(observer, declared, console, as_json=as_json)
                stopping.wait(pause)


top.__doc__ = with_examples(
    "Show the replicas of all functions, wherever they run, until Ctrl-C.\n\n"
    "For each: whether it is heard of, its partitions, items a second in and out, mu (what it can "
    "process), busy, load (waiting + in the function), the load it forecasts, response time, items "
    "given to and taken from peers, signals sent/heard, losses. Below, who hands how much to whom. "
    "A replica that has not been heard of for 3 s is silent: its figures are old.",
    "videojam top                     all functions, drawn anew each second",
    "videojam top yolo plate-ocr      only these",
    "videojam top --once              one look",
    "videojam top --json              a line of JSON each second",
    "videojam top --once --json       for scripts",
)


def chosen(names: list[str], config: Config, file: Path) -> dict[str, int]:
    """Declared replicas of the functions to show.

    Raises:
        ConfigError: an unknown function.
    """
    for name in names:
        if name not in config.functions:
            raise ConfigError(
                f"no function {name!r} is declared",
                file=file,
                key="functions",
                remedy=f"declared: {', '.join(config.functions)}",
            )
    return {
        name: function.replicas
        for name, function in config.functions.items()
        if not names or name in names
    }


def wait_ready(observer: Observer, stopping: threading.Event) -> None:
    """Wait until the observer has read what is there.

    Raises:
        BrokerError: it cannot; says why.
    """
    deadline = time.monotonic() + _READY_SECONDS
    while not observer.wait_ready(0.1) and not stopping.is_set():
        fault = observer.fault()
        if fault is not None:
            raise BrokerError(
                f"cannot read the replicas' rows: {fault}\n"
                "  remedy: `videojam topics apply` creates what is missing"
            )
        if time.monotonic() > deadline:
            raise BrokerError(f"the replicas' rows were not read within {_READY_SECONDS:.0f} s")


def look(
    observer: Observer, declared: Mapping[str, int], console: Console, *, as_json: bool
) -> None:
    """Print what is seen now."""
    from agents.overview import overview
    from cli import top_view

    groups = overview(declared, observer.sightings(), observer.lag())
    fault = observer.fault()
    if as_json:
        # Straight to the stream: a console would fold long lines.
        console.file.write(top_view.dump(top_view.as_json(groups, time.time(), fault)) + "\n")
        console.file.flush()
    elif console.is_terminal:
        console.print(top_view.as_tables(groups, fault))
    else:
        for line in top_view.as_lines(groups, fault):
            console.print(line, markup=False)


def _draw(
    observer: Observer,
    declared: Mapping[str, int],
    console: Console,
    stopping: threading.Event,
    interval: float,
) -> None:
    from rich.live import Live

    from agents.overview import overview
    from cli import top_view

    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while not stopping.is_set():
            groups = overview(declared, observer.sightings(), observer.lag())
            live.update(top_view.as_tables(groups, observer.fault()), refresh=True)
            stopping.wait(interval)
