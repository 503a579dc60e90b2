"""How long decisions of ROOMIE take, and how that grows with the cluster.

    python -m evaluation.benchmarks.placement_speed
    python -m evaluation.benchmarks.placement_speed --decisions 50 --json out/speed.json

A decision is one request of a given batch size, with all pairs predicted before ("warm"), each on
the state that the one before it left; medians and 95th percentiles. ``cold`` is the first decision
on a state that was just built, which sums up all residents once. Filling the cache is measured for
19 models at 6 batch sizes on one device, both for the default and for Algorithm 2 as printed.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from evaluation.command import json_option, run
from evaluation.profiles import synthetic_profiles
from roomie.cluster import ClusterState, Gpu, Instance, Request
from roomie.costs import PairCosts
from roomie.devices import Device, load_devices
from roomie.interference import PRINTED, InterferenceSettings
from roomie.placers.roomie import RoomiePlacer, RoomieSettings

# (GPUs, instances that run already)
SIZES = ((12, 0), (12, 19), (100, 1000), (300, 3000), (1000, 10_000), (2000, 20_000))

_LEAST = 5


def main(
    *,
    decisions: Annotated[int, typer.Option(min=_LEAST, help="Of each size, with the cold.")] = 200,
    json_file: Annotated[Path | None, json_option()] = None,
) -> None:
    """Measure decision times."""
    devices = load_devices()
    store = synthetic_profiles(devices)
    kind = devices.device("A100-SXM4-40GB")
    figures: dict[str, float] = {}
    for name, settings in (("default", InterferenceSettings()), ("printed", PRINTED)):
        costs = PairCosts(store, settings)
        start = time.perf_counter()
        costs.on(kind, range(len(costs.variants)))
        figures[f"fill {name}, s"] = time.perf_counter() - start
    costs = PairCosts(store)
    costs.on(kind, range(len(costs.variants)))
    fewer = max(_LEAST, decisions // 10)
    table = Table(
        title=f"Times of a decision, ms: medians of the {decisions - 1} after the cold one, "
        f"of {fewer - 1} where the batch size is chosen too"
    )
    for column in ("GPUs", "instances", "cold", "median", "95th", "batch size chosen too, median"):
        table.add_column(column, justify="right")
    for gpus, instances in SIZES:
        cold, times = _measure(costs, kind, gpus, instances, decisions, batch=8)
        _, free = _measure(costs, kind, gpus, instances, fewer, batch=None)
        row = [cold, float(np.median(times)), float(np.quantile(times, 0.95)),
               float(np.median(free))]  # fmt: skip
        table.add_row(str(gpus), str(instances), *(f"{1e3 * value:.3f}" for value in row))
        figures[f"{gpus} GPUs, {instances} instances, ms"] = 1e3 * row[1]
    console = Console(width=140)
    console.print(table)
    for name, value in figures.items():
        if name.startswith("fill"):
            pairs = len(costs.variants) ** 2
            console.print(
                f"cache of {len(costs.variants)} variants ({pairs} pairs), {name}: {value:.2f}"
            )
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def _measure(
    costs: PairCosts, kind: Device, gpus: int, instances: int, decisions: int, *, batch: int | None
) -> tuple[float, list[float]]:
    rng = np.random.default_rng((gpus, instances))
    fleet = [Gpu(id=f"g{i}", node=f"n{i // 4}", device=kind) for i in range(gpus)]
    residents: list[list[Instance]] = [[] for _ in fleet]
    for number, variant in enumerate(rng.integers(len(costs.variants), size=instances)):
        chosen = costs.variants[int(variant)]
        request = Request(id=f"i{number}", model=chosen.model, batch=chosen.batch)
        residents[number % gpus].append(Instance(request=request, variant=chosen))
    state = ClusterState(fleet, residents)
    # Ten models a GPU are beyond any sensible lambda: it must not cut the work short.
    placer = RoomiePlacer(costs, RoomieSettings(limit=1.0))
    models = rng.choice(costs.store.models, size=decisions)
    times = []
    for number, model in enumerate(models):
        request = Request(id=f"new{number}", model=str(model), batch=batch)
        start = time.perf_counter()
        plan = placer.place(state, [request])
        times.append(time.perf_counter() - start)
        state = plan.state
    return times[0], times[1:]


if __name__ == "__main__":
    run(main)
