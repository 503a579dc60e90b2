"""`videojam forecaster`: train, evaluate and record load for the forecasters."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import (
    DEFAULT_CONFIG,
    BootstrapOption,
    ConfigOption,
    JsonOption,
    effective_config,
    open_transport,
    stderr,
    stdout,
    with_examples,
)
from dataflow.errors import ConfigError, MissingDependencyError
from forecasting.errors import ForecastingError, MissingExtraError

if TYPE_CHECKING:
    from forecasting.traces import Trace
    from forecasting.training.run import Trained, TrainSettings

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Train, compare and feed the forecasters of load.",
)

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
        "[default: every third]",
        show_default=False,
    ),
]
SlotsOption = Annotated[int, typer.Option(min=1, help="Slots that are forecast, k.")]
HistoryOption = Annotated[int, typer.Option(min=1, help="Slots of history, h.")]
SlotSecondsOption = Annotated[float, typer.Option(help="Length of a slot in seconds, delta.")]


class Kind(StrEnum):
    """What is trained."""

    MIXTURE = "mixture"
    DENSE = "dense"
    LINEAR = "linear"


class By(StrEnum):
    """What tells a regime."""

    PAST = "past"
    FUTURE = "future"


class Start(StrEnum):
    """Where reading begins."""

    EARLIEST = "earliest"
    LATEST = "latest"


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


def kept_names(traces: list[Trace], test: str | None) -> tuple[str, ...]:
    """The sequences that are never trained on."""
    from forecasting.traces import every_third

    if test is None:
        return every_third(traces)
    return tuple(name.strip() for name in test.split(",") if name.strip())


@app.command(
    help=with_examples(
        "Train a forecaster on recorded and on generated load, and write it with its card.\n\n"
        "Sequences are kept for a test as a whole; the card says which, and how it did on them. "
        "Needs the extra `train`: pip install 'videojam\\[train]'.",
        "videojam forecaster train --trace vehicles.csv --out model.tflite",
        "videojam forecaster train --trace mine.csv --trace theirs.csv --out m.tflite --int8",
        "videojam forecaster train --kind dense --trace vehicles.csv --out dense.tflite",
        "videojam forecaster train --generated 2000 --out model.tflite    no trace at all",
    )
)
def train(
    *,
    out: Annotated[
        Path, typer.Option(help="The model: .tflite, or .npz for linear.", show_default=False)
    ],
    trace: TraceOption = None,
    kind: Annotated[Kind, typer.Option(help="Which forecaster.")] = Kind.MIXTURE,
    trace_fps: TraceFpsOption = 10.0,
    fps: FpsOption = "15,20,25",
    test: TestOption = None,
    recorded: Annotated[
        int, typer.Option(min=0, help="Loads made from the traces: mixed, sped up, added.")
    ] = 500,
    generated: Annotated[int, typer.Option(min=0, help="Loads from the generators.")] = 1500,
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs.")] = 40,
    learning_rate: Annotated[
        float | None, typer.Option(help="[default: 0.003; 0.001 for dense]", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same model.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
    int8: Annotated[bool, typer.Option("--int8", help="Also write FILE.int8.tflite.")] = False,
    origin: Annotated[
        str, typer.Option(help="Source and licence of the traces, for the card.")
    ] = "",
    slots: SlotsOption = 10,
    history: HistoryOption = 50,
    slot_seconds: SlotSecondsOption = 1.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Train a forecaster."""
    with forecasting_errors():
        from forecasting.windows import Window

        window = Window(slot_seconds=slot_seconds, slots=slots, history=history)
        rates = parse_numbers(fps, "--fps")
        traces = read_all(trace, trace_fps)
        _limit_threads(threads)
        from forecasting.training.data import Recipe
        from forecasting.training.fit import FitSettings
        from forecasting.training.run import TrainSettings

        usual = 1e-3 if kind is Kind.DENSE else 3e-3
        settings = TrainSettings(
            kind=kind.value,
            window=window,
            recipe=Recipe(fps=rates, recorded=recorded, generated=generated),
            fit=FitSettings(seed=seed, epochs=epochs, learning_rate=learning_rate or usual),
            int8=int8,
            origin=origin,
            test=kept_names(traces, test),
        )
        trained = _train(traces, out, settings, quiet=quiet)
    if not quiet:
        _print_trained(trained)


def _limit_threads(threads: int) -> None:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(
            f"torch, which trains the networks, cannot be imported: {error}",
            remedy="pip install 'videojam[train]'",
        ) from error
    torch.set_num_threads(threads)


def _train(traces: list[Trace], out: Path, settings: TrainSettings, *, quiet: bool) -> Trained:
    from rich.progress import BarColumn, Progress, TextColumn

    from forecasting.training.run import train as run

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}  {task.fields[error]}"),
    )
    with Progress(*columns, console=stderr(), disable=quiet) as bar:
        task = bar.add_task("making load", total=settings.fit.epochs, error="")

        def progress(done: int, most: int, error: float) -> None:
            shown = "" if error != error else f"validation error {error:.3f}"  # noqa: PLR0124 - NaN
            bar.update(task, completed=done, total=most, error=shown)

        return run(
            traces,
            out,
            settings,
            progress=progress,
            say=lambda text: bar.update(task, description=text),
        )


