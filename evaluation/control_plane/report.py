"""Tables, figures for other programs, and the plot of the control plane's benchmark."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from evaluation.control_plane.deploying import SPECS, Deployed
from evaluation.control_plane.kills import Killing
from evaluation.control_plane.load import SETTINGS
from evaluation.control_plane.requests import by_second
from evaluation.control_plane.rollbacks import RollingBack
from roomie.plots import pyplot


def deploy_table(deployed: Sequence[Deployed]) -> Table:
    """Median and largest of each time."""
    table = Table(
        "from the event until",
        title=f"{len(SPECS)} models, {sum(s.instances for s in SPECS)} instances: ms",
        title_justify="left",
    )
    for how in ("alone", "together"):
        for what in ("median", "most"):
            table.add_column(f"{how}, {what}", justify="right")
    for label, read in _TIMES.items():
        cells = []
        for together in (False, True):
            values = [1000 * read(d) for d in deployed if d.together is together]
            cells += [f"{statistics.median(values):.0f}", f"{max(values):.0f}"]
        table.add_row(label, *cells)
    return table


_TIMES: dict[str, Callable[[Deployed], float]] = {
    "accepted": lambda d: d.accepted,
    "ready": lambda d: d.ready,
    "first answer to a client": lambda d: d.answered,
    "of it: loaded and verified by Triton": lambda d: d.loading,
    "of it: decided by the controller": lambda d: d.deciding,
    "of it: written by the controller": lambda d: d.writing,
}


def kills_table(killing: Killing) -> Table:
    """A row a kill."""
    table = Table(title="kills under load", title_justify="left")
    table.add_column("killed", no_wrap=True)
    for column in (
        "away s", "after s", "of all s", "requests", "failed", "bound", "slowest s",
        "silence s", "orphans",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for one, served in zip(killing.kills, killing.served, strict=True):
        at = one.convergence.at
        table.add_row(
            one.kind if one.victim is None else f"{one.kind}, {one.victim}",
            f"{one.begun - one.killed:.1f}",
            "never" if at is None else f"{at - one.restarted:.1f}",
            "never" if at is None else f"{at - one.begun:.1f}",
            str(served.sent),
            str(served.failed),
            str(served.bound),
            f"{served.slowest:.1f}",
            f"{served.silence:.1f}",
            str(len(one.convergence.orphans)),
        )
    return table


def rollbacks_table(rolling: RollingBack) -> Table:
    """A row a version."""
    table = Table("version", "outcome", title="versions under load", title_justify="left")
    for column in (
        "after s", "answers of the old", "of it", "failed", "longest without the old s",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for attempt in rolling.attempts:
        table.add_row(
            attempt.behaviour,
            attempt.outcome,
            f"{attempt.ended - attempt.began:.1f}",
            str(attempt.old),
            str(attempt.new),
            str(len(attempt.errors)),
            f"{attempt.silence:.2f}",
        )
    return table


def killing_json(killing: Killing) -> dict[str, Any]:
    """Everything but single requests, which are summed up by second."""
    figures = asdict(killing)
    del figures["requests"]
    figures["seconds"] = [asdict(second) for second in by_second(killing.requests)]
    return figures


def rolling_json(rolling: RollingBack) -> dict[str, Any]:
    """Everything but single requests."""
    return {"attempts": [asdict(attempt) for attempt in rolling.attempts]}


def draw(killing: Killing, file: Path) -> None:
    """What became of requests, and how long they took, over the time when they were due.

    Raises:
        MissingDependencyError: matplotlib is absent.
    """
    plt = pyplot()
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(11, 4.6), sharex=True, layout="constrained", height_ratios=(3, 2)
    )
    seconds = by_second(killing.requests)
    starts = [s.start for s in seconds]
    upper.bar(
        starts, [s.answered for s in seconds], 1.0, align="edge", color="C0", label="answered"
    )
    upper.bar(
        starts,
        [s.failed for s in seconds],
        1.0,
        bottom=[s.answered for s in seconds],
        align="edge",
        color="C3",
        label=f"failed after {SETTINGS.wait:g} s",
    )
    lower.plot([s + 0.5 for s in starts], [s.slowest for s in seconds], linewidth=1.2, color="C0")
    for one in killing.kills:
        end = one.convergence.at if one.convergence.at is not None else one.restarted
        for axes in (upper, lower):
            axes.axvspan(one.killed, one.restarted, color="0.85", linewidth=0, zorder=0)
            axes.axvspan(one.restarted, end, color="C1", alpha=0.25, linewidth=0, zorder=0)
        upper.annotate(
            one.kind,
            (one.killed, 1),
            xytext=(0, 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=8,
            color="0.3",
        )
    upper.set(ylabel="requests a second")
    lower.set(
        xlabel="seconds; grey: dead, orange: until all is as it was asked for", ylabel="slowest, s"
    )
    upper.legend(loc="lower left", fontsize=7, framealpha=1)
    figure.savefig(file, dpi=110)
    plt.close(figure)
