"""`videojam controller`: who decides which model runs on which GPU."""

from __future__ import annotations

import os
import socket
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import (
    DEFAULT_CONFIG,
    BootstrapOption,
    ConfigOption,
    effective_config,
    locating,
    open_transport,
    with_examples,
)
from cli.service import (
    DEFAULT_WAIT,
    LogFormatOption,
    LogLevelOption,
    MetricsAddressOption,
    MetricsPortOption,
    WaitOption,
    logged_errors,
    one_thread,
)
from cli.values import identifier
from dataflow.errors import ConfigError
from dataflow.logs import configure_logging

if TYPE_CHECKING:
    from pathlib import Path

    from dataflow.config.roomie import RoomieConfig
    from roomie.control.scaling_types import ForecastArrivals


@logged_errors("videojam.roomie")
def controller(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    name: Annotated[
        str | None, typer.Option(help="Of this controller; default: made of host and process.")
    ] = None,
    wait_for_broker: WaitOption = DEFAULT_WAIT,
    metrics_port: MetricsPortOption = None,
    metrics_address: MetricsAddressOption = "",
    log_level: LogLevelOption = "INFO",
    log_format: LogFormatOption = "text",
) -> None:
    """Run one controller."""
    one_thread()  # it computes little, and beside others
    called = identifier("--name", name or f"{socket.gethostname()}-{os.getpid()}")
    configure_logging(log_level, log_format, context={"controller": called})
    _run(config, bootstrap_servers, called, wait_for_broker, (metrics_port, metrics_address))


def _run(
    file: Path,
    bootstrap_servers: str | None,
    name: str,
    wait: float,
    metrics: tuple[int | None, str],
) -> None:
    from dataflow.config import TopicNames
    from dataflow.metrics import serve_metrics
    from dataflow.transport.waiting import wait_for_broker
    from roomie.control.assembly import declared_roomie
    from roomie.control.metrics import ControllerCollector
    from roomie.control.service import build_controller, run_controller
    from roomie.control.topics import require_topics

    settings = effective_config(file, bootstrap_servers)
    declared = declared_roomie(settings, file)
    with open_transport(settings) as transport:
        with locating(file):
            made = build_controller(
                settings,
                transport,
                transport.bootstrap_servers,
                name,
                forecast=declared_forecast(declared),
            )
        wait_for_broker(transport, wait)
        require_topics(transport, TopicNames(settings.deployment), decides=True)
        collector = ControllerCollector(
            made.sight.glance,
            deployment=settings.deployment,
            controller=name,
            started_at=time.time(),
        )
        port, address = metrics
        with (
            nullcontext()
            if port is None
            else serve_metrics(collector, port, address, key="--metrics-port")
        ):
            run_controller(made)


def declared_forecast(declared: RoomieConfig) -> ForecastArrivals | None:
    """The forecaster of arrivals that topics.yaml names; None if it names none.

    Raises:
        ConfigError: there is no such forecaster, it cannot be made, or it does not forecast.
    """
    wanted = declared.autoscaling.forecaster
    if wanted is None:
        return None
    from forecasting import build_forecaster, check_forecaster
    from forecasting.errors import ForecastingError
    from roomie.control.forecasts import arrivals_forecast

    try:
        check_forecaster(wanted)
        forecaster = build_forecaster(wanted)
    except ForecastingError as error:
        raise ConfigError(
            error.message if error.file is None else f"{error.file}: {error.message}",
            key="roomie.autoscaling.forecaster",
            value=wanted,
            remedy=error.remedy,
        ) from error
    window = forecaster.window
    return arrivals_forecast(forecaster.forecast, slots=window.history, slot_s=window.slot_seconds)


controller.__doc__ = with_examples(
    "Decide which model runs on which GPU, until Ctrl-C or SIGTERM.\n\n"
    "One controller decides at a time; start two or more on different machines, and another one "
    "takes over within roomie.session_timeout. It may be killed at any moment: whoever comes next "
    "goes on from what it wrote. Logs say each decision and why.",
    "videojam controller                          decide, or stand by",
    "videojam controller --name c2 -b kafka-1:9092   another one, on another cluster",
    "videojam controller --metrics-port 9500      with metrics for Prometheus",
    "videojam deploy alexnet --instances 2        what to do while it runs",
)
