"""What all commands share: options, consoles, the connection, and how errors end."""

from __future__ import annotations

import difflib
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dataflow.errors import ConfigError, VideojamError

if TYPE_CHECKING:
    # Imported where used: `videojam --help` must not wait for them.
    from rich.console import Console

    from dataflow.config import Config
    from dataflow.transport.kafka import KafkaTransport

EXIT_ERROR = 1
"""Something went wrong; the reason is on stderr."""
EXIT_INTERRUPTED = 130
"""Ended by Ctrl-C: 128 + SIGINT, as shells count."""

ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        envvar="VIDEOJAM_CONFIG",
        metavar="FILE",
        help="The declaration of pipelines, functions and topics.",
        dir_okay=False,
    ),
]
"""``config: ConfigOption = DEFAULT_CONFIG``."""

DEFAULT_CONFIG = Path("topics.yaml")
"""Where commands look for the declaration."""

BootstrapOption = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers",
        "-b",
        envvar="VIDEOJAM_BOOTSTRAP_SERVERS",
        metavar="HOST:PORT,...",
        help="Kafka cluster to use instead of the one that the declaration names.",
    ),
]
"""``bootstrap_servers: BootstrapOption = None``."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
"""``as_json: JsonOption = False``."""


class Start(StrEnum):
    """Where reading a topic begins."""

    EARLIEST = "earliest"
    LATEST = "latest"


StartOption = Annotated[
    Start, typer.Option("--from", help="Everything that Kafka holds, or only what comes.")
]
"""``start: StartOption = Start.LATEST``."""

FollowOption = Annotated[
    bool, typer.Option("--follow/--no-follow", help="Go on at the end, or stop there.")
]
"""``follow: FollowOption = True``."""

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
"""``yes: YesOption = False``."""


def with_examples(text: str, *examples: str) -> str:
    """Help of a command that ends with examples, one a line as typed.

    Args:
        text: what the command does.
        examples: command lines, with a comment after two or more blanks where one helps.
    """
    # A paragraph that begins with \b keeps its lines apart; brackets would be taken for markup.
    lines = [example.replace("[", r"\[") for example in examples]
    return text + "\n\n\b[bold]Examples[/bold]\n" + "\n".join(lines)


_PIPE_COLUMNS = 500
"""Width of what is not a terminal: tables keep their natural width."""


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_COLUMNS
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=width)


def stdout() -> Console:
    """The console for what a command was asked for; without colour when not a terminal."""
    return _console(stderr=False)


def stderr() -> Console:
    """The console for progress, questions and errors."""
    return _console(stderr=True)


def is_interactive() -> bool:
    """Whether somebody can answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, *, yes: bool, without: str) -> bool:
    """Ask on stderr, unless ``yes``.

    Args:
        question: ends with a question mark.
        yes: the answer was given on the command line.
        without: what the command would do unasked, completing "will not ... without --yes".

    Returns:
        Whether to go on.

    Raises:
        ConfigError: nobody is there to answer.
    """
    if yes:
        return True
    if not is_interactive():
        raise ConfigError(
            f"will not {without} unasked: this is not an interactive terminal",
            remedy="look at the list above, then say --yes",
        )
    return typer.confirm(question, default=False, err=True)


def effective_config(file: Path, bootstrap_servers: str | None) -> Config:
    """topics.yaml, with the cluster that the command line names in place of its own.

    Raises:
        ConfigError: the file is missing or wrong.
    """
    from dataflow.config import load_config

    config = load_config(file)
    if bootstrap_servers is None:
        return config
    cluster = config.cluster.model_copy(update={"bootstrap_servers": bootstrap_servers})
    return config.model_copy(update={"cluster": cluster})


def require_declared(names: Iterable[str], known: Iterable[str], *, what: str, file: Path) -> None:
    """See that the functions or the pipelines that a command names are declared.

    Args:
        names: on the command line.
        known: in the declaration.
        what: one of them is called: ``function`` or ``pipeline``.
        file: the declaration.

    Raises:
        ConfigError: one is not; says which one is meant, perhaps.
    """
    declared = list(known)
    for name in names:
        if name not in declared:
            near = difflib.get_close_matches(name, declared, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"no {what} {name!r} is declared",
                file=file,
                key=f"{what}s",
                remedy=f"{hint}declared: {', '.join(declared)}",
            )


