"""`videojam models` and `videojam roomie log`: what ROOMIE runs, and why it decided so."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import (
    DEFAULT_CONFIG,
    BootstrapOption,
    ConfigOption,
    JsonOption,
    effective_config,
    open_transport,
    stderr,
    stdout,
    with_examples,
)
from dataflow.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from roomie.control.records import ControllerReport, PlacedInstance, Placement, Status

_SILENT_SECONDS = 5.0
"""A controller that has not been heard for so long is not counted on."""


def models(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="Only these; default: all."),
    ] = None,
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show models and their instances."""
    from dataflow.config import TopicNames
    from roomie.control.assembly import declared_roomie
    from roomie.control.views import read_snapshot

    settings = effective_config(config, bootstrap_servers)
    declared_roomie(settings, config)
    with open_transport(settings) as transport:
        transport.check()
        snapshot = read_snapshot(transport, TopicNames(settings.deployment))
    unknown = [name for name in names or () if name not in snapshot.placements]
    if unknown:
        known = ", ".join(sorted(snapshot.placements)) or "none"
        raise ConfigError(
            f"not deployed: {', '.join(unknown)}",
            key="MODEL",
            remedy=f"deployed: {known}; `videojam deploy {unknown[0]}` deploys it",
        )
    shown = [p for m, p in sorted(snapshot.placements.items()) if not names or m in names]
    now = time.time()
    active = [c for c in snapshot.controllers.values() if c.active and _heard(c, now)]
    if as_json:
        found = {
            "controllers": [c.model_dump() for _, c in sorted(snapshot.controllers.items())],
            "models": [p.model_dump(mode="json") for p in shown],
        }
        typer.echo(json.dumps(found))
        return
    console = stdout()
    if not active:
        stderr().print(
            "no controller decides: orders wait until one does (`videojam controller`)",
            style="yellow",
        )
    if shown:
        console.print(models_table(shown))
    else:
        console.print("no model is deployed", markup=False)
    for placement in shown:
        for line in notes(placement):
            console.print(line, style="yellow", markup=False)


models.__doc__ = with_examples(
    "Show the models that ROOMIE runs: versions, instances, where they are, in which state, how "
    "much their neighbours slow them by the prediction, and how many items a second they serve.",
    "videojam models",
    "videojam models alexnet",
    "videojam models --json       for programs",
)


def _heard(report: ControllerReport, now: float) -> bool:
    return now - report.at <= _SILENT_SECONDS


def models_table(placements: Iterable[Placement]) -> Table:
    """A row an instance."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("model", "version", "instance", "GPU", "state"):
        table.add_column(heading)
    for heading in ("batch", "slowdown", "items/s", "kind"):
        table.add_column(heading, justify="right")
    for placement in placements:
        rows = sorted(placement.instances, key=lambda i: (i.incoming, i.extra, i.id))
        for number, instance in enumerate(rows):
            name = placement.spec.model if number == 0 else ""
            table.add_row(name, *_cells(instance))
        if not rows:
            table.add_row(placement.spec.model, f"v{placement.spec.version}", "-", "-", "waits")
    return table


def _cells(instance: PlacedInstance) -> tuple[str, ...]:
    kind = "reserved" if instance.reserved else "removable"
    if instance.extra:
        kind = "autoscaled"
    if instance.incoming:
        kind += ", new"
    return (
        f"v{instance.version}",
        instance.id,
        instance.gpu,
        instance.state,
        str(instance.batch),
        "-" if instance.profile is None else f"{100 * instance.slowdown:.1f} %",
        f"{instance.speed:.1f}" if instance.speed else "-",
        kind,
    )


def notes(placement: Placement) -> list[str]:
    """What there is to be said of a model beyond its instances."""
    spec, found = placement.spec, []
    serving = sum(i.state == "ready" for i in placement.instances)
    if placement.leaving:
        found.append(f"{spec.model}: on its way out")
    elif placement.rollout is not None and not placement.rollout.first:
        found.append(
            f"{spec.model}: version {placement.rollout.version} is coming in beside "
            f"version {spec.version}"
        )
    if placement.deferred is not None:
        wanted = spec.instances + placement.extra
        found.append(f"{spec.model}: {serving} of {wanted} serve: {placement.deferred}")
    return found


def log(
    model: Annotated[str | None, typer.Argument(help="Only of this one; default: all.")] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    order: Annotated[str | None, typer.Option(help="Only of the order of this id.")] = None,
    last: Annotated[
        int | None, typer.Option("--last", "-n", min=1, help="Only so many of those there are.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show decisions and their reasons."""
    from cli.service import stopping_on_signals
    from dataflow.config import TopicNames
    from dataflow.errors import RecordError
    from roomie.control.assembly import declared_roomie
    from roomie.control.records import Status

    settings = effective_config(config, bootstrap_servers)
    declared_roomie(settings, config)
    topic = TopicNames(settings.deployment).status
    kept: list[Status] = []
    with open_transport(settings) as transport, stopping_on_signals(quiet=True) as stopping:
        transport.check()
        reader = transport.reader([topic])
        try:
            live = False
            while not stopping.is_set():
                # Before the poll: what it says then is of what was polled until then.
                caught_up = reader.caught_up()
                for record in reader.poll(500, 0.2 if caught_up else 0.05):
                    try:
                        status = Status.from_json(record.value or b"")
                    except RecordError:
                        continue  # of a newer version
                    if model in (None, status.model) and order in (None, status.order):
                        kept.append(status)
                if live or caught_up:
                    shown = kept if live or last is None else kept[-last:]
                    for status in shown:
                        _print(status, as_json=as_json)
                    if not follow:
                        if not shown:
                            on = "".join(f" on {name}" for name in (model, order) if name)
                            stderr().print(f"nothing has been decided{on}", markup=False)
                        return
                    kept, live = [], True
            if not live:
                raise KeyboardInterrupt  # what was read until then would be half of it
        finally:
            reader.close()


LOG_HELP = with_examples(
    "Show what ROOMIE decided, in the order in which it did, and why.",
    "videojam roomie log",
    "videojam roomie log alexnet --last 20",
    "videojam roomie log --follow --json     a line of JSON each",
)


def _print(status: Status, *, as_json: bool) -> None:
    if as_json:
        typer.echo(status.model_dump_json())
        return
    moment = datetime.fromtimestamp(status.at).astimezone()
    console = stdout()
    console.print(f"{moment:%Y-%m-%d %H:%M:%S}  ", style="dim", end="")
    console.print(f"{status.model}  {status.event:<11}", style="bold", end=" ", markup=False)
    console.print(status.reason, markup=False)
