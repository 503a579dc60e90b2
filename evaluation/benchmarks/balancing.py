"""Balancers side by side on a real Kafka, with emulated functions (thesis Fig 3.10).

    python -m evaluation.benchmarks.balancing compare --cameras 2,3,4,5 --rounds 3 --plot knee.png
    python -m evaluation.benchmarks.balancing exchange --rounds 5

The deployment is that of `evaluation.thesis_case`. Each round runs every balancer on the same load,
in an order that changes, and what counts are the ratios within a round.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
from rich.console import Console
from rich.table import Table

from evaluation.accounts import End, Totals
from evaluation.command import json_option, plot_option, run, whole_numbers
from evaluation.errors import MeasurementError
from evaluation.kafka import temporary_broker
from evaluation.testbed import Testbed
from evaluation.thesis_case import declare, installed_balancers, plans, start_cameras
from roomie.plots import pyplot

_WARM_SECONDS = 6.0
"""Results of frames from before are not counted: rates are being measured."""
_DRAIN_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One balancer in one run; times in seconds.

    ``cpu_of_balancing`` is the fraction of a core that a replica spends on what
    `agents.showing.Tally.spent` counts, ``cpu_of_worker`` that of its whole process, the Kafka
    client's threads and the emulated function included; both are means over the replicas.
    """

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
    times = (psutil.Process(pid).cpu_times() for pid in bed.pids())
    return float(sum(time.user + time.system for time in times))


def summarise(
    ends: Sequence[End], totals: Totals, seconds: float, busy: Sequence[float], cpu: float
) -> Figures:
    """Figures of a run; only frames from after the warm-up count for times.

    Raises:
        MeasurementError: there are none.
    """
    counted = [end for end in ends if end.captured >= _WARM_SECONDS]
    if not counted:
        raise MeasurementError(
            f"no frame that was captured after the first {_WARM_SECONDS:g} s was processed\n"
            "  remedy: more --seconds, or fewer --cameras"
        )
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


def measure(
    ways: Mapping[str, Mapping[str, Any]],
    servers: str,
    folder: Path,
    *,
    cameras: int,
    rounds: int,
    seconds: float,
    seed: int,
    say: Callable[[str], None],
) -> dict[str, list[Figures]]:
    """Run each way once a round, forwards and backwards in turns, under the same load.

    Args:
        ways: what is compared: keys of `balancing` in topics.yaml, by name.
        servers: host:port list.
        folder: for the workers' logs.
        cameras: how many.
        rounds: how often.
        seconds: of load in each run.
        seed: of the load of the first round; each further one adds one.
        say: told what happens.
    """
    runs: dict[str, list[Figures]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways) if number % 2 == 0 else list(ways)[::-1]:
            say(f"{cameras} cameras, round {number + 1}: {name}")
            figures = run_once(
                servers,
                folder / f"{cameras}-{number}-{name}",
                ways[name],
                cameras=cameras,
                seconds=seconds,
                seed=seed + number,
            )
            runs[name].append(figures)
    return runs


def comparison(cameras: int, runs: Mapping[str, Sequence[Figures]], base: str) -> Table:
    """Medians over the rounds; ratios are the medians of those within a round.

    Args:
        cameras: how many.
        runs: figures of each round, by what is compared.
        base: which of them the others' mean response times are divided by.
    """
    table = Table(title=f"{cameras} cameras")
    columns = (
        *("balancer", "mean ms", f"x {base}", "p95 ms", "lost %", "messages/s", "control kB/s"),
        *("offloads/s", "offloaded MB", "balancing, % of a core", "worker, % of a core"),
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "balancer" else "right")
    for name, figures in runs.items():
        ratios = [f.mean / b.mean for f, b in zip(figures, runs[base], strict=True)]
        table.add_row(
            name,
            f"{1e3 * _median(figures, 'mean'):.0f}",
            f"{statistics.median(ratios):.2f}",
            f"{1e3 * _median(figures, 'p95'):.0f}",
            f"{1e2 * _median(figures, 'loss'):.1f}",
            f"{_median(figures, 'messages_per_second'):.0f}",
            f"{1e-3 * _median(figures, 'control_bytes_per_second'):.0f}",
            f"{_median(figures, 'offloaded_per_second'):.0f}",
            f"{_median(figures, 'offloaded_mb'):.1f}",
            f"{1e2 * _median(figures, 'cpu_of_balancing'):.1f}",
            f"{1e2 * _median(figures, 'cpu_of_worker'):.1f}",
        )
    return table


