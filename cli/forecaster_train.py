"""`videojam forecaster train`."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import (
    stderr,
    stdout,
    with_examples,
)
from cli.forecaster_options import (
    FpsOption,
    HistoryOption,
    SlotSecondsOption,
    SlotsOption,
    TestOption,
    TraceFpsOption,
    TraceOption,
    forecasting_errors,
    parse_numbers,
    read_all,
)
from forecasting.errors import MissingExtraError

if TYPE_CHECKING:
    from forecasting.traces import Trace
    from forecasting.training.run import Trained, TrainSettings


class Kind(StrEnum):
    """What is trained."""

    MIXTURE = "mixture"
    DENSE = "dense"
    LINEAR = "linear"


def kept_names(traces: list[Trace], test: str | None) -> tuple[str, ...]:
    """The sequences that are never trained on."""
    from forecasting.traces import every_third

    if test is None:
        return every_third(traces)
    return tuple(name.strip() for name in test.split(",") if name.strip())


TRAIN_HELP = with_examples(
    "Train a forecaster on recorded and on generated load, and write it with its card.\n\n"
    "Sequences are kept for a test as a whole; the card says which, and how it did on them. "
    "Needs the extra `train`: pip install 'videojam\\[train]'.",
    "videojam forecaster train --trace vehicles.csv --out model.tflite",
    "videojam forecaster train --trace mine.csv --trace theirs.csv --out m.tflite --int8",
    "videojam forecaster train --kind dense --trace vehicles.csv --out dense.tflite",
    "videojam forecaster train --generated 2000 --out model.tflite    no trace at all",
)
"""As typer shows it."""


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
        float | None,
        typer.Option(
            help=r"Of the first step. \[default: 0.003; 0.001 for dense]", show_default=False
        ),
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
            shown = "" if math.isnan(error) else f"validation error {error:.3f}"
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
