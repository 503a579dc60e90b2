"""How every `python -m evaluation...` begins and ends: its help, its options, its errors.

The help of a command is its module's docstring, examples included. Files that it is to write are
checked while options are parsed, so that hours of measuring do not end at a missing folder or at an
absent matplotlib. It exits with

- 0: done,
- 1: it failed, or what it tested did,
- 2: what was asked for is wrong: an option, or a file that it names,
- 130: Ctrl-C; 143: SIGTERM. Both leave the context managers, and so end all child processes.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import typer

from dataflow.errors import ConfigError, MissingDependencyError, VideojamError
from dataflow.signals import stop_on_signals
from forecasting.errors import ForecastingError, MissingExtraError
from roomie.plots import pyplot

EXIT_FAILED = 1
EXIT_WRONG = 2
EXIT_TERMINATED = 128 + signal.SIGTERM

_DRAWINGS = (".png", ".svg", ".pdf")


def run(*functions: Callable[..., Any], arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command, and end the process.

    Args:
        functions: the command; several are sub-commands of their names. The docstring of the
            first one's module is the help.
        arguments: of the command line; those of the process when None.

    Raises:
        SystemExit: always; the module's docstring lists the codes.
    """
    module = inspect.getmodule(functions[0])
    app = _application(functions, help_text((module and module.__doc__) or ""))
    with _readable_errors(), _ending_on_signals():
        app(args=None if arguments is None else list(arguments))
    sys.exit(0)


def _application(functions: Sequence[Callable[..., Any]], text: str) -> typer.Typer:
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=len(functions) > 1,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    if len(functions) == 1:
        app.command(help=text)(functions[0])
        return app
    app.callback(help=text)(lambda: None)
    for function in functions:
        app.command(help=help_text(function.__doc__ or ""))(function)
    return app


def help_text(docstring: str) -> str:
    r"""A docstring as help: what is indented or a list keeps its lines, by a leading ``\b``."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(
        f"\b\n{paragraph}" if paragraph.startswith((" ", "- ")) else paragraph
        for paragraph in paragraphs
    )


@contextmanager
def _readable_errors() -> Iterator[None]:
    """A line of what is wrong, and what to do about it, where a traceback says nothing more."""
    try:
        yield
    except (VideojamError, ForecastingError, OSError) as error:
        wrong = isinstance(error, ConfigError | ForecastingError)
        typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
        typer.echo(str(error), err=True)
        sys.exit(EXIT_WRONG if wrong and not isinstance(error, MissingExtraError) else EXIT_FAILED)


def _ending_on_signals() -> AbstractContextManager[None]:
    """SIGTERM unwinds the stack as Ctrl-C does; a second of either does not disturb the first."""

    def end(number: signal.Signals) -> NoReturn:
        typer.echo("ending what was started ...", err=True)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(EXIT_TERMINATED)

    heard = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN  # as in the background of a script
    ]
    return stop_on_signals(end, again=lambda _: None, signals=heard)


def load(module: str, *, extra: str) -> Any:
    """Import what needs an optional package, so that the rest and its help work without.

    Args:
        module: full name.
        extra: of this project, which brings the package.

    Returns:
        The module.

    Raises:
        MissingDependencyError: the package is absent; says what to install.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{module} cannot be imported: {error}\n  remedy: pip install 'videojam[{extra}]'"
        ) from error


# -- options ------------------------------------------------------------------------------------


def writable(file: Path | None) -> Path | None:
    """Check an option that names a file to write, and make its folder.

    Raises:
        typer.BadParameter: it cannot be written.
    """
    if file is None:
        return None
    if file.is_dir():
        raise typer.BadParameter(f"{file} is a folder; a file is to be written")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"{file.parent} cannot be made: {error.strerror}") from error
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise typer.BadParameter(f"{file} cannot be written: permission denied")
    return file


def drawable(file: Path | None) -> Path | None:
    """Check an option that names a plot.

    Raises:
        typer.BadParameter: it cannot be written, or is of another kind.
        MissingDependencyError: matplotlib is not installed.
    """
    if file is None:
        return None
    if file.suffix not in _DRAWINGS:
        raise typer.BadParameter(f"{file}: a plot ends in {', '.join(_DRAWINGS)}")
    pyplot()
    return writable(file)


def json_option(text: str = "Write all figures to this file.") -> Any:
    """``--json FILE``, for a parameter of type ``Path | None``."""
    return typer.Option("--json", metavar="FILE", help=text, callback=writable)


def plot_option(text: str) -> Any:
    """``--plot FILE``, for a parameter of type ``Path | None``."""
    return typer.Option("--plot", metavar="FILE", help=text, callback=drawable)


def whole_numbers(text: str, option: str) -> list[int]:
    """A list with commas of numbers from 1, each once.

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise typer.BadParameter(
            f"{text!r}: whole numbers from 1 are expected, with commas between", param_hint=option
        )
    return list(dict.fromkeys(found))


def positive_numbers(text: str, option: str, *, below: float = float("inf")) -> list[float]:
    """A list with commas of numbers above 0, each once.

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < number < below for number in found):
        limit = "" if below == float("inf") else f" and below {below:g}"
        raise typer.BadParameter(
            f"{text!r}: numbers above 0{limit} are expected, with commas between",
            param_hint=option,
        )
    return list(dict.fromkeys(found))


def known_names(asked: Iterable[str], known: Iterable[str], option: str) -> list[str]:
    """Names out of those that there are, each once.

    Raises:
        typer.BadParameter: one is unknown.
    """
    names, choices = [name.strip() for name in asked], list(known)
    for name in names:
        if name not in choices:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(choices)}", param_hint=option)
    return list(dict.fromkeys(names))
