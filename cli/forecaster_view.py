"""What `videojam forecaster evaluate` compares and how it shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from cli.common import writing
from dataflow.errors import ConfigError
from forecasting import Window, available, build_forecaster
from forecasting.errors import ForecasterModelError
from forecasting.frozen import FrozenGraph
from forecasting.scoring import REGIMES, By, Forecast, Score, compare
from forecasting.traces import Trace, every_third, sequence_of

if TYPE_CHECKING:
    from rich.console import Console

Tables = dict[str, dict[str, dict[str, Score]]]
"""By frame rate, forecaster and group of windows."""

_PLOTTED = ("last-window", "ewma", "mixture", "original")


def choose(traces: Sequence[Trace], test: str) -> list[Trace]:
    """The traces to score on.

    Args:
        traces: all.
        test: ``all``, ``third``, or names separated by commas.

    Raises:
        ConfigError: a name is unknown.
    """
    if test == "all":
        return list(traces)
    names = every_third(traces) if test == "third" else tuple(n.strip() for n in test.split(","))
    known = {sequence_of(trace) for trace in traces}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ConfigError(
            f"no sequence is called {', '.join(unknown)}" if unknown else "too few sequences",
            key="--test",
            value=test,
            remedy=f"--test all, or some of: {', '.join(sorted(known))}",
        )
    return [trace for trace in traces if sequence_of(trace) in names]


def forecasters(
    names: Sequence[str], models: Sequence[str], original: Path | None, window: Window
) -> dict[str, Forecast]:
    """What to compare, by the name that the table shows.

    Args:
        names: of forecasters; all installed ones when empty.
        models: ``NAME=FILE``, further models of a forecaster.
        original: a frozen graph.
        window: how time is cut.

    Raises:
        ConfigError: ``models`` is not of that form.
        ForecastingError: one of them cannot be made.
    """
    known: dict[str, Forecast] = {}
    for name in names or available():
        try:
            known[name] = build_forecaster(name, window).forecast
        except ForecasterModelError:
            if names or window == Window():
                raise
            # what ships is made for the usual window: for another one it is no candidate
    for text in models:
        name, _, file = text.partition("=")
        if not file:
            raise ConfigError(
                "a forecaster and a file are expected",
                key="--model",
                value=text,
                remedy="--model mixture=mine.tflite",
            )
        built = build_forecaster(name, window, {"model": file})
        known[f"{name} {Path(file).name}"] = built.forecast
    if original is not None:
        known["original"] = FrozenGraph(window, original).forecast
    return known


def compare_at(
    known: Mapping[str, Forecast],
    traces: Sequence[Trace],
    window: Window,
    rates: Sequence[float],
    *,
    by: By,
) -> Tables:
    """Scores at each frame rate."""
    return {f"{fps:g}": compare(known, traces, window, fps=fps, by=by) for fps in rates}


def as_json(tables: Tables) -> str:
    """For programs."""
    return json.dumps(
        {
            fps: {
                name: {group: asdict(entry) for group, entry in groups.items()}
                for name, groups in scores.items()
            }
            for fps, scores in tables.items()
        }
    )


def print_tables(tables: Tables, console: Console) -> None:
    """Two tables for each frame rate: all errors, and the window's sum by group."""
    for fps, scores in tables.items():
        groups = [g for g in ("all", *REGIMES, "settled", "start-up") if _has(scores, g)]
        ranked = sorted(scores.items(), key=lambda entry: entry[1]["all"].sum_error)
        count = ranked[0][1]["all"].windows
        console.print(f"{fps} frames a second, {count} windows", style="bold")
        table = Table("forecaster", "MAE", "RMSE", "MASE", "sum", "relative", "sum RMSE", "bias")
        for name, found in ranked:
            every = found["all"]
            figures = (every.mae, every.rmse, every.mase, every.sum_error, every.sum_relative)
            cells = [f"{value:.3f}" for value in (*figures, every.sum_rmse)]
            table.add_row(name, *cells, f"{every.bias:+.3f}")
        console.print(table)
        table = Table("error of the window's sum", *groups)
        sizes = {g: next(f[g].windows for f in scores.values() if g in f) for g in groups}
        table.add_row("windows", *(str(sizes[group]) for group in groups), style="dim")
        for name, found in ranked:
            table.add_row(name, *(f"{found[group].sum_error:.3f}" for group in groups))
        console.print(table)


def _has(scores: Mapping[str, Mapping[str, Score]], group: str) -> bool:
    return any(group in found for found in scores.values())


def draw(
    file: Path, known: Mapping[str, Forecast], traces: Sequence[Trace], window: Window, fps: float
) -> None:
    """Draw forecasts, window by window, over the measured load of the longest sequences.

    Raises:
        ConfigError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    from forecasting.windows import known_loads, padded_history

    longest = sorted(traces, key=lambda trace: -trace.seconds)[:3]
    shown = [name for name in _PLOTTED if name in known] or list(known)[:4]
    figure = Figure(figsize=(10, 2.6 * len(longest)), layout="constrained")
    for row, trace in enumerate(longest, start=1):
        axes = figure.add_subplot(len(longest), 1, row)
        load = trace.slots(fps, window.slot_seconds)
        slots = [(index + 0.5) * window.slot_seconds for index in range(len(load))]
        axes.step(slots, load, where="mid", color="0.6", linewidth=1.2, label="measured")
        for number, name in enumerate(shown):
            for origin in range(window.slots, len(load), window.slots):
                history = padded_history(load[:origin], window)[None]
                forecast = known_loads(known[name](history))[0][: len(load) - origin]
                axes.plot(
                    slots[origin : origin + len(forecast)],
                    forecast,
                    color=f"C{number}",
                    linewidth=1.6,
                    label=name if origin == window.slots else None,
                )
        axes.set_title(f"sequence {trace.name}, {fps:g} frames a second", fontsize=9)
        axes.set_ylabel("items a slot")
        axes.set_ylim(bottom=0)
        if row == 1:
            axes.legend(fontsize=8, ncols=len(shown) + 1, loc="upper right")
    axes.set_xlabel("seconds")
    with writing(file, "--plot"):
        figure.savefig(file, dpi=110)
