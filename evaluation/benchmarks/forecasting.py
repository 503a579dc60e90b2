"""What a batched forecast costs: time of one call, and memory of the runtime, side by side.

    python -m evaluation.benchmarks.forecasting
    python -m evaluation.benchmarks.forecasting --forecasters linear,mixture --replicas 6,1000
    python -m evaluation.benchmarks.forecasting --json > forecasting.json

Times are medians and 95th percentiles of calls on one core; ratios are to `last-window` in the same
run. Memory is measured in a process of its own for each forecaster: what its building and one
forecast of 10,000 replicas add to the resident set.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
import psutil
import typer
from rich.console import Console
from rich.table import Table

from evaluation.command import known_names, run, whole_numbers
from forecasting import GuardedForecaster, Loads, Window, build_forecaster
from forecasting.registry import available

FORECASTERS = ("last-window", "ewma", "linear", "dense", "mixture")
_LEAST_CALLS = 15
_SECONDS = 1.0

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One forecaster at one number of replicas.

    Attributes:
        forecaster: its name.
        replicas: in one call.
        calls: how many were timed.
        median_ms: median time of a call, milliseconds.
        p95_ms: 95th percentile, milliseconds.
        ratio: median over that of `last-window` in the same run.
    """

    forecaster: str
    replicas: int
    calls: int
    median_ms: float
    p95_ms: float
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One forecaster in a process of its own.

    Attributes:
        forecaster: its name.
        import_mb: resident set after importing forecasting, megabytes.
        built_mb: what building it and forecasting 6 replicas adds.
        large_mb: what forecasting 10,000 replicas adds to that.
    """

    forecaster: str
    import_mb: float
    built_mb: float
    large_mb: float


def street(replicas: int, seed: int = 7) -> Loads:
    """Histories of replicas that cameras of 20 frames a second feed, float32 [n, 50]."""
    rng = np.random.default_rng(seed)
    vehicles = np.clip(3 + np.cumsum(rng.normal(0, 0.7, (replicas, 50)), axis=1), 0, 15)
    return (vehicles.round() * 20).astype(np.float32)


def time_calls(forecaster: GuardedForecaster, histories: Loads, clock: Clock) -> list[float]:
    """Seconds of each call, after three that are not counted."""
    for _ in range(3):
        forecaster.forecast(histories)
    seconds: list[float] = []
    while len(seconds) < _LEAST_CALLS or sum(seconds) < _SECONDS:
        started = clock()
        forecaster.forecast(histories)
        seconds.append(clock() - started)
    return seconds


def time_all(names: list[str], replicas: list[int], clock: Clock) -> list[Timing]:
    """Every forecaster at every number of replicas; `last-window` first, as the measure."""
    rows = []
    for count in replicas:
        histories = street(count)
        base = float(np.median(time_calls(build_forecaster("last-window"), histories, clock)))
        for name in names:
            seconds = time_calls(build_forecaster(name), histories, clock)
            median = float(np.median(seconds))
            rows.append(
                Timing(
                    forecaster=name,
                    replicas=count,
                    calls=len(seconds),
                    median_ms=median * 1e3,
                    p95_ms=float(np.percentile(seconds, 95)) * 1e3,
                    ratio=median / base,
                )
            )
    return rows


def measure_memory(name: str) -> Memory:
    """Resident set of this process as it builds and uses a forecaster."""
    process = psutil.Process()

    def resident() -> float:
        return float(process.memory_info().rss) / 1e6

    start = resident()
    forecaster = build_forecaster(name, Window())
    forecaster.forecast(street(6))
    built = resident()
    forecaster.forecast(street(10_000))
    return Memory(
        forecaster=name,
        import_mb=start,
        built_mb=built - start,
        large_mb=resident() - built,
    )


def memory_of(name: str) -> Memory:
    """`measure_memory` in a process of its own."""
    command = [sys.executable, "-m", "evaluation.benchmarks.forecasting", "--memory-of", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Memory(**json.loads(done.stdout))


def main(
    *,
    replicas: Annotated[
        str, typer.Option(help="Numbers of replicas in one call, comma-separated.")
    ] = "6,100,1000,10000",
    forecasters: Annotated[
        str, typer.Option(help="Comma-separated, of those that are installed.")
    ] = ",".join(FORECASTERS),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    memory_for: Annotated[str | None, typer.Option("--memory-of", hidden=True)] = None,
) -> None:
    """Measure what forecasts cost."""
    if memory_for is not None:
        sys.stdout.write(json.dumps(asdict(measure_memory(memory_for))))
        return
    counts = whole_numbers(replicas, "--replicas")
    names = known_names(forecasters.split(","), available(), "--forecasters")
    timings = time_all(names, counts, time.perf_counter)
    memories = [memory_of(name) for name in names]
    if as_json:
        rows = {
            "timings": [asdict(row) for row in timings],
            "memory": [asdict(row) for row in memories],
        }
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return
    console = Console()
    table = Table("replicas", "forecaster", "median ms", "p95 ms", "x last-window", "calls")
    for row in timings:
        cells = (f"{row.median_ms:.3f}", f"{row.p95_ms:.3f}", f"{row.ratio:.1f}", str(row.calls))
        table.add_row(str(row.replicas), row.forecaster, *cells)
    console.print(table)
    table = Table("forecaster", "imported, MB", "+ built, MB", "+ 10,000 replicas, MB")
    for entry in memories:
        figures = (entry.import_mb, entry.built_mb, entry.large_mb)
        table.add_row(entry.forecaster, *(f"{value:.1f}" for value in figures))
    console.print(table)


if __name__ == "__main__":
    run(main)
