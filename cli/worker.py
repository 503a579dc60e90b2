"""`videojam worker`: one replica of a function."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import (
    DEFAULT_CONFIG,
    BootstrapOption,
    ConfigOption,
    effective_config,
    locating,
    require_declared,
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
from dataflow.errors import ConfigError
from dataflow.logs import configure_logging

if TYPE_CHECKING:
    from dataflow.config import Config


@logged_errors("videojam.worker")
def worker(
    function: Annotated[str, typer.Argument(help="A function that topics.yaml declares.")],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    replica: Annotated[
        str | None,
        typer.Option(help="Name in the group; default: made of function, host and process."),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="A parameter of the function that differs here from topics.yaml; JSON or text.",
        ),
    ] = None,
    wait_for_broker: WaitOption = DEFAULT_WAIT,
    metrics_port: MetricsPortOption = None,
    metrics_address: MetricsAddressOption = "",
    log_level: LogLevelOption = "INFO",
    log_format: LogFormatOption = "text",
) -> None:
    """Run one replica."""
    one_thread()  # replicas are the parallelism
    from agents.worker import WorkerOptions, run_worker

    options = WorkerOptions(
        function=function,
        replica=replica,
        wait_for_broker=wait_for_broker,
        metrics_port=metrics_port,
        metrics_address=metrics_address,
    )
    context = {"function": function, "replica": options.name}
    configure_logging(log_level, log_format, context=context)
    declared = effective_config(config, bootstrap_servers)
    require_declared([function], declared.functions, what="function", file=config)
    settings = with_parameters(declared, function, parameter or [])
    with locating(config):
        run_worker(settings, options)


def with_parameters(config: Config, function: str, words: list[str]) -> Config:
    """The declaration with other parameters for one function.

    Args:
        config: the declaration.
        function: one that it declares.
        words: ``key=value`` each; a value that is no JSON is text.

    Raises:
        ConfigError: a word without ``=``.
    """
    changes: dict[str, object] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise ConfigError(
                "a parameter is written KEY=VALUE",
                key="--parameter",
                value=word,
                remedy="for example --parameter input_size=416",
            )
        try:
            changes[key] = json.loads(value)
        except ValueError:
            changes[key] = value
    if not changes:
        return config
    own = config.functions[function]
    changed = own.model_copy(update={"parameters": {**own.parameters, **changes}})
    return config.model_copy(update={"functions": {**config.functions, function: changed}})


worker.__doc__ = with_examples(
    "Run one replica of a function until Ctrl-C or SIGTERM.\n\n"
    "It joins the function's consumer group, takes its share of the partitions, and hands them "
    "back when it stops; what it had not finished is delivered to another replica. Logs go to "
    "stderr.",
    "videojam worker plate-ocr                    one more replica of plate-ocr",
    "videojam worker yolo --replica yolo-gpu-3    under a name of your own",
    "videojam worker yolo -b kafka-1:9092         on another cluster",
    "videojam worker yolo --parameter input_size=416    smaller pictures on a weaker GPU",
    "videojam worker yolo --metrics-port 9400     with metrics for Prometheus",
)
