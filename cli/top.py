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
    require_declared,
    stdout,
    with_examples,
)
from cli.live import IntervalOption, OnceOption, View, show, wait_ready
from cli.service import stopping_on_signals

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agents.observer import Observer
    from dataflow.config import Config


def top(
    functions: Annotated[
        list[str] | None,
        typer.Argument(metavar="FUNCTION", help="Only these; default: all."),
    ] = None,
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    once: OnceOption = False,
    interval: IntervalOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show replicas, their load, and who hands how much to whom."""
    from agents.observer import Observer

    settings = effective_config(config, bootstrap_servers)
    declared = chosen(functions or [], settings, config)
    with ExitStack() as stack:
        stopping = stack.enter_context(stopping_on_signals(quiet=True))
        transport = stack.enter_context(open_transport(settings))
        transport.check()
        observer = stack.enter_context(Observer(settings, transport, functions=declared))
        wait_ready(
            observer,
            stopping,
            what="the replicas' rows",
            remedy="`videojam topics apply` creates what is missing",
        )
        show(
            _view(observer, declared),
            stdout(),
            stopping,
            once=once,
            interval=interval,
            as_json=as_json,
        )


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
    require_declared(names, config.functions, what="function", file=file)
    return {
        name: function.replicas
        for name, function in config.functions.items()
        if not names or name in names
    }


def _view(observer: Observer, declared: Mapping[str, int]) -> View:
    from agents.overview import GroupView, overview
    from cli import top_view

    def groups() -> tuple[GroupView, ...]:
        return overview(declared, observer.sightings(), observer.lag())

    return View(
        as_json=lambda: top_view.dump(top_view.as_json(groups(), time.time(), observer.fault())),
        as_tables=lambda: top_view.as_tables(groups(), observer.fault()),
        as_lines=lambda: top_view.as_lines(groups(), observer.fault()),
    )