def _median(runs: Sequence[Figures], name: str) -> float:
    return float(statistics.median(getattr(figures, name) for figures in runs))


def draw(found: Mapping[int, Mapping[str, Sequence[Figures]]], file: Path) -> None:
    """Mean and 95th-percentile response and losses over the number of cameras; medians of rounds.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    plt = pyplot()
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
    panels = (("mean", "mean response, ms", 1e3), ("p95", "95th percentile, ms", 1e3))
    for panel, (name, label, unit) in zip(axes, (*panels, ("loss", "lost, %", 1e2)), strict=True):
        for balancer in next(iter(found.values())):
            points = [
                (cameras, unit * _median(runs[balancer], name))
                for cameras, runs in sorted(found.items())
                if runs[balancer]
            ]
            panel.plot(*zip(*points, strict=True), marker="o", markersize=3, label=balancer)
        panel.set(xlabel="cameras", ylabel=label, xticks=sorted(found))
        if unit == 1e3:
            panel.set_yscale("log")
    axes[0].legend(fontsize=8)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def compare(
    *,
    cameras: Annotated[str, typer.Option(help="Numbers of cameras, comma-separated.")] = "3,4",
    balancers: Annotated[
        str, typer.Option(help="Comma-separated, of those that are installed.")
    ] = "none,wrr,jsq,videojam",
    seconds: Annotated[float, typer.Option(min=10, help="Load of each run.")] = 25.0,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each, with other load.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of the load; each round adds one.")] = 1,
    json_file: Annotated[Path | None, json_option()] = None,
    plot: Annotated[Path | None, plot_option("Draw times and losses into this file.")] = None,
) -> None:
    """Response times, losses and traffic of balancers under the same bursty load.

    Times are divided by those of videojam, or of the first balancer where it is not among them.

        python -m evaluation.benchmarks.balancing compare
        python -m evaluation.benchmarks.balancing compare --balancers wrr,videojam --rounds 5
        python -m evaluation.benchmarks.balancing compare --cameras 2,3,4,5 --plot knee.png
    """
    names = installed_balancers(balancers, "--balancers")
    counts = whole_numbers(cameras, "--cameras")
    base = "videojam" if "videojam" in names else names[0]
    console = Console(width=150)
    found: dict[int, dict[str, list[Figures]]] = {}
    with temporary_broker() as broker, tempfile.TemporaryDirectory() as folder:
        for count in counts:
            found[count] = measure(
                {name: {"policy": name} for name in names},
                broker.bootstrap_servers,
                Path(folder),
                cameras=count,
                rounds=rounds,
                seconds=seconds,
                seed=seed,
                say=console.print,
            )
            console.print(comparison(count, found[count], base))
            # After each number of cameras: what was measured is kept if the next one fails.
            if json_file is not None:
                json_file.write_text(json.dumps(found, default=asdict, indent=1), encoding="utf-8")
            if plot is not None:
                draw(found, plot)


def exchange(
    *,
    cameras: Annotated[int, typer.Option(min=1, help="How many.")] = 3,
    seconds: Annotated[float, typer.Option(min=10, help="Load of each run.")] = 25.0,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each, with other load.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of the load; each round adds one.")] = 0,
    json_file: Annotated[Path | None, json_option()] = None,
) -> None:
    """Rows and signals through a reader of the replica's own, against Faust agents.

    Times are divided by those of the replica's own reader.

        python -m evaluation.benchmarks.balancing exchange
        python -m evaluation.benchmarks.balancing exchange --rounds 5 --json out/exchange.json
    """
    console = Console(width=150)
    with temporary_broker() as broker, tempfile.TemporaryDirectory() as folder:
        runs = measure(
            {way: {"policy": "videojam", "exchange": way} for way in ("direct", "faust")},
            broker.bootstrap_servers,
            Path(folder),
            cameras=cameras,
            rounds=rounds,
            seconds=seconds,
            seed=seed,
            say=console.print,
        )
    console.print(comparison(cameras, runs, "direct"))
    if json_file is not None:
        json_file.write_text(json.dumps(runs, default=asdict, indent=1), encoding="utf-8")


if __name__ == "__main__":
    run(compare, exchange)
