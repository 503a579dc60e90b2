"""Balancers side by side on a real Kafka, with emulated functions (thesis Fig 3.10).

    python -m evaluation.benchmarks.balancing compare --cameras 2,3,4,5 --rounds 3 --plot knee.png
    python -m evaluation.benchmarks.balancing exchange

The deployment is that of `evaluation.thesis_case`. Each round runs every balancer on the same load,
in an order that changes, and what counts are the ratios within a round.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
from rich.console import Console
from rich.table import Table

from evaluation.testbed import End, Testbed, Totals, temporary_broker
from evaluation.thesis_case import declare, plans, start_cameras

_WARM_SECONDS = 6.0
"""Results of frames from before are not counted: rates are being measured."""
_DRAIN_SECONDS = 20.0

app = typer.Typer(help=__doc__, no_args_is_help=True, rich_markup_mode=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One balancer in one run; times in seconds."""

    mean: float
    p95: float
    first_mean: float
    loss: float
    messages_per_second: float
    control_bytes_per_second: float
    offloaded_per_second: float
    offloaded_mb: float
    cpu_of_balancing: float
    cpu_of_worker: float


def run_once(
    servers: str,
    folder: Path,
    balancing: Mapping[str, Any],
    *,
    cameras: int,
    seconds: float,
    seed: int,
) -> Figures:
    """One balancer under one load."""
    with Testbed(declare(servers, **balancing), plans(), folder) as bed:
        before = _cpu(bed)
        start_cameras(bed, cameras, seconds, seed)
        totals = bed.drain(seconds + _DRAIN_SECONDS)
        passed = bed.now
        spent = _cpu(bed) - before
        busy = [r.balance.busy for r in bed.rows().values() if r.balance is not None]
        ends = list(bed.ends.values())
    return summarise(ends, totals, passed, busy, spent / passed / len(plans()))


def _cpu(bed: Testbed) -> float:
    times = (psutil.Process(process.pid).cpu_times() for process in bed.processes.values())
    return float(sum(time.user + time.system for time in times))


def summarise(
    ends: Sequence[End], totals: Totals, seconds: float, busy: Sequence[float], cpu: float
) -> Figures:
    """Figures of a run; only frames from after the warm-up count for times."""
    counted = [end for end in ends if end.captured >= _WARM_SECONDS]
    if not counted:
        raise RuntimeError("no frame was processed after the warm-up")
    responses = np.array([end.response for end in counted])
    first = np.array([end.first - end.captured for end in counted])
    return Figures(
        mean=float(responses.mean()),
        p95=float(np.percentile(responses, 95)),
        first_mean=float(first.mean()),
        loss=totals.loss,
        messages_per_second=totals.control_records / seconds,
        control_bytes_per_second=totals.control_bytes / seconds,
        offloaded_per_second=totals.offloaded / seconds,
        offloaded_mb=totals.offloaded_bytes / 1e6,
        cpu_of_balancing=statistics.mean(busy) if busy else 0.0,
        cpu_of_worker=cpu,
    )


@app.command()
def compare(
    *,
    cameras: Annotated[str, typer.Option(help="Numbers of cameras, comma-separated.")] = "3,4",
    balancers: Annotated[str, typer.Option(help="Which.")] = "none,wrr,jsq,videojam",
    seconds: Annotated[float, typer.Option(min=10, help="Load of each run.")] = 25.0,
    rounds: Annotated[int, typer.Option(min=1)] = 2,
    seed: Annotated[int, typer.Option(help="Of the load; each round adds one.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures.")] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG of times and losses to write.")] = None,
) -> None:
    """Response times, losses and traffic of balancers under the same bursty load."""
    console = Console()
    names = [name.strip() for name in balancers.split(",")]
    found: dict[int, dict[str, list[Figures]]] = {}
    with temporary_broker() as broker, tempfile.TemporaryDirectory() as folder:
        for count in (int(word) for word in cameras.split(",")):
            runs = found.setdefault(count, {name: [] for name in names})
            for number in range(rounds):
                for name in names if number % 2 == 0 else names[::-1]:
                    console.print(f"{count} cameras, round {number + 1}: {name}")
                    figures = run_once(
                        broker.bootstrap_servers,
                        Path(folder) / f"{count}-{number}-{name}",
                        {"policy": name},
                        cameras=count,
                        seconds=seconds,
                        seed=seed + number,
                    )
                    runs[name].append(figures)
            console.print(comparison(count, runs))
            if json_file is not None:
                json_file.write_text(json.dumps(found, default=asdict, indent=1), encoding="utf-8")
            if plot is not None:
                draw(found, plot)


