"""`videojam broker`: a real Apache Kafka on this machine."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from cli.common import with_examples
from dataflow.broker import daemon
from dataflow.broker.distribution import Progress, ReportProgress, obtain
from dataflow.broker.embedded import START_TIMEOUT_S, STOP_TIMEOUT_S, BrokerState, EmbeddedBroker
from dataflow.broker.java import find_java
from dataflow.broker.paths import cache_home, data_home
from dataflow.broker.prepare import ensure_archive
from dataflow.broker.settings import DEFAULT_PORT, KAFKA_VERSION, BrokerSettings
from dataflow.errors import VideojamError
from dataflow.signals import interrupt, stop_on_signals

STOPPED = 3
"""Exit code of `status` when nothing runs, as for init scripts (LSB)."""

app = typer.Typer(
    add_completion=False,
    name="broker",
    no_args_is_help=True,
    help="Run a real single-node Apache Kafka on this machine.",
    rich_markup_mode="rich",
)

_out = Console()
_err = Console(stderr=True)

Heap = Annotated[str, typer.Option(help="Largest Java heap, for example 512m or 2g.")]
Version = Annotated[str, typer.Option("--kafka-version", help="Apache Kafka release, 4.x.y.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the broker's data and logs. [dim]Default: broker/ in the user's data "
        "folder, which VIDEOJAM_HOME moves.[/]",
        show_default=False,
    ),
]


@contextmanager
def _errors() -> Iterator[None]:
    """Show the project's own errors to a person, and exit with code 1."""
    try:
        yield
    except VideojamError as error:
        _err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


@contextmanager
def _progress(what: str) -> Iterator[ReportProgress]:
    """Show preparations as a spinner on a terminal, and as a few lines elsewhere."""
    if _err.is_terminal:
        with _err.status(what) as spinner:
            yield lambda step: spinner.update(_line(step, what))
        return
    shown: set[str] = set()

    def lines(step: Progress) -> None:
        first_word = step.message.partition(" ")[0]  # one line for all downloads
        if first_word not in shown:
            shown.add(first_word)
            _err.print(_line(step, what), soft_wrap=True, highlight=False)

    yield lines


def _line(step: Progress, what: str) -> str:
    if step.total is None:
        return escape(step.message)
    if step.done == step.total:
        return what
    return escape(f"{step.message} ({step.done + 1} of {step.total})")


@app.command(
    help=with_examples(
        "Start the broker, and return when it answers.\n\n"
        "The first start downloads Apache Kafka (45 MB) into the user's cache folder; later ones "
        "take seconds and need no network. With --temporary or --foreground the broker ends with "
        "this command.",
        "videojam broker start",
        "videojam broker start --port 0       on a free port",
        "videojam broker start --temporary    leaves nothing behind",
    )
)
def start(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="TCP port for clients; 0 takes a free one.")
    ] = DEFAULT_PORT,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    advertised_host: Annotated[
        str | None,
        typer.Option(
            help="Name that clients are told to connect to, where --host is a wildcard.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    temporary: Annotated[
        bool,
        typer.Option("--temporary", help="Use a new empty folder, and delete it at the end."),
    ] = False,
    heap: Heap = "512m",
    kafka_version: Version = KAFKA_VERSION,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay until Ctrl-C instead of detaching.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1.0, help="Seconds to wait until the broker answers.")
    ] = START_TIMEOUT_S,
) -> None:
    """Start the broker."""
    home = data_home()
    if temporary and data_dir is not None:
        raise typer.BadParameter("--temporary chooses the folder itself: leave out --data-dir")
    with _errors(), ExitStack() as stack:
        terminated = stop_on_signals(interrupt, again=interrupt, signals=[signal.SIGTERM])
        stack.enter_context(terminated)  # like Ctrl-C: it cleans up too
        if temporary:
            data_dir = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="videojam-broker-"))
            )
        settings = BrokerSettings(
            data_dir=(data_dir or daemon.default_data_dir(home)).expanduser().absolute(),
            host=host,
            advertised_host=advertised_host,
            port=port,
            heap=heap,
            version=kafka_version,
        )
        with _progress("starting Apache Kafka") as report:
            if temporary:
                broker = EmbeddedBroker(settings, report=report)
                broker.start(timeout)
            else:
                broker = daemon.start(settings, home, timeout=timeout, report=report)
        if temporary or foreground:
            _stay(broker, None if temporary else home)
        else:
            broker.detach()
            _announce(broker.state)
            _out.print("stop it with [b]videojam broker stop[/]")


def _announce(state: BrokerState) -> None:
    _out.print(
        f"[green]Apache Kafka {state.version} runs at[/] [b]{escape(state.bootstrap_servers)}[/] "
        f"(pid {state.pid}, data in {escape(state.data_dir)})",
        highlight=False,
        soft_wrap=True,
    )


