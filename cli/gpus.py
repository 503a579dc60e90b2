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
from cli.live import IntervalOption, OnceOption, View, show, wait_ready
from cli.service import stopping_on_signals

if TYPE_CHECKING:
    from dataflow.config import TopicNames
    from dataflow.transport import Transport
    from roomie.control.overview import ClusterView
    from roomie.devices import DeviceTable


def gpus(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    devices: Annotated[
        Path | None, typer.Option(help="A file of further kinds of GPUs.", dir_okay=False)
    ] = None,
    once: OnceOption = False,
    interval: IntervalOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show GPUs and what runs on them."""
    from dataflow.config import TopicNames
    from roomie.control.topics import require_topics
    from roomie.devices import load_devices

    settings = effective_config(config, bootstrap_servers)
    table = load_devices(devices)
    names = TopicNames(settings.deployment)
    with ExitStack() as stack:
        stopping = stack.enter_context(stopping_on_signals(quiet=True))
        transport = stack.enter_context(open_transport(settings))
        transport.check()
        require_topics(transport, names)
        scene = Scene(transport, names, table)
        stack.enter_context(scene.follower)
        wait_ready(scene.follower, stopping, what="ROOMIE's topics")
        show(_view(scene), stdout(), stopping, once=once, interval=interval, as_json=as_json)


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


def _view(scene: Scene) -> View:
    from cli import gpus_view

    def line() -> str:
        shown = gpus_view.as_json(scene.view(), time.time(), scene.follower.fault())
        return json.dumps(shown, separators=(",", ":"))

    return View(
        as_json=line,
        as_tables=lambda: gpus_view.as_tables(scene.view(), scene.follower.fault()),
        as_lines=lambda: gpus_view.as_lines(scene.view(), scene.follower.fault()),
    )
