"""`videojam forecaster`: train, evaluate and record load for the forecasters."""

from __future__ import annotations

import time
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.common import (
    DEFAULT_CONFIG,
    BootstrapOption,
    ConfigOption,
    FollowOption,
    JsonOption,
    Start,
    StartOption,
    check_plot,
    effective_config,
    open_transport,
    stderr,
    stdout,
    with_examples,
)
from cli.forecaster_options import (
    FpsOption,
    HistoryOption,
    SlotSecondsOption,
    SlotsOption,
    TraceFpsOption,
    TraceOption,
    forecasting_errors,
    parse_numbers,
    read_all,
)
from cli.forecaster_train import TRAIN_HELP, train
from cli.service import stopping_on_signals
from dataflow.errors import ConfigError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Train, compare and feed the forecasters of load.",
)


app.command(help=TRAIN_HELP)(train)


class By(StrEnum):
    """What tells a regime."""

    PAST = "past"
    FUTURE = "future"


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
        typer.Option(
            help=r"Which to compare; may be repeated. \[default: all]", show_default=False
        ),
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
            metavar="FILE", help=r"A frozen TensorFlow graph \[h] -> \[k], run by OpenCV's dnn."
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
            check_plot(plot)
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
        "Ctrl-C or SIGTERM, or after --seconds; the file is written then.",
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
        typer.Option(help=r"Only this pipeline; may be repeated. \[default: all]"),
    ] = None,
    start: StartOption = Start.LATEST,
    follow: FollowOption = True,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop after so long.")] = None,
) -> None:
    """Record load."""
    from cli.forecaster_record import LoadWatch

    settings = effective_config(config, bootstrap_servers)
    with forecasting_errors(), open_transport(settings) as transport:
        transport.check()
        watch = LoadWatch(settings, transport, pipelines=pipeline or (), start=start.value)
        ends = None if seconds is None else time.monotonic() + seconds
        with (
            closing(watch),
            stopping_on_signals(quiet=True) as stopping,
            stderr().status("waiting for results") as status,
        ):
            while not stopping.is_set() and (ends is None or time.monotonic() < ends):
                read = watch.poll()
                status.update(f"{len(watch.tally)} frames (Ctrl-C writes {out})")
                if not read and not follow and watch.caught_up():
                    break
        count = watch.tally.write(out)
    stderr().print(f"{count} frames written to {out}", markup=False)