def located(error: ConfigError, file: Path) -> ConfigError:
    """An error of a loaded declaration, with the file and the line of its key.

    Args:
        error: as raised by what knows the key and not the file.
        file: where the declaration was read.
    """
    from dataflow.config import Config, locate

    if error.file is not None or error.key is None:
        return error
    if error.key.partition(".")[0] not in Config.model_fields:  # of an option
        return error
    return replace(error, file=file, line=locate(file, error.key))


@contextmanager
def locating(file: Path) -> Iterator[None]:
    """Give errors that name a key of a loaded declaration its file and line; see `located`."""
    try:
        yield
    except ConfigError as error:
        raise located(error, file) from error


@contextmanager
def writing(file: Path, option: str) -> Iterator[None]:
    """Say what is wrong with a file, or a folder, that is to be written, and how to name another.

    Args:
        file: written in the block.
        option: that names it.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot be written: {error.strerror or error}",
            file=file,
            key=option,
            remedy=f"name another one with {option}",
        ) from error


def check_plot(file: Path) -> None:
    """See that a plot can be drawn, before the work whose result it shows.

    Raises:
        ConfigError: the file is of another kind.
        MissingDependencyError: matplotlib is not installed.
    """
    from roomie.plots import pyplot

    if file.suffix not in _PLOTS:
        raise ConfigError(
            f"a plot is a {', '.join(_PLOTS)} file",
            key="--plot",
            value=str(file),
            remedy=f"--plot {file.with_suffix('.png').name}",
        )
    pyplot()


_PLOTS = (".png", ".svg", ".pdf")


def open_transport(config: Config, bootstrap_servers: str | None = None) -> KafkaTransport:
    """The connection to the cluster; nothing is sent before its parts are used.

    Args:
        config: topics.yaml.
        bootstrap_servers: overrides the one in ``config``.
    """
    from dataflow.transport.kafka import KafkaTransport

    return KafkaTransport.from_config(config, bootstrap_servers=bootstrap_servers)


@contextmanager
def error_boundary(*, debug: bool = False) -> Iterator[None]:
    """Turn exceptions of a command into a message on stderr and an exit code.

    Args:
        debug: print tracebacks.

    Raises:
        typer.Exit: in place of every exception but those that the command line itself uses.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise typer.Exit(EXIT_INTERRUPTED) from error
    except VideojamError as error:
        if debug:
            stderr().print(traceback.format_exc(), markup=False)
        print_error(error)
        raise typer.Exit(EXIT_ERROR) from error
    except (typer.Abort, BrokenPipeError, EOFError):
        raise  # declined, or the reader of our output has left: typer knows what to do
    except Exception as error:
        if hasattr(error, "exit_code"):
            raise  # typer's own: wrong usage, or a chosen exit code
        _report_crash(error, debug=debug)
        raise typer.Exit(EXIT_ERROR) from error


def print_error(error: VideojamError) -> None:
    """Print what is wrong and what to do about it to stderr."""
    console = stderr()
    if not isinstance(error, ConfigError):
        console.print("error:", style="bold red", end=" ")
        console.print(str(error), markup=False)
        return
    place = "" if error.file is None else str(error.file)
    if error.line is not None:
        place += f":{error.line}"
    head = ": ".join(part for part in (place, error.key) if part)
    console.print("error:", style="bold red", end=" ")
    if head:
        console.print(f"{head}:", style="bold", markup=False, end=" ")
    value = "" if error.value is None else f" (got {error.value!r})"
    console.print(f"{error.message}{value}", markup=False)
    if error.remedy:
        console.print("  remedy:", style="green", end=" ")
        console.print(error.remedy, markup=False)


def _report_crash(error: Exception, *, debug: bool) -> None:
    """Say that this is a fault of ours, with the traceback on stderr or in a file."""
    trace = traceback.format_exc()
    console = stderr()
    console.print("internal error:", style="bold red", end=" ")
    console.print(f"{type(error).__name__}: {error}", markup=False)
    if not debug:
        file = _write_crash(trace)
        if file is not None:
            console.print(f"  the traceback is in {file}; --debug prints it", markup=False)
            return
    console.print(trace, markup=False)


def _write_crash(trace: str) -> Path | None:
    """Write a traceback to the user's log folder; None where that is not possible."""
    import platformdirs

    try:
        folder = platformdirs.user_log_path("videojam", ensure_exists=True)
        file = folder / f"crash-{datetime.now(UTC):%Y%m%dT%H%M%S}.log"
        # Without local variables: they may hold secrets.
        file.write_text(trace, encoding="utf-8")
    except OSError:
        return None
    return file