def comparison(cameras: int, runs: Mapping[str, Sequence[Figures]]) -> Table:
    """Medians over the rounds; ratios are those within a round."""
    table = Table(title=f"{cameras} cameras")
    columns = (
        *("balancer", "mean ms", "x videojam", "p95 ms", "lost %", "messages/s", "control kB/s"),
        *("offloads/s", "offloaded MB", "balancing CPU %", "worker CPU %"),
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "balancer" else "right")
    base = runs.get("videojam")

    def median(values: Sequence[float]) -> float:
        return statistics.median(values)

    for name, figures in runs.items():
        ratio = "-"
        if base:
            own = zip(figures, base, strict=True)
            ratio = f"{median([f.mean / b.mean for f, b in own]):.2f}"
        table.add_row(
            name,
            f"{1000 * median([f.mean for f in figures]):.0f}",
            ratio,
            f"{1000 * median([f.p95 for f in figures]):.0f}",
            f"{100 * median([f.loss for f in figures]):.1f}",
            f"{median([f.messages_per_second for f in figures]):.0f}",
            f"{median([f.control_bytes_per_second for f in figures]) / 1000:.0f}",
            f"{median([f.offloaded_per_second for f in figures]):.0f}",
            f"{median([f.offloaded_mb for f in figures]):.1f}",
            f"{100 * median([f.cpu_of_balancing for f in figures]):.1f}",
            f"{100 * median([f.cpu_of_worker for f in figures]):.1f}",
        )
    return table


def draw(found: Mapping[int, Mapping[str, Sequence[Figures]]], file: Path) -> None:
    """Mean and 95th-percentile response and losses over the number of cameras; medians of rounds.

    Raises:
        typer.BadParameter: matplotlib is absent.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise typer.BadParameter("plots need: pip install 'videojam[plot]'") from error
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    panels = (("mean", "mean response, ms", 1e3), ("p95", "95th percentile, ms", 1e3))
    axes = figure.subplots(1, 3)
    for panel, (name, label, unit) in zip(axes, (*panels, ("loss", "lost, %", 1e2)), strict=True):
        for balancer in next(iter(found.values())):
            points = [
                (cameras, unit * statistics.median([getattr(f, name) for f in runs[balancer]]))
                for cameras, runs in sorted(found.items())
                if runs[balancer]
            ]
            panel.plot(*zip(*points, strict=True), marker="o", markersize=3, label=balancer)
        panel.set(xlabel="cameras", ylabel=label, xticks=sorted(found))
        if unit == 1e3:
            panel.set_yscale("log")
    axes[0].legend(fontsize=8)
    figure.savefig(file, dpi=110)


@app.command()
def exchange(
    *,
    seconds: Annotated[float, typer.Option(min=10)] = 25.0,
    rounds: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Rows and signals through a reader of the replica's own, against Faust agents."""
    console = Console()
    runs: dict[str, list[Figures]] = {"direct": [], "faust": []}
    with temporary_broker() as broker, tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for way in list(runs) if number % 2 == 0 else list(runs)[::-1]:
                console.print(f"round {number + 1}: {way}")
                figures = run_once(
                    broker.bootstrap_servers,
                    Path(folder) / f"{number}-{way}",
                    {"policy": "videojam", "exchange": way},
                    cameras=3,
                    seconds=seconds,
                    seed=number,
                )
                runs[way].append(figures)
    console.print(comparison(3, {**runs, "videojam": runs["direct"]}))


if __name__ == "__main__":
    app()
