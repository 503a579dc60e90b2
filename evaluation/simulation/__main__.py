"""Balancers side by side in simulated time.

    python -m evaluation.simulation
    python -m evaluation.simulation --cameras 4 --seeds 5 --recovery

The pipeline of thesis Fig 3.10: mobile cameras at 15 fps, 3 YOLO and 5 OCR replicas on unequal
slices, 1 Gbit/s links of 10 ms, bursty traffic. Every balancer sees the same frames. Response time
is from capture to the end of OCR, for each vehicle. `jsq` sees every queue at no cost; its messages
are those that asking would take. With ``--recovery``, a YOLO dies at 60 s and comes back slower at
80 s (thesis Fig 3.11), replicas become slower, and a camera is off for 15 s (Fig 3.12).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from agents.balancing import BALANCERS, BalancerName, BalancingSettings
from evaluation.simulation.cluster import Group, ReplicaSpec
from evaluation.simulation.scenarios import Outcome, Scenario, pipeline, simulate

_VARIANTS: tuple[tuple[str, BalancerName, BalancingSettings], ...] = (
    *((name, name, BalancingSettings()) for name in BALANCERS if name != "videojam"),
    ("videojam", "videojam", BalancingSettings()),
    ("videojam, as printed", "videojam", BalancingSettings.thesis()),
)


def main(
    *,
    cameras: Annotated[list[int] | None, typer.Option(help="Numbers of cameras.")] = None,
    seconds: Annotated[float, typer.Option(min=20, help="Camera time of a run.")] = 60.0,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each, with other traffic.")] = 3,
    recovery: Annotated[bool, typer.Option(help="Also the failures of Fig 3.11, 3.12.")] = False,
) -> None:
    """Compare the balancers."""
    console = Console(width=110)
    for count in cameras or [2, 3, 4, 5]:
        console.print(compare(pipeline(count, seconds=seconds), count, range(seeds)))
    if recovery:
        console.print(recoveries(range(seeds)))


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


def recoveries(seeds: Sequence[int]) -> Table:
    """Three cameras. Seconds until the response time is back after each fault."""
    faults = {
        "a YOLO dies": (60.0, ((60.0, _kill),)),
        "it comes back slower": (80.0, ((60.0, _kill), (80.0, _revive_slower))),
        "a node's YOLO and OCR slow down": (60.0, ((60.0, _throttle),)),
    }
    table = Table(title="seconds until the response time is within 1.5x of before, median of runs")
    table.add_column("fault")
    for label, _, _ in _VARIANTS:
        table.add_column(label, justify="right")
    base = pipeline(3, seconds=120.0)
    cases = {name: (at, replace(base, faults=events)) for name, (at, events) in faults.items()}
    off = (replace(base.cameras[0], off=(60.0, 75.0)), *base.cameras[1:])
    cases["a camera is off for 15 s"] = (75.0, replace(base, cameras=off))
    for title, (at, scenario) in cases.items():
        cells = []
        for _, name, settings in _VARIANTS:
            times = [
                recovery_seconds(simulate(scenario, name, seed=seed, settings=settings), at)
                for seed in seeds
            ]
            cells.append(f"{np.median(times):.1f}")
        table.add_row(title, *cells)
    return table


def recovery_seconds(outcome: Outcome, at: float, *, before: float = 40.0) -> float:
    """From ``at`` until the mean over each second stays below 1.5 times that before for 3 s.

    Args:
        outcome: of a run.
        at: when the fault was, seconds.
        before: length of the comparison, seconds. Short lulls and bursts would make it arbitrary:
            the 90th percentile of its seconds is the yardstick.

    Returns:
        Infinity if it never is.
    """
    times, responses = outcome.responses[:, 0], outcome.responses[:, 1]
    seconds = np.floor(times).astype(int)
    means = np.full(int(seconds.max()) + 1, np.nan)
    for second in np.unique(seconds):
        means[second] = responses[seconds == second].mean()
    usual = np.nanpercentile(means[int(at - before) : int(at)], 90)
    after = np.nan_to_num(means[int(at) :]) <= 1.5 * usual
    for start in range(len(after) - 2):
        if after[start : start + 3].all():
            return float(start)
    return float("inf")


def _kill(groups: list[Group]) -> None:
    groups[0].kill("yolo-1")


def _revive_slower(groups: list[Group]) -> None:
    groups[0].revive("yolo-1", ReplicaSpec(name="yolo-1", mu=12, jitter=0.1))


def _throttle(groups: list[Group]) -> None:
    for group in groups:
        node = group.nodes[0]
        node.slow_down(node.spec.mu / 2)


if __name__ == "__main__":
    typer.run(main)
