"""Each reading of the predictor against the event-driven co-execution, on all pairs of 19 models.

    python -m evaluation.benchmarks.interference_modes --batch 8 --plot docs/roomie-modes.png

Errors are mean absolute differences of throughput losses, in points; ranks are Spearman's. Times
are of all pairs, measured one after the other in one run; a speedup is the time of the co-execution
over that of the reading.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from evaluation.command import known_names, plot_option, run
from evaluation.profiles import synthetic_profiles
from roomie.coexecution import POLICIES, Policy, reference_drop
from roomie.devices import load_devices
from roomie.interference import MODES, InterferenceSettings, added_time_s
from roomie.plots import pyplot
from roomie.profiles import Variant
from roomie.tables import Floats, KernelTable, kernel_table

READINGS = (
    *(
        InterferenceSettings(mode=mode, alignment="lockstep", gamma=gamma)
        for mode in MODES
        for gamma in ("count", "time")
    ),
    *(InterferenceSettings(mode=mode, alignment="expected") for mode in MODES),
)


def main(
    *,
    device: Annotated[str, typer.Option(help="Kind of GPU.")] = "A100-SXM4-40GB",
    batch: Annotated[int, typer.Option(min=1, help="Of all models.")] = 8,
    policies: Annotated[
        str, typer.Option(help=f"Of the co-execution, comma-separated, of {', '.join(POLICIES)}.")
    ] = "proportional",
    plot: Annotated[
        Path | None, plot_option("Draw predicted against referenced losses into this file.")
    ] = None,
) -> None:
    """Compare readings of the predictor."""
    asked = known_names(policies.split(","), POLICIES, "--policies")
    chosen = [policy for policy in POLICIES if policy in asked]
    devices = load_devices()
    store = synthetic_profiles(devices)
    kind = devices.device(device)
    tables = [
        kernel_table(profile)
        for model in store.models
        if (profile := store.find(Variant(model, batch), kind)) is not None
    ]
    if not tables:
        known = sorted({size for model in store.models for size in store.batches(model, kind)})
        raise typer.BadParameter(
            f"nothing is profiled at batch size {batch} on {device}; there are "
            f"{', '.join(map(str, known)) or 'none'}",
            param_hint="--batch",
        )
    pairs = [(i, j) for i in range(len(tables)) for j in range(i, len(tables))]
    references: dict[Policy, Floats] = {}
    seconds: dict[str, float] = {}
    for policy in chosen:
        start = time.perf_counter()
        references[policy] = _reference(tables, pairs, policy)
        seconds[policy] = time.perf_counter() - start
    result = Table(title=f"{len(tables)} models at batch size {batch} on {device}, all pairs")
    result.add_column("reading")
    for name in references:
        result.add_column(f"error vs {name}, points", justify="right")
        result.add_column("rank", justify="right")
    result.add_column("all pairs, ms", justify="right")
    result.add_column(f"speedup over {chosen[0]}", justify="right")
    predictions: dict[str, Floats] = {}
    for settings in READINGS:
        start = time.perf_counter()
        predicted = np.array(
            [[added_time_s(a, b, settings) / a.inference_time_s for b in tables] for a in tables]
        )
        taken = time.perf_counter() - start
        label = f"{settings.mode}, {settings.alignment}"
        if settings.alignment == "lockstep":
            label += f", gamma by {settings.gamma}"
        predictions[label] = predicted
        cells = []
        for reference in references.values():
            error = 100 * np.abs(_loss(predicted) - _loss(reference)).mean()
            cells += [f"{error:.2f}", f"{_rank(predicted, reference):.2f}"]
        result.add_row(label, *cells, f"{1e3 * taken:.0f}", f"{seconds[chosen[0]] / taken:.0f}")
    Console(width=200).print(result)
    for policy_name, value in seconds.items():
        typer.echo(f"co-execution, {policy_name}: {value:.1f} s")
    if plot is not None:
        _draw(plot, predictions, next(iter(references.values())))


def _reference(tables: list[KernelTable], pairs: list[tuple[int, int]], policy: Policy) -> Floats:
    slowdowns: Floats = np.empty((len(tables), len(tables)))
    for i, j in track(pairs, f"co-execution, {policy}", console=Console(stderr=True)):
        first, second = reference_drop([tables[i], tables[j]], policy=policy)
        slowdowns[i, j], slowdowns[j, i] = first.slowdown, second.slowdown
    return slowdowns


def _loss(slowdown: Floats) -> Floats:
    return slowdown / (1 + slowdown)


def _rank(first: Floats, second: Floats) -> float:
    ranks = [np.argsort(np.argsort(values.ravel())) for values in (first, second)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _draw(file: Path, predictions: dict[str, Floats], reference: Floats) -> None:
    """Predicted against referenced losses of four readings."""
    plt = pyplot()
    shown = ("printed, lockstep, gamma by count", "swapped, lockstep, gamma by time",
             "dominant, lockstep, gamma by time", "dominant, expected")  # fmt: skip
    figure, axes = plt.subplots(1, 4, figsize=(11, 2.9), sharey=True, layout="constrained")
    for axis, label in zip(axes, shown, strict=True):
        axis.plot([0, 100], [0, 100], color="0.7", linewidth=1)
        axis.scatter(100 * _loss(reference), 100 * _loss(predictions[label]), s=4)
        axis.set_title(label, fontsize=8)
        axis.set_xlabel("co-execution: loss, %", fontsize=8)
        axis.set_xlim(0, 100)
        axis.set_ylim(0, 100)
    axes[0].set_ylabel("predicted loss, %", fontsize=8)
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    run(main)
