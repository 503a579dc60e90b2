"""Cross-validation of the trained forecasters: each sequence by a model that never saw it.

    python -m evaluation.benchmarks.forecaster_folds --trace loads.csv
    python -m evaluation.benchmarks.forecaster_folds --trace loads.csv --original frozen.pb

Needs the extra ``train``. Sequences are dealt out to the folds in turn; for each fold `mixture`,
`dense` and `linear` are trained on the other sequences, and the scores of all windows are pooled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from evaluation.command import load, run
from forecasting import Window, build_forecaster
from forecasting.frozen import FrozenGraph
from forecasting.scoring import Forecast
from forecasting.traces import read_traces


def main(
    *,
    trace: Annotated[Path, typer.Option(metavar="FILE", help="CSV of sequence,frame,vehicles.")],
    trace_fps: Annotated[
        float, typer.Option(min=0.1, help="Frame rate of a trace without seconds.")
    ] = 10.0,
    original: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Frozen TensorFlow graph to score beside the others."),
    ] = None,
    fps: Annotated[float, typer.Option(min=0.1, help="Frame rate of the load.")] = 20.0,
    folds: Annotated[int, typer.Option(min=2, help="At most as many as there are sequences.")] = 7,
    epochs: Annotated[int, typer.Option(min=1, help="Of each training.")] = 13,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and order.")] = 0,
) -> None:
    """Cross-validate."""
    window = Window()
    fixed: dict[str, Forecast] = {
        name: build_forecaster(name, window).forecast for name in ("last-window", "ewma")
    }
    if original is not None:
        fixed["original"] = FrozenGraph(window, original).forecast
    traces = read_traces(trace, fps=trace_fps)
    if len(traces) < folds:
        raise typer.BadParameter(
            f"{trace} has {len(traces)} sequence(s) only: fewer folds, or a longer trace",
            param_hint="--folds",
        )
    training = load("evaluation.training.forecaster_folds", extra="train")
    pairs = training.cross_validate(
        traces, fixed, window, fps=fps, folds=folds, epochs=epochs, seed=seed
    )
    table = Table("forecaster", "error of the sum", "mean of the sequences'", "RMSE of the sum")
    rows = {name: training.summary(found, window.slots) for name, found in pairs.items()}
    for name, figures in sorted(rows.items(), key=lambda row: row[1]):
        table.add_row(name, *(f"{figure:.3f}" for figure in figures))
    Console().print(table)


if __name__ == "__main__":
    run(main)
