"""Balancers side by side in simulated time.

    python -m evaluation.simulation
    python -m evaluation.simulation --cameras 4 --seeds 5

The pipeline of thesis Fig 3.10: mobile cameras at 15 fps, 3 YOLO and 5 OCR replicas on unequal
slices, 1 Gbit/s links of 10 ms, bursty traffic. Every balancer sees the same frames. Response time
is from capture to the end of OCR, for each vehicle. `jsq` sees every queue at no cost; its messages
are those that asking would take.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from agents.balancing import BALANCERS, BalancingSettings
from evaluation.command import run
from evaluation.simulation.scenarios import Outcome, Scenario, pipeline, simulate

_VARIANTS: tuple[tuple[str, str, BalancingSettings | None], ...] = (
    *((name, name, None) for name in BALANCERS),
    ("videojam, as printed", "videojam", BalancingSettings.thesis()),
)


def main(
    *,
    cameras: Annotated[
        list[int] | None, typer.Option(min=1, help="Numbers of cameras; 2 to 5 when absent.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=20, help="Camera time of a run.")] = 60.0,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each, with other traffic.")] = 3,
) -> None:
    """Compare the balancers."""
    console = Console(width=110)
    for count in cameras or [2, 3, 4, 5]:
        console.print(compare(pipeline(count, seconds=seconds), count, range(seeds)))


def compare(scenario: Scenario, cameras: int, seeds: Sequence[int]) -> Table:
    """One number of cameras."""
    table = Table(title=f"{cameras} cameras, {scenario.seconds:.0f} s, {len(seeds)} runs")
    for name in ("balancer", "mean ms", "x videojam", "p95 ms", "lost %"):
        table.add_column(name, justify="left" if name == "balancer" else "right")
    for name in ("messages/s", "control kB/s", "offloaded MB"):
        table.add_column(name, justify="right")
    results = {
        label: [simulate(scenario, name, seed=seed, settings=settings) for seed in seeds]
        for label, name, settings in _VARIANTS
    }
    ours = mean(results["videojam"], "mean")
    for label, outcomes in results.items():
        table.add_row(
            label,
            f"{1000 * mean(outcomes, 'mean'):.0f}",
            f"{mean(outcomes, 'mean') / ours:.2f}",
            f"{1000 * mean(outcomes, 'p95'):.0f}",
            f"{100 * mean(outcomes, 'loss'):.1f}",
            f"{mean(outcomes, 'messages') / scenario.seconds:.0f}",
            f"{mean(outcomes, 'control_bytes') / scenario.seconds / 1000:.1f}",
            f"{mean(outcomes, 'offloaded_bytes') / 1e6:.0f}",
        )
    return table


def mean(outcomes: Sequence[Outcome], name: str) -> float:
    """Mean of a figure over runs."""
    return float(np.mean([getattr(outcome, name) for outcome in outcomes]))


if __name__ == "__main__":
    run(main)
