"""What the commands of `videojam forecaster` share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dataflow.errors import ConfigError, MissingDependencyError
from forecasting.errors import ForecastingError, MissingExtraError

if TYPE_CHECKING:
    from forecasting.traces import Trace


TraceOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--trace",
        metavar="FILE",
        help="CSV: sequence, frame, vehicles (and seconds); may be repeated.",
    ),
]


TraceFpsOption = Annotated[
    float, typer.Option(min=0.1, help="Frames a second of traces without a column of seconds.")
]


FpsOption = Annotated[str, typer.Option(help="Frame rates of the cameras, separated by commas.")]


TestOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Sequences never to train on, separated by commas; '' for none. "
        r"\[default: every third]",
        show_default=False,
    ),
]


SlotsOption = Annotated[int, typer.Option(min=1, help="Slots that are forecast, k.")]


HistoryOption = Annotated[int, typer.Option(min=1, help="Slots of history, h.")]


SlotSecondsOption = Annotated[float, typer.Option(help="Length of a slot in seconds, delta.")]


@contextmanager
def forecasting_errors() -> Iterator[None]:
    """Turn the errors of forecasting, which knows nothing of ours, into ours."""
    try:
        yield
    except MissingExtraError as error:
        raise MissingDependencyError(str(error)) from error
    except ForecastingError as error:
        raise ConfigError(
            error.message,
            file=error.file,
            line=error.line,
            key=error.key,
            value=error.value,
            remedy=error.remedy,
        ) from error


def parse_numbers(text: str, key: str) -> tuple[float, ...]:
    """Positive numbers separated by commas.

    Raises:
        ConfigError: it is something else.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(0 < number < float("inf") for number in numbers):
        raise ConfigError(
            "numbers above 0, separated by commas, are expected",
            key=key,
            value=text,
            remedy=f"{key} 15,20,25",
        )
    return numbers


def read_all(files: list[Path] | None, fps: float) -> list[Trace]:
    """All sequences of all files; those of several files are told apart by the file's name.

    Raises:
        TraceError: a file cannot be read.
    """
    from dataclasses import replace

    from forecasting.traces import read_traces

    found = [(file, trace) for file in files or [] for trace in read_traces(file, fps=fps)]
    if len(files or []) < 2:
        return [trace for _, trace in found]
    return [replace(trace, name=f"{file.stem}:{trace.name}") for file, trace in found]
