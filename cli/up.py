"""`videojam up`: everything that topics.yaml declares, on this machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import (
    DEFAULT_CONFIG,
    BootstrapOption,
    ConfigOption,
    effective_config,
    open_transport,
    require_declared,
    stderr,
    stdout,
    with_examples,
    writing,
)
from cli.service import LogFormatOption, LogLevelOption, stopping_on_signals
from cli.validate import check_functions, refuse
from dataflow.errors import ConfigError
from dataflow.logs import LogFormat, configure_logging, message_of

if TYPE_CHECKING:
    from agents.supervisor import Worker
    from dataflow.broker import EmbeddedBroker
    from dataflow.config import Config

_log = logging.getLogger("videojam.up")

_TICK_SECONDS = 0.25
_LAST_PORT = 65535


def up(
    functions: Annotated[
        list[str] | None,
        typer.Argument(metavar="FUNCTION[=REPLICAS]", help="Only these; default: all."),
    ] = None,
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    broker: Annotated[
        bool,
        typer.Option(
            "--broker", help="Also run a Kafka broker here, on the port that topics.yaml names."
        ),
    ] = False,
    duration: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="Stop after so long.")
    ] = None,
    log_dir: Annotated[
        Path | None, typer.Option(help="Folder of the workers' logs; default: the user's data.")
    ] = None,
    metrics_port_base: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=1,
            max=65535,
            help="Workers serve Prometheus metrics on this port and those that follow.",
            show_default=False,
        ),
    ] = None,
    log_level: LogLevelOption = "INFO",
    log_format: LogFormatOption = "text",
) -> None:
    """Start workers, keep them alive, and show what they do."""
    from agents.observer import Observer
    from agents.supervisor import Supervisor
    from agents.takeover import Takeover
    from cli.up_view import LiveTable
    from dataflow.broker.paths import data_home

    if log_format == "json":
        configure_logging(log_level, log_format)
    settings = effective_config(config, bootstrap_servers)
    replicas = chosen_replicas(functions or [], settings, config)
    check_ports(metrics_port_base, sum(replicas.values()))
    refuse(check_functions(config, settings))
    logs = log_dir or data_home() / "logs" / settings.deployment
    with writing(logs, "--log-dir"):
        logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stopping = stack.enter_context(stopping_on_signals())
        if broker:
            stack.enter_context(own_broker(settings))
        transport = stack.enter_context(open_transport(settings))
        transport.check()
        prepare_topics(settings, quiet=log_format == "json")
        servers = settings.cluster.bootstrap_servers
        supervisor = Supervisor(
            config,
            servers,
            logs,
            log_level=log_level,
            log_format=log_format,
            metrics_port_base=metrics_port_base,
            on_end=Takeover(settings).hasten,
        )
        with Observer(settings, transport) as observer, supervisor:
            supervisor.start(replicas)
            say(f"logs: {logs}", log_format)
            if metrics_port_base is not None and supervisor.workers:
                last = supervisor.workers[-1].metrics_port
                say(f"metrics: http://localhost:{metrics_port_base} to {last}", log_format)
            deadline = None if duration is None else time.monotonic() + duration
            with LiveTable(settings, supervisor, observer, stdout()) as table:
                while not stopping.wait(_TICK_SECONDS):
                    for worker in supervisor.watch():
                        report_end(worker, log_format)
                    table.refresh()
                    if deadline is not None and time.monotonic() >= deadline:
                        break
            say("stopping: workers finish what they have in hand", log_format)
        from cli.account import print_account, read_account

        print_account(read_account(settings, transport), stdout())


up.__doc__ = with_examples(
    "Run everything that topics.yaml declares on this machine, until Ctrl-C.\n\n"
    "Missing topics are created, workers are started and restarted when they end, and a table "
    "shows rate, queue, lag, response time and drops. At the end comes the account of all frames.",
    "videojam up                          all functions, on a cluster that runs already",
    "videojam up --broker                 with a Kafka of its own",
    "videojam up yolo=2 plate-ocr=4       two functions, with other numbers of replicas",
    "videojam up --duration 600           for ten minutes",
    "videojam up --metrics-port-base 9400 with metrics for Prometheus on 9400, 9401, ...",
)


def chosen_replicas(words: list[str], config: Config, file: Path) -> dict[str, int]:
    """Replicas of each function from ``name`` or ``name=count`` words; all declared if none.

    Raises:
        ConfigError: an unknown function, or a count that its partitions do not allow.
    """
    if not words:
        return {name: function.replicas for name, function in config.functions.items()}
    chosen: dict[str, int] = {}
    for word in words:
        name, equals, count = word.partition("=")
        require_declared([name], config.functions, what="function", file=file)
        function = config.functions[name]
        if equals and not count.isdecimal():
            raise ConfigError(
                "the number of replicas must be a whole number",
                key="FUNCTION=REPLICAS",
                value=word,
                remedy=f"for example {name}=2",
            )
        chosen[name] = int(count) if equals else function.replicas
        if chosen[name] > function.partitions:
            raise ConfigError(
                f"{chosen[name]} replicas cannot share {function.partitions} partitions",
                file=file,
                key=f"functions.{name}.partitions",
                remedy=f"raise partitions to {chosen[name]}, then `videojam topics apply`",
            )
    return chosen


def check_ports(base: int | None, workers: int) -> None:
    """See that there are enough ports from ``base`` on.

    Raises:
        ConfigError: there are not.
    """
    if base is not None and base + workers - 1 > _LAST_PORT:
        raise ConfigError(
            f"{workers} workers need a port each, and there are none above {_LAST_PORT}",
            key="--metrics-port-base",
            value=base,
            remedy=f"at most {_LAST_PORT - workers + 1}",
        )


def own_broker(config: Config) -> AbstractContextManager[EmbeddedBroker]:
    """An embedded broker at the address that the declaration names, for as long as we run.

    Raises:
        ConfigError: the declaration names other machines.
    """
    from dataflow.broker import BrokerSettings, EmbeddedBroker
    from dataflow.broker.paths import data_home

    host, _, port = config.cluster.bootstrap_servers.partition(":")
    if host not in ("localhost", "127.0.0.1") or not port.isdecimal():
        raise ConfigError(
            "--broker runs a broker on this machine, but the cluster is elsewhere",
            key="cluster.bootstrap_servers",
            value=config.cluster.bootstrap_servers,
            remedy="leave --broker out, or set localhost:9092",
        )
    return _started(EmbeddedBroker(BrokerSettings(data_dir=data_home() / "broker", port=int(port))))


@contextmanager
def own_or_outside_broker(bootstrap_servers: str | None, folder: Path) -> Iterator[str]:
    """Address of the named cluster, or of a temporary broker with its data in ``folder``."""
    from dataflow.broker import BrokerSettings, EmbeddedBroker

    if bootstrap_servers is not None:
        yield bootstrap_servers
        return
    temporary = EmbeddedBroker(BrokerSettings(data_dir=folder / "broker", port=0))
    with _started(temporary) as embedded:
        yield embedded.bootstrap_servers


@contextmanager
def _started(embedded: EmbeddedBroker) -> Iterator[EmbeddedBroker]:
    with stderr().status("starting a Kafka broker (the first time, it is downloaded)"):
        embedded.start()
    try:
        yield embedded
    finally:
        embedded.stop()


def prepare_topics(config: Config, *, quiet: bool = False) -> None:
    """Create what is missing; say what differs and needs a person.

    Args:
        config: the declaration.
        quiet: do not list what is created.

    Raises:
        VideojamError: the cluster refuses.
    """
    from cli.topics_view import print_change, print_plan
    from dataflow.topics.apply import apply_plan, make_plan

    with open_transport(config) as transport:
        admin = transport.admin()
        plan = make_plan(config, admin)
        if plan.refusals:
            print_plan(plan, config, stderr())
        apply_plan(
            plan,
            admin,
            allow_shrink=False,
            on_step=lambda change, outcome: (
                None if quiet else print_change(change, outcome, stderr())
            ),
        )


def say(text: str, form: LogFormat, *, warning: bool = False) -> None:
    """Tell whoever started us: on the console, or as a line of the log."""
    if form == "json":
        _log.log(logging.WARNING if warning else logging.INFO, "%s", text)
    else:
        stderr().print(text, markup=False, style="yellow" if warning else None)


def report_end(worker: Worker, form: LogFormat = "text") -> None:
    """Say that a worker has ended, and with which last words."""
    words = " / ".join(message_of(line) for line in worker.last_words(1))
    pause = 0.0 if worker.resume_at is None else max(0.0, worker.resume_at - time.monotonic())
    say(
        f"{worker.replica} ended with exit code {worker.exit_code}; it starts again in "
        f"{pause:.1f} s. Last line of {worker.log}: {words}",
        form,
        warning=True,
    )
