"""`videojam deploy` and `videojam undeploy`: orders to ROOMIE."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Annotated, Literal

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
from cli.values import seconds, size
from dataflow.errors import ConfigError, RecordError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from roomie.control.client import RoomieClient
    from roomie.control.records import Order, Status

EXIT_NOT_OBEYED = 3
"""Exit code of an order that was refused, rolled back or superseded."""

WaitOption = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait for the outcome, printing what happens.")
]
TimeoutOption = Annotated[
    str, typer.Option(metavar="DURATION", help="How long to wait for the outcome.")
]


def deploy(
    model: Annotated[str, typer.Argument(help="Name of the model, as clients ask for it.")],
    *,
    version: Annotated[int, typer.Option(min=1, help="Folder of the model repository.")] = 1,
    instances: Annotated[int, typer.Option(min=1, help="How many are always wanted.")] = 1,
    max_instances: Annotated[
        int | None, typer.Option(min=1, help="Most that autoscaling may make of them.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Batch size; chosen with the GPU when absent.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Items a second that each instance has to serve.")
    ] = None,
    latency: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Most time of an inference, as 50ms.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="Whose kernel profile predicts it; default: its own name.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="GPU memory it needs where no profile says it, as 2GiB."),
    ] = None,
    reserved: Annotated[
        bool, typer.Option("--reserved/--removable", help="Whether its instances keep their place.")
    ] = True,
    spread: Annotated[
        Literal["none", "prefer", "require"],
        typer.Option(help="Whether its instances keep to different nodes."),
    ] = "none",
    error_limit: Annotated[
        float, typer.Option(min=0, max=1, help="Share of failed requests that rolls it back.")
    ] = 0.05,
    slow_limit: Annotated[
        float, typer.Option(help="How much slower than the old version rolls it back.")
    ] = 2.0,
    wait: WaitOption = True,
    timeout: TimeoutOption = "5m",
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a model run."""
    from pydantic import ValidationError

    from roomie.control.records import ModelSpec

    wanted: dict[str, object] = {
        "model": model,
        "version": version,
        "instances": instances,
        "max_instances": max_instances,
        "batch": batch,
        "rate": rate,
        "latency": None if latency is None else seconds("--latency", latency),
        "profile": profile,
        "memory_bytes": None if memory is None else size("--memory", memory),
        "reserved": reserved,
        "spread": spread,
        "error_limit": error_limit,
        "slow_limit": slow_limit,
    }
    try:
        spec = ModelSpec.model_validate(wanted)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = str(fault["loc"][0])
        raise ConfigError(
            fault["msg"],
            key="MODEL" if key == "model" else f"--{key.replace('_', '-').removesuffix('-bytes')}",
            value=fault["input"],
            remedy="see `videojam deploy --help`",
        ) from error
    _send(
        lambda roomie: roomie.deploy(spec),
        config,
        bootstrap_servers,
        wait=seconds("--timeout", timeout) if wait else None,
        as_json=as_json,
    )


deploy.__doc__ = with_examples(
    "Let a model run on the GPUs of the cluster, and keep it running.\n\n"
    "A model that runs already is brought to what is said here: another version comes in beside "
    "the old one, which goes only when the new one is ready and has proved itself; else the new "
    "one is rolled back. The order outlives this command.\n\n"
    f"Exit code 0: it serves; 1: no outcome in time, or an error; {EXIT_NOT_OBEYED}: refused, "
    "rolled back, or overtaken by another order.",
    "videojam deploy alexnet",
    "videojam deploy alexnet --instances 2 --max-instances 6 --latency 50ms",
    "videojam deploy alexnet --version 2          roll out another version",
    "videojam deploy mine --memory 2GiB --no-wait   without a profile; do not wait",
)


def undeploy(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    *,
    wait: WaitOption = True,
    timeout: TimeoutOption = "5m",
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a model go."""
    _send(
        lambda roomie: roomie.undeploy(model),
        config,
        bootstrap_servers,
        wait=seconds("--timeout", timeout) if wait else None,
        as_json=as_json,
    )


undeploy.__doc__ = with_examples(
    "Let a model finish the requests that it has, and take it off the GPUs.",
    "videojam undeploy alexnet",
    "videojam undeploy alexnet --no-wait",
)


def scale(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    instances: Annotated[int, typer.Argument(min=1, help="How many are always wanted.")],
    *,
    wait: WaitOption = True,
    timeout: TimeoutOption = "5m",
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change how many instances of a model are always wanted."""
    _send(
        lambda roomie: roomie.scale(model, instances),
        config,
        bootstrap_servers,
        wait=seconds("--timeout", timeout) if wait else None,
        as_json=as_json,
    )


scale.__doc__ = with_examples(
    "Change how many instances of a model are always wanted, and leave all else as it is.",
    "videojam scale alexnet 4",
)


def _send(
    order: Callable[[RoomieClient], Order],
    file: Path,
    bootstrap_servers: str | None,
    *,
    wait: float | None,
    as_json: bool,
) -> None:
    """Send an order, and follow it if asked to.

    Raises:
        typer.Exit: its outcome is not what was asked for.
    """
    from dataflow.config import TopicNames
    from roomie.control.assembly import declared_roomie
    from roomie.control.book import OUTCOME_OF
    from roomie.control.client import RoomieClient

    settings = effective_config(file, bootstrap_servers)
    declared_roomie(settings, file)
    source = f"/videojam/{socket.gethostname()}/{os.getpid()}"
    with open_transport(settings) as transport:
        transport.check()
        with RoomieClient(transport, TopicNames(settings.deployment), source=source) as roomie:
            try:
                sent = order(roomie)
            except RecordError as error:
                raise ConfigError(error.detail, remedy="see --help") from error
            if wait is None:
                _print_sent(sent, as_json=as_json)
                return
            last: Status | None = None
            for last in roomie.follow(sent, timeout=wait):
                _print_status(last, as_json=as_json)
            if last is None or last.event not in OUTCOME_OF.values():
                raise typer.Exit(EXIT_NOT_OBEYED)


def _print_sent(order: Order, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"order": order.id, "model": order.model, "type": order.type}))
    else:
        stdout().print(f"sent {order.type} of {order.model}: order {order.id}", markup=False)


_COLOURS = {"refused": "red", "rolled-back": "red", "superseded": "yellow", "deferred": "yellow"}


def _print_status(status: Status, *, as_json: bool) -> None:
    if as_json:
        typer.echo(status.model_dump_json())
        return
    console = stdout()
    colour = _COLOURS.get(status.event, "green" if status.is_outcome else "cyan")
    console.print(f"{status.event:<12}", style=colour, end="")
    console.print(status.reason, markup=False)
