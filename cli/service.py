"""What commands share that run until they are stopped: options, threads, signals, last words."""

from __future__ import annotations

import functools
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar, cast

import typer

from cli.common import EXIT_ERROR, stderr
from dataflow.errors import VideojamError
from dataflow.logs import LogFormat
from dataflow.signals import interrupt, stop_on_signals

WaitOption = Annotated[
    float,
    typer.Option(
        "--wait-for-broker",
        metavar="SECONDS",
        min=0,
        help="How long to wait for the cluster at start.",
    ),
]
"""``wait_for_broker: WaitOption = DEFAULT_WAIT``."""

DEFAULT_WAIT = 60.0
"""Seconds: a cluster that starts with the service is there by then."""

MetricsPortOption = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        metavar="PORT",
        min=0,
        max=65535,
        help="Serve Prometheus metrics on this port; 0: any that is free. Off by default.",
        show_default=False,
    ),
]
"""``metrics_port: MetricsPortOption = None``."""

MetricsAddressOption = Annotated[
    str,
    typer.Option(
        "--metrics-address", metavar="ADDRESS", help="Where to listen for it; all by default."
    ),
]
"""``metrics_address: MetricsAddressOption = ""``."""

LogLevelOption = Annotated[
    str, typer.Option("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.")
]
"""``log_level: LogLevelOption = "INFO"``."""

LogFormatOption = Annotated[
    LogFormat,
    typer.Option("--log-format", help="text for people, json (a line a record) for programs."),
]
"""``log_format: LogFormatOption = "text"``."""


def one_thread() -> None:
    """Keep libraries from starting a thread for each core; before they are loaded.

    Services are many on a machine, or compute little: such threads only get in each other's way.
    """
    for name in ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


_Command = TypeVar("_Command", bound=Callable[..., None])


def logged_errors(logger: str) -> Callable[[_Command], _Command]:
    """Let a command whose log is JSON say there why it ends: its stderr is read by a program.

    Args:
        logger: that says it. The command has an option ``log_format`` and configures logging.
    """

    def decorate(command: _Command) -> _Command:
        @functools.wraps(command)
        def run(*args: Any, log_format: LogFormat = "text", **options: Any) -> None:
            try:
                command(*args, log_format=log_format, **options)
            except Exception as error:
                if log_format == "text" or hasattr(error, "exit_code"):
                    raise  # the command line says it, as of every command
                if isinstance(error, VideojamError):
                    logging.getLogger(logger).critical("%s", error)
                else:
                    logging.getLogger(logger).critical("internal error: %r", error, exc_info=True)
                raise typer.Exit(EXIT_ERROR) from error

        return cast(_Command, run)  # `wraps` keeps the signature, which typer reads

    return decorate


@contextmanager
def stopping_on_signals(*, quiet: bool = False) -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second one interrupts, so that all is cleaned up.

    Args:
        quiet: say nothing: there is nothing to wait for.
    """
    stopping = threading.Event()

    def stop(number: signal.Signals) -> None:
        stopping.set()
        if number == signal.SIGINT and not quiet:
            stderr().print("\nstopping; press Ctrl-C again to leave at once")

    with stop_on_signals(stop, again=interrupt):
        yield stopping
