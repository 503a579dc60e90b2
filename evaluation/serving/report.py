"""What came of serving, as tables, as JSON, and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from evaluation.serving.cases import Outcome
from evaluation.serving.figures import FIGURES, GPUS, INFAAS, ROOMIE, Figure, Results
from roomie.plots import pyplot

_MEASURES: dict[str, Callable[[Outcome], float]] = {
    "requests_per_s": lambda o: o.sent / o.seconds,
    "mean_ms": lambda o: 1e3 * o.mean_s,
    "p50_ms": lambda o: 1e3 * o.quantile_s(0.5),
    "p95_ms": lambda o: 1e3 * o.quantile_s(0.95),
    "p99_ms": lambda o: 1e3 * o.quantile_s(0.99),
    "with_lost_ms": lambda o: 1e3 * o.mean_with_lost_s,
    "processed_percent": lambda o: 100 * o.processed,
    "answers_per_s": lambda o: o.throughput,
    "gpu_percent": lambda o: 100 * o.utilisation,
    "instances": lambda o: float(np.mean(o.changes.instances)),
    "ups": lambda o: o.changes.ups,
    "downs": lambda o: o.changes.downs,
    "refused": lambda o: o.changes.refused,
}


def summary(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Means over runs of each measure."""
    return {
        name: float(np.mean([read(outcome) for outcome in outcomes]))
        for name, read in _MEASURES.items()
    }


def load_table(figure: Figure, load: float, results: Mapping[str, Sequence[Outcome]]) -> Table:
    """All policies at one load."""
    rate = summary(next(iter(results.values())))["requests_per_s"]
    table = Table(
        title=f"Fig {figure.name}: {figure.device}, {figure.models} models, "
        f"{_kind(figure)}, load {load:g} ({rate:.0f} requests/s)",
        title_justify="left",
    )
    table.add_column("policy")
    for column in (
        "mean ms", "x", "p50", "p95", "p99", "with lost ms", "x", "processed %", "answers/s",
        "GPU %", "instances", "up", "down", "no room",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    ours = summary(results[ROOMIE]) if ROOMIE in results else None
    for name, outcomes in results.items():
        row = summary(outcomes)

        def times(key: str, row: dict[str, float] = row) -> str:
            return "-" if ours is None or not ours[key] else f"{row[key] / ours[key]:.2f}"

        table.add_row(
            name,
            f"{row['mean_ms']:.1f}",
            times("mean_ms"),
            f"{row['p50_ms']:.1f}",
            f"{row['p95_ms']:.1f}",
            f"{row['p99_ms']:.1f}",
            f"{row['with_lost_ms']:.1f}",
            times("with_lost_ms"),
            f"{row['processed_percent']:.2f}",
            f"{row['answers_per_s']:.0f}",
            f"{row['gpu_percent']:.1f}",
            f"{row['instances']:.1f}",
            f"{row['ups']:.0f}",
            f"{row['downs']:.0f}",
            f"{row['refused']:.0f}",
        )
    return table


def verdict(figure: Figure, results: Results) -> str:
    """What the thesis says of a figure, and what came out here; both policies must have run."""
    ratios = {}
    for load, outcomes in results.items():
        ours, theirs = summary(outcomes[ROOMIE]), summary(outcomes[INFAAS])
        ratios[load] = (
            theirs["mean_ms"] / ours["mean_ms"],
            theirs["with_lost_ms"] / ours["with_lost_ms"],
            ours["processed_percent"],
            theirs["processed_percent"],
        )
    load = max(ratios, key=lambda level: ratios[level][0])
    answered, with_lost, ours_done, theirs_done = ratios[load]
    return (
        f"Fig {figure.name}: the thesis has up to {figure.claim:g} times INFaaS' speed; here "
        f"up to {answered:.1f} times ({with_lost:.1f} with lost), at load {load:g}, where "
        f"{ours_done:.1f} % are processed and {theirs_done:.1f} % by INFaaS\n"
    )


def as_json(everything: Mapping[str, Results]) -> dict[str, Any]:
    """All summaries, by figure, load and policy."""
    return {
        "profiles": "synthetic",
        "figures": {
            name: {
                f"{load:g}": {policy: summary(runs) for policy, runs in outcomes.items()}
                for load, outcomes in results.items()
            }
            for name, results in everything.items()
        },
    }


def draw(file: Path, everything: Mapping[str, Results]) -> None:
    """A row a figure: response time, processing rate, throughput, GPU use over the load.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    plt = pyplot()
    columns = {
        "mean_ms": "response time, ms",
        "processed_percent": "processed, %",
        "answers_per_s": "answers/s",
        "gpu_percent": "GPU in use, %",
    }
    figure, grid = plt.subplots(
        len(everything), len(columns), figsize=(13, 2.6 * len(everything)),
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for row, (name, results) in zip(grid, everything.items(), strict=True):
        for axes, (key, label) in zip(row, columns.items(), strict=True):
            for policy in next(iter(results.values())):
                values = [summary(outcomes[policy])[key] for outcomes in results.values()]
                style = "-" if policy == ROOMIE else "--" if "scaling" in policy else "-."
                axes.plot(list(results), values, style, marker=".", label=policy)
            axes.set_ylabel(label, fontsize=8)
            axes.set_xlabel("load", fontsize=8)
            axes.tick_params(labelsize=7)
            axes.grid(visible=True, alpha=0.3)
        shown = FIGURES[name]
        row[0].set_yscale("log")
        row[0].set_title(
            f"Fig {name}: {GPUS} {shown.device}, {shown.models} models, {_kind(shown)} "
            "(synthetic profiles)",
            fontsize=8,
            loc="left",
        )
    grid[0][-1].legend(fontsize=7)
    figure.savefig(file, dpi=90)
    plt.close(figure)


def _kind(figure: Figure) -> str:
    return "Twitter" if figure.twitter else "Gaussian"
