"""`videojam node`: a worker agent of ROOMIE on a machine with GPUs."""

from __future__ import annotations

import logging
import socket
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import (
    DEFAULT_CONFIG,
    BootstrapOption,
    ConfigOption,
    effective_config,
    open_transport,
    with_examples,
)
from cli.service import (
    DEFAULT_WAIT,
    LogFormatOption,
    LogLevelOption,
    WaitOption,
    logged_errors,
)
from cli.triton import show_progress
from cli.values import identifier
from dataflow.errors import ConfigError
from dataflow.logs import configure_logging

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from roomie.control.hardware import LocalGpu
    from roomie.control.serving import Serving
    from roomie.devices import DeviceTable

_log = logging.getLogger("videojam.roomie")


@logged_errors("videojam.roomie")
def node(
    *,
    models: Annotated[
        Path, typer.Option(help="Model repository: MODEL/config.pbtxt, MODEL/VERSION/.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    worker: Annotated[
        str | None, typer.Option(help="Name of this worker. Default: the host's name.")
    ] = None,
    node_name: Annotated[
        str | None, typer.Option("--node", help="Name of the machine. Default: the host's name.")
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICE[:MEMORY]",
            help="Declare a GPU instead of asking the driver; models then run on the processor.",
        ),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="UUID", help="Use only this GPU or MIG slice of the machine."),
    ] = None,
    devices: Annotated[
        Path | None, typer.Option(help="A file of further kinds of GPUs.", dir_okay=False)
    ] = None,
    triton: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="A Triton that runs already, instead of our own."),
    ] = None,
    triton_metrics: Annotated[
        str | None, typer.Option(metavar="URL", help="Metrics of that Triton.")
    ] = None,
    repository: Annotated[
        Path | None,
        typer.Option(help="Model repository of that Triton, written here.", file_okay=False),
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy models instead of linking to them.")
    ] = False,
    host: Annotated[str, typer.Option(help="Address our own Triton listens on.")] = "127.0.0.1",
    advertised_host: Annotated[
        str | None, typer.Option(help="Name under which clients reach the Triton.")
    ] = None,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    executions: Annotated[
        int | None, typer.Option(min=1, help="Most executions at a time on each GPU.")
    ] = None,
    lease: Annotated[
        float | None,
        typer.Option(
            min=0.5,
            help="Seconds without a report until it counts as lost. Default: roomie.lease.",
        ),
    ] = None,
    load_timeout: Annotated[
        float, typer.Option(min=1.0, help="Seconds that a load may take.")
    ] = 120.0,
    drain: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Longest that an instance that is to go may finish what it has. "
            "Default: roomie.drain.",
        ),
    ] = None,
    keep_server: Annotated[
        bool, typer.Option("--keep-server", help="Leave our Triton running at the end.")
    ] = False,
    wait_for_broker: WaitOption = DEFAULT_WAIT,
    log_level: LogLevelOption = "INFO",
    log_format: LogFormatOption = "text",
) -> None:
    """Offer this machine's GPUs."""
    from dataflow.config import TopicNames
    from dataflow.config.roomie import RoomieConfig
    from dataflow.signals import stop_on_signals
    from dataflow.transport.waiting import wait_for_broker as wait
    from roomie.control.agent import Agent, AgentOptions
    from roomie.control.agent_values import AgentSettings
    from roomie.control.hardware import report
    from roomie.control.topics import require_topics
    from roomie.devices import load_devices
    from roomie.triton.repository import InstanceRepository

    name = identifier("--worker", worker or socket.gethostname())
    machine = identifier("--node", node_name or socket.gethostname())
    configure_logging(log_level, log_format, context={"worker": name})
    if not models.is_dir():
        raise ConfigError(
            "there is no such folder",
            key="--models",
            value=str(models),
            remedy="give a model repository: MODEL/config.pbtxt and MODEL/VERSION/",
        )
    settings = effective_config(config, bootstrap_servers)
    declared = settings.roomie or RoomieConfig()
    patience = AgentSettings(load_seconds=load_timeout)
    longest = declared.drain if drain is None else drain
    patience = replace(
        patience, longest_drain=longest, drain_seconds=min(patience.drain_seconds, longest)
    )
    table = load_devices(devices)
    found, refresh = _gpus(gpu or [], device or [], table)
    instances = InstanceRepository(models, _folder(name, triton, repository), copy=copy)
    serving = _serving(
        name,
        triton=triton,
        metrics=triton_metrics,
        repository=instances.folder,
        host=host,
        grpc_port=grpc_port,
        executions=executions,
        visible=[g.uuid for g in found if g.uuid] if device else [],
    )

    names = TopicNames(settings.deployment)
    with open_transport(settings) as transport:
        wait(transport, wait_for_broker)
        require_topics(transport, names)
        agent = Agent(
            AgentOptions(
                worker=name,
                node=machine,
                incarnation=uuid.uuid4().hex[:12],
                gpus={f"{name}/{number}": entry.index for number, entry in enumerate(found)},
                lease=declared.lease if lease is None else lease,
                report_seconds=declared.report,
                advertised_host=advertised_host,
                executions=executions is not None,
                keep_server=keep_server,
                settings=patience,
            ),
            serving,
            instances,
            transport,
            names,
            gpus=tuple(report(name, number, entry) for number, entry in enumerate(found)),
            used_bytes=lambda: used_bytes(name, found, refresh()),
        )
        _log.info("%s offers %s", name, ", ".join(entry.device for entry in found))
        with stop_on_signals(lambda _: agent.stop()):
            agent.run()


