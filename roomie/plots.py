"""Plots by matplotlib, which the extra ``plot`` brings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataflow.errors import MissingDependencyError
from roomie.coexecution import Policy
from roomie.pairs import PairReport
from roomie.plans import Prediction


def pyplot() -> Any:
    """`matplotlib.pyplot`, drawing into files only.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: PLC0415 - an extra

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingDependencyError(
            f"plots need matplotlib: {error}\n  remedy: pip install 'videojam[plot]'"
        ) from error
    return plt


def draw_comparison(file: Path, predictions: Mapping[str, Prediction]) -> None:
    """Mean throughput loss and throughput of the placements of some placers."""
    plt = pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    names = list(predictions)
    for axis, title, values in (
        (
            axes[0],
            "mean throughput loss, %",
            [100 * predictions[name].mean_throughput_loss for name in names],
        ),
        (axes[1], "items a second", [predictions[name].throughput for name in names]),
    ):
        bars = axis.barh(names, values, color="#4477aa")
        axis.bar_label(bars, fmt="%.4g", fontsize=8, padding=2)
        axis.invert_yaxis()
        axis.set_title(title, fontsize=9)
        axis.margins(x=0.15)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def draw_pair(file: Path, report: PairReport, policy: Policy) -> None:
    """Kernels of two models over time: alone above and below, together between; delays in red."""
    plt = pyplot()
    spans = report.spans(policy)
    alone, together = (3.0, 0.0), (2.0, 1.0)
    figure, axes = plt.subplots(figsize=(10, 3.2), layout="constrained")
    labels: dict[float, str] = {}
    for model, profile in enumerate(report.profiles):
        table = report.tables[model]
        labels[alone[model]] = f"{profile.variant} alone"
        labels[together[model]] = f"{profile.variant} together"
        ends = table.durations_s.cumsum()
        _bars(
            axes,
            alone[model],
            [(1e3 * (e - d), 1e3 * d) for e, d in zip(ends, table.durations_s, strict=True)],
            ["#88aacc", "#aaccaa"][model],
        )
        own = [span for span in spans if span.model == model]
        _bars(
            axes,
            together[model],
            [(1e3 * s.start_s, 1e3 * (s.end_s - s.start_s)) for s in own],
            [_heat(s.delay_s / (s.end_s - s.start_s) if s.end_s > s.start_s else 0) for s in own],
        )
    axes.set_yticks(list(labels), list(labels.values()), fontsize=8)
    axes.set_xlabel("ms")
    axes.set_title(
        f"{report.profiles[0].device.name}: red is the share of a kernel's time that is delay "
        f"({policy}); kernels interfere in {100 * report.colliding_share:.0f} % of the time",
        fontsize=9,
    )
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _bars(axes: Any, lane: float, spans: list[tuple[float, float]], colour: Any) -> None:
    axes.broken_barh(spans, (lane - 0.4, 0.8), facecolors=colour, edgecolor="white", linewidth=0.2)


def _heat(delayed: float) -> tuple[float, float, float]:
    """From light grey to red."""
    share = min(max(delayed, 0.0), 1.0)
    return 0.85, 0.85 * (1 - share), 0.85 * (1 - share)