def _print_trained(trained: Trained) -> None:
    from rich.table import Table

    console = stdout()
    card = trained.card
    size = trained.file.stat().st_size
    console.print(f"{trained.file}: {card['parameters']} parameters, {size} bytes", markup=False)
    if trained.int8_file is not None:
        size = trained.int8_file.stat().st_size
        console.print(f"{trained.int8_file}: {size} bytes", markup=False)
    if not card["test"]:
        console.print("no test sequence is long enough to score")
        return
    table = Table("frames a second", "forecaster", "windows", "error of the window's sum")
    for fps, scores in card["test"].items():
        for name, groups in scores.items():
            entry = groups["all"]
            table.add_row(fps, name, str(entry["windows"]), f"{entry['sum_error']:.3f}")
    console.print(table)


@app.command(
    help=with_examples(
        "Compare forecasters on traces that none of them was trained on.\n\n"
        "The origin rolls over each sequence, slot by slot. The main figure is the error of the "
        "window's sum, which is what balancing acts on: total absolute error over the total "
        "load. Regimes are what the load did in the window before the forecast.",
        "videojam forecaster evaluate --trace vehicles.csv --test 1,4,7",
        "videojam forecaster evaluate --trace mine.csv --test all --fps 20 --plot forecasts.png",
        "videojam forecaster evaluate --trace mine.csv --model mixture=mine.tflite --json",
        "videojam forecaster evaluate --trace mine.csv --original frozen.pb",
    )
)
def evaluate(
    *,
    trace: TraceOption = None,
    trace_fps: TraceFpsOption = 10.0,
    fps: FpsOption = "15,20",
    test: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Sequences to score on, separated by commas; `all`; or `third`: those that "
            "`train` keeps by default.",
        ),
    ] = "third",
    forecaster: Annotated[
        list[str] | None,
        typer.Option(help="Which to compare; may be repeated. [default: all]", show_default=False),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Another model of a forecaster, beside the one that ships; may be repeated.",
        ),
    ] = None,
    original: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A frozen TensorFlow graph [h] -> [k], run by OpenCV's dnn."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw forecasts over measured load: .png, .svg or .pdf. Needs the extra `plot`.",
        ),
    ] = None,
    by: Annotated[
        By, typer.Option(help="Tell regimes by what came before the forecast, or after.")
    ] = By.PAST,
    slots: SlotsOption = 10,
    history: HistoryOption = 50,
    slot_seconds: SlotSecondsOption = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Compare forecasters."""
    from cli import forecaster_view as view

    with forecasting_errors():
        from forecasting.windows import Window

        window = Window(slot_seconds=slot_seconds, slots=slots, history=history)
        rates = parse_numbers(fps, "--fps")
        traces = read_all(trace, trace_fps)
        if not traces:
            raise ConfigError("no trace is given", key="--trace", remedy="--trace vehicles.csv")
        chosen = view.choose(traces, test)
        known = view.forecasters(forecaster or [], model or [], original, window)
        if plot is not None:
            view.check_plot(plot)
        tables = view.compare_at(known, chosen, window, rates, by=by.value)
        if plot is not None:
            view.draw(plot, known, chosen, window, rates[-1])
            stderr().print(f"drawn into {plot}", markup=False)
    if as_json:
        stdout().print_json(view.as_json(tables))
    else:
        view.print_tables(tables, stdout())


@app.command(
    help=with_examples(
        "Count the vehicles in each frame that the pipelines process, as a trace to train on.\n\n"
        "Reads results, drops and dead letters: what was dropped was demanded too. Ends with "
        "Ctrl-C, or after --seconds; the file is written then.",
        "videojam forecaster record --out mine.csv                  until Ctrl-C",
        "videojam forecaster record --out mine.csv --seconds 3600   an hour",
        "videojam forecaster record --out mine.csv --from earliest --no-follow",
    )
)
def record(
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The CSV file.", show_default=False)],
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    pipeline: Annotated[
        list[str] | None,
        typer.Option(help="Only this pipeline; may be repeated. [default: all]"),
    ] = None,
    start: Annotated[
        Start, typer.Option("--from", help="Everything that Kafka holds, or only what comes.")
    ] = Start.LATEST,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Go on at the end, or stop there.")
    ] = True,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop after so long.")] = None,
) -> None:
    """Record load."""
    from cli.forecaster_record import LoadWatch

    settings = effective_config(config, bootstrap_servers)
    with forecasting_errors(), open_transport(settings) as transport:
        transport.check()
        watch = LoadWatch(settings, transport, pipelines=pipeline or (), start=start.value)
        ends = None if seconds is None else time.monotonic() + seconds
        try:
            with stderr().status("waiting for results") as status:
                while ends is None or time.monotonic() < ends:
                    read = watch.poll()
                    status.update(f"{len(watch.tally)} frames (Ctrl-C writes {out})")
                    if not read and not follow and watch.caught_up():
                        break
        except KeyboardInterrupt:
            pass  # that is how one stops recording
        finally:
            watch.close()
        count = watch.tally.write(out)
    stderr().print(f"{count} frames written to {out}", markup=False)