node.__doc__ = with_examples(
    "Offer this machine's GPUs to ROOMIE and run what it places here, until Ctrl-C or SIGTERM.\n\n"
    "A Triton of its own is started (and started again, should it die) unless --triton names one. "
    "GPUs and MIG slices are those that NVIDIA's driver reports; --gpu declares some on machines "
    "without, where models then run on the processor.",
    "videojam node --models models                            the GPUs of this machine",
    "videojam node --models models --gpu T4 --gpu A10:12GiB   two declared ones",
    "videojam node --models models --device MIG-4f1c --worker edge-1-a    one MIG slice",
    "videojam node --models models --triton localhost:8001 --repository /srv/instances",
)


def used_bytes(worker: str, offered: Sequence[LocalGpu], now: Sequence[LocalGpu]) -> dict[str, int]:
    """Memory taken on each GPU that a worker offers, where the driver tells.

    Args:
        worker: its name, of which the GPUs' ids are made.
        offered: the GPUs, in the order in which they were announced.
        now: what the driver says at this moment: in another order, perhaps, or not of all of them.
    """
    ids = {gpu.uuid: f"{worker}/{number}" for number, gpu in enumerate(offered) if gpu.uuid}
    return {
        ids[gpu.uuid]: gpu.used_bytes
        for gpu in now
        if gpu.uuid in ids and gpu.used_bytes is not None
    }


def _gpus(
    declared: list[str], chosen: list[str], table: DeviceTable
) -> tuple[tuple[LocalGpu, ...], Callable[[], tuple[LocalGpu, ...]]]:
    """What this worker offers, and a function that tells what the machine has by then.

    Raises:
        ConfigError: nothing is there.
    """
    from roomie.control.hardware import Driver, choose, parse_declared

    if declared:
        fixed = parse_declared(declared, table)
        return fixed, lambda: fixed
    driver = Driver()
    found = choose(driver.gpus(table), chosen)
    if not found:
        why = "it reports none" if driver.fault is None else driver.fault
        raise ConfigError(
            f"no GPU of this machine is known to NVIDIA's driver: {why}",
            key="--gpu",
            remedy="declare one, for example --gpu T4: models then run on the processor; "
            "`videojam roomie devices` lists the kinds",
        )
    return found, lambda: driver.gpus(table)


def _folder(name: str, triton: str | None, repository: Path | None) -> Path:
    """Where the worker's server finds its instances.

    Raises:
        ConfigError: a server was named, but not its repository.
    """
    from dataflow.broker.paths import data_home
    from roomie.triton.local import default_repository

    if repository is not None:
        return repository.expanduser().absolute()
    if triton is not None:
        raise ConfigError(
            "the model repository of that Triton has to be known",
            key="--repository",
            remedy="name the folder that it was started with (--model-repository), "
            "as it is called on this machine",
        )
    return default_repository(data_home(), name).absolute()


def _serving(
    name: str,
    *,
    triton: str | None,
    metrics: str | None,
    repository: Path,
    host: str,
    grpc_port: int,
    executions: int | None,
    visible: list[str],
) -> Serving:
    """The worker's server: ours, whose instances lie in ``repository``, or one that runs."""
    from dataflow.broker.paths import cache_home, data_home
    from roomie.control.serving import ForeignServer, OwnServer
    from roomie.triton.grpc import GrpcTriton
    from roomie.triton.install import ensure_installed
    from roomie.triton.local import TritonSettings

    if triton is not None:
        return ForeignServer(GrpcTriton(triton, metrics_url=metrics, call_seconds=2.0))
    home, cache = data_home(), cache_home()
    with show_progress("preparing tritonserver") as progress:
        ensure_installed(cache, report=progress)
    settings = TritonSettings(
        name=name,
        repository=repository,
        host=host,
        grpc_port=grpc_port,
        devices=",".join(visible) or None,
        executions=executions,
    )
    return OwnServer(settings, home, cache)
