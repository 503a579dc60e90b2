"""Thesis Fig 4.1: AlexNet, GoogLeNet and SSD on two Xavier GPUs. Who shares with whom, and why?

    python -m evaluation.benchmarks.cohabitation
    python -m evaluation.benchmarks.cohabitation --batch 8 --plot docs/roomie-fig41.png

All three ways to put three models on two GPUs, with what each predictor says of them, and what each
placer chooses. The thesis: Usher pairs AlexNet with SSD, GoogLeNet with SSD would be better.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from evaluation.command import plot_option, run
from evaluation.profiles import synthetic_profiles
from roomie.cluster import ClusterState, Gpu, Request
from roomie.coexecution import POLICIES
from roomie.costs import PairCosts
from roomie.devices import load_devices
from roomie.interference import MODES, InterferenceSettings
from roomie.pairs import PairReport, examine_pair
from roomie.placers import available, build_placer
from roomie.placers.roomie import RoomiePlacer, RoomieSettings
from roomie.plots import draw_pair
from roomie.profiles import Variant

MODELS = ("alexnet", "googlenet", "ssd300_vgg16")


def main(
    *,
    device: Annotated[str, typer.Option(help="Kind of both GPUs.")] = "AGX-Xavier",
    batch: Annotated[int, typer.Option(min=1, help="Of all three.")] = 1,
    plot: Annotated[Path | None, plot_option("Draw GoogLeNet beside SSD into this file.")] = None,
) -> None:
    """Compare the three placements."""
    devices = load_devices()
    store = synthetic_profiles(devices)
    kind = devices.device(device)
    console = Console(width=160)
    ways = ((0, 2), (1, 2), (0, 1))
    reports = {
        way: examine_pair(
            store, kind, Variant(MODELS[way[0]], batch), Variant(MODELS[way[1]], batch)
        )
        for way in ways
    }
    table = Table(title=f"Throughput losses in % of two models that share, {device}, batch {batch}")
    table.add_column("predictor")
    for way in ways:
        table.add_column(" + ".join(MODELS[i] for i in way), justify="right")
    table.add_column("least")
    for label, losses in _rows(reports, ways):
        means = [sum(pair) / 2 for pair in losses]
        best = min(range(len(ways)), key=lambda n: means[n])
        table.add_row(
            label,
            *(f"{100 * a:.1f} / {100 * b:.1f}" for a, b in losses),
            " + ".join(MODELS[i] for i in ways[best]),
        )
    console.print(table)
    costs = PairCosts(store)
    state = ClusterState([Gpu(id=f"g{i}", node=f"n{i}", device=kind) for i in range(2)])
    requests = [Request(id=model, model=model, batch=batch) for model in MODELS]
    index = [costs.index(Variant(model, batch)) for model in MODELS]
    known = costs.on(kind, index)
    for model, position in zip(MODELS, index, strict=True):
        console.print(
            f"{model}: C (occupancy) {100 * known.occupancy[position]:.1f} %, M (memory) "
            f"{100 * known.memory_bytes[position] / kind.memory_bytes:.1f} %, alone "
            f"{known.throughput[position]:.1f} items/s"
        )
    for name in available():
        placer = (
            RoomiePlacer(costs, RoomieSettings(limit=1.0))
            if name == "roomie"
            else build_placer(name, costs)
        )
        plan = placer.place(state, requests)
        groups = [" + ".join(i.id for i in on) for on in plan.state.residents if on]
        console.print(f"{name}: {' | '.join(groups)}", markup=False)
    if plot is not None:
        draw_pair(plot, reports[1, 2], "proportional")


def _rows(
    reports: dict[tuple[int, int], PairReport], ways: tuple[tuple[int, int], ...]
) -> list[tuple[str, list[tuple[float, float]]]]:
    """Losses of both models of each way, by predictor."""
    rows = []
    readings = [
        InterferenceSettings(mode=mode, alignment="lockstep", gamma="count") for mode in MODES
    ] + [InterferenceSettings(mode=mode) for mode in MODES]
    for settings in readings:
        losses = []
        for way in ways:
            first, second = reports[way].predicted[settings]
            losses.append((first.throughput_loss, second.throughput_loss))
        rows.append((f"{settings.mode}, {settings.alignment}", losses))
    for policy in POLICIES:
        losses = []
        for way in ways:
            first, second = reports[way].referenced[policy]
            losses.append((first.throughput_loss, second.throughput_loss))
        rows.append((f"co-execution, {policy}", losses))
    return rows


if __name__ == "__main__":
    run(main)