def _stay(broker: EmbeddedBroker, home: Path | None) -> None:
    """Wait for Ctrl-C or the broker's end; stop it."""
    try:
        _announce(broker.state)
        _out.print("stop it with Ctrl-C")
        broker.wait()
        failure = broker.failure()
        if failure is not None:
            raise failure
    except KeyboardInterrupt:
        _err.print("stopping")
    finally:
        broker.stop()
        if home is not None and not broker.state.alive():
            daemon.forget(home, broker.state)


@app.command(help=with_examples("Stop the broker cleanly. Its data stays.", "videojam broker stop"))
def stop(
    timeout: Annotated[
        float, typer.Option(min=0.0, help="Seconds to wait before the broker is killed.")
    ] = STOP_TIMEOUT_S,
) -> None:
    """Stop the broker."""
    with _errors():
        with _progress("stopping"):
            state = daemon.stop(data_home(), timeout=timeout)
        if state is None:
            _out.print("no broker runs")
        else:
            _out.print(f"stopped; its data stays in {escape(state.data_dir)}", soft_wrap=True)


@app.command(
    help=with_examples(
        "Tell whether the broker runs, and where. Exit code 0: it runs, 3: it is stopped.",
        "videojam broker status",
        "videojam broker status --json    for programs",
    )
)
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell whether the broker runs."""
    found = daemon.status(data_home(), now=time.time())
    if as_json:
        typer.echo(json.dumps(asdict(found)))
    elif found.running and found.state is not None:
        state = found.state
        table = Table(show_header=False, box=None)
        rows = {
            "state": "[green]running[/]"
            + ("" if found.topics is not None else " [yellow](does not answer)[/]"),
            "bootstrap servers": f"[b]{escape(state.bootstrap_servers)}[/]",
            "pid": str(state.pid),
            "version": f"Apache Kafka {state.version}, Java {state.java}, heap {state.heap}",
            "data folder": f"{escape(state.data_dir)} ({decimal(found.data_bytes)})",
            "uptime": _duration(found.uptime_s or 0.0),
            "topics": "unknown" if found.topics is None else str(found.topics),
        }
        for name, value in rows.items():
            table.add_row(f"[dim]{name}[/]", value)
        _out.print(table)
    else:
        _out.print("stopped")
        if found.problem is not None:
            _err.print(escape(found.problem), highlight=False, soft_wrap=True)
    if not found.running:
        raise typer.Exit(STOPPED)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


@app.command(
    help=with_examples(
        "Show the broker's log.",
        "videojam broker logs -n 50",
        "videojam broker logs -f       until Ctrl-C",
    )
)
def logs(
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="Last lines to show.")] = 20,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until Ctrl-C.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Show the broker's log."""
    home = data_home()
    state = BrokerState.read(daemon.state_file(home))
    known = daemon.default_data_dir(home) if state is None else Path(state.data_dir)
    file = BrokerSettings(data_dir=(data_dir or known).expanduser()).log_file
    if not file.exists():
        _err.print(
            f"[bold red]error:[/] there is no log at {escape(str(file))}\n"
            "  remedy: start the broker first, or name its folder (--data-dir)",
            soft_wrap=True,
        )
        raise typer.Exit(1)
    try:
        _show(file, lines, until=(lambda: False) if follow else (lambda: True))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _show(file: Path, lines: int, *, until: Callable[[], bool], pause_s: float = 0.3) -> None:
    """Print the last `lines` of `file`, then what is added to it until `until` is true."""
    with file.open(encoding="utf-8", errors="replace") as log:
        typer.echo("".join(deque(log, maxlen=lines)), nl=False)
        position, node = log.tell(), file.stat().st_ino
    while not until():
        time.sleep(pause_s)
        if not file.exists():  # being rolled
            continue
        if file.stat().st_ino != node:
            position, node = 0, file.stat().st_ino
        with file.open(encoding="utf-8", errors="replace") as log:
            log.seek(position)
            typer.echo(log.read(), nl=False)
            position = log.tell()


@app.command(
    help=with_examples(
        "Download Apache Kafka and prepare fast starts, so that `start` needs no network.",
        "videojam broker prepare",
    )
)
def prepare(kafka_version: Version = KAFKA_VERSION) -> None:
    """Download Apache Kafka."""
    with _errors():
        cache = cache_home()
        with _progress("preparing") as report:
            java = find_java()
            distribution = obtain(kafka_version, cache, report)
            ensure_archive(distribution, java, report=report)
        _out.print(
            f"Apache Kafka {distribution.version} is in {escape(str(cache))} "
            f"({len(distribution.jars)} jars); Java {java.version} from {java.origin}",
            highlight=False,
            soft_wrap=True,
        )
