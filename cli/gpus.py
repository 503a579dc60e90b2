"""`videojam gpus`: the live map of GPUs, instances and how they slow each other."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
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
from dataflow.errors import BrokerError

if TYPE_CHECKING:
    import threading

    from rich.console import Console

    from dataflow.config import TopicNames
    from dataflow.transport import Transport
    from roomie.control.follower import Follower
    from roomie.control.overview import ClusterView
    from roomie.devices import DeviceTable

_READY_SECONDS = 20.0
"""How long the first look may take."""
_TERMINAL_SECONDS = 1.0
_PLAIN_SECONDS = 10.0
"""Pause between looks where there is no terminal to draw on."""


def gpus(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    devices: Annotated[
        Path | None, typer.Option(help="A file of further kinds of GPUs.", dir_okay=False)
    ] = None,
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
    """Show GPUs and what runs on them."""
    from cli.up import stop_on_signals
    from dataflow.config import TopicNames
    from roomie.control.topics import require_topics
    from roomie.devices import load_devices

    settings = effective_config(config, bootstrap_servers)
    table = load_devices(devices)
    names = TopicNames(settings.deployment)
    console = stdout()
    with ExitStack() as stack:
        stopping = stack.enter_context(stop_on_signals(quiet=True))
        transport = stack.enter_context(open_transport(settings))
        transport.check()
        require_topics(transport, names)
        scene = Scene(transport, names, table)
        stack.enter_context(scene.follower)
        _wait_ready(scene.follower, stopping)
        if once:
            _look(scene, console, as_json=as_json)
        elif console.is_terminal and not as_json:
            _draw(scene, console, stopping, interval or _TERMINAL_SECONDS)
        else:
            pause = interval or (_TERMINAL_SECONDS if as_json else _PLAIN_SECONDS)
            while not stopping.is_set():
                _look(scene, console, as_json=as_json)
                stopping.wait(pause)


gpus.__doc__ = with_examples(
    "Show all workers, their GPUs and what runs there, until Ctrl-C.\n\n"
    "For each instance: its state, items a second against what it is expected to serve, mean wait "
    "and time of a batch, and by how much others slow it: measured with full batches, against "
    "predicted. Of each GPU, the memory that its instances were promised, and what is used as its "
    "driver says. Below, the models, and why instances are missing if some are.",
    "videojam gpus                   drawn anew each second",
    "videojam gpus --once            one look",
    "videojam gpus --once --json     for scripts",
)


class Scene:
    """What is followed, and what it looks like now."""

    def __init__(self, transport: Transport, names: TopicNames, devices: DeviceTable) -> None:
        from roomie.control.follower import Follower, Table
        from roomie.control.records import Placement, Telemetry, WorkerReport

        self._workers = Table(WorkerReport)
        self._placements = Table(Placement)
        self._telemetry = Table(Telemetry)
        self._devices = devices
        self.follower = Follower(
            transport,
            {
                names.workers: self._workers,
                names.placements: self._placements,
                names.telemetry: self._telemetry,
            },
        )

    def view(self) -> ClusterView:
        """The cluster."""
        from roomie.control.overview import cluster_view

        now = time.monotonic()
        return cluster_view(
            {key: (row, now - at) for key, (row, at) in self._workers.dated().items()},
            self._placements.rows(),
            {key: (row, now - at) for key, (row, at) in self._telemetry.dated().items()},
            self._devices,
        )


def _wait_ready(follower: Follower, stopping: threading.Event) -> None:
    """Wait until all that is there has been read.

    Raises:
        BrokerError: it cannot be; says why.
    """
    deadline = time.monotonic() + _READY_SECONDS
    while not follower.wait_ready(0.1) and not stopping.is_set():
        fault = follower.fault()
        if fault is not None:
            raise BrokerError(f"cannot read ROOMIE's topics: {fault}")
        if time.monotonic() > deadline:
            raise BrokerError(f"ROOMIE's topics were not read within {_READY_SECONDS:.0f} s")


def _look(scene: Scene, console: Console, *, as_json: bool) -> None:
    from cli import gpus_view

    fault = scene.follower.fault()
    if as_json:
        shown = gpus_view.as_json(scene.view(), time.time(), fault)
        # Straight to the stream: a console would fold long lines.
        console.file.write(json.dumps(shown, separators=(",", ":")) + "\n")
        console.file.flush()
    elif console.is_terminal:
        console.print(gpus_view.as_tables(scene.view(), fault))
    else:
        for line in gpus_view.as_lines(scene.view(), fault):
            console.print(line, markup=False)


def _draw(scene: Scene, console: Console, stopping: threading.Event, interval: float) -> None:
    from rich.live import Live

    from cli import gpus_view

    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while not stopping.is_set():
            live.update(gpus_view.as_tables(scene.view(), scene.follower.fault()), refresh=True)
            stopping.wait(interval)
