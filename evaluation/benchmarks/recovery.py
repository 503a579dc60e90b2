"""How fast replicas recover: a real Kafka, emulated functions (thesis Fig 3.11 and 3.12).

    python -m evaluation.benchmarks.recovery
    python -m evaluation.benchmarks.recovery --balancers videojam,wrr --plot recovery.png
    python -m evaluation.benchmarks.recovery --balancers videojam --order thesis

One run a balancer. At 20 s a YOLO is killed, at 30 s it comes back with larger pictures and less
than half the speed; at 50 s a node's YOLO and OCR are killed, at 65 s they come back; from 85 s to
100 s one of three cameras is silent. The YOLO dies alone, so its supervisor says goodbye for it, as
that of `videojam up` does; the node's goes with it: these two are missed for the session timeout.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from agents.takeover import Takeover
from evaluation.accounts import End
from evaluation.command import json_option, plot_option, run
from evaluation.kafka import temporary_broker
from evaluation.load import frame_times, names_for_partitions, picture
from evaluation.testbed import Testbed
from evaluation.thesis_case import FPS, YOLO_RATES, declare, installed_balancers, plans
from roomie.plots import pyplot

_DRAIN_SECONDS = 20.0
_PACE = 0.65
"""Of the cameras' usual rate: the replicas that are left, the slow one among them, can bear it."""
_SWING = 0.2
"""Steadier than in `compare`, so that a disturbance is told from a burst."""


class Order(StrEnum):
    """`balancing.order` of topics.yaml."""

    fifo = "fifo"
    thesis = "thesis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """Something that happens to the cluster, and how long it took to recover from it."""

    name: str
    at: float
    seconds: float | None


KILL, REDEPLOY, NODE_AWAY, NODE_BACK, CAMERA_OFF, CAMERA_BACK = 20.0, 30.0, 50.0, 65.0, 85.0, 100.0
_RUN_SECONDS = 120.0
_BASE_SECONDS = 10.0
_BIN = 1.0


def main(
    *,
    balancers: Annotated[
        str, typer.Option(help="Comma-separated, of those that are installed.")
    ] = "videojam,wrr",
    seed: Annotated[int, typer.Option(min=0, help="Of the load.")] = 1,
    session_timeout: Annotated[
        float, typer.Option(min=1, help="Seconds until a dead replica's partitions move.")
    ] = 2.0,
    order: Annotated[
        Order, typer.Option(help="In which waiting items are processed: see topics.yaml.")
    ] = Order.fifo,
    plot: Annotated[
        Path | None, plot_option("Draw response time over time into this file.")
    ] = None,
    json_file: Annotated[Path | None, json_option("Write the series to this file.")] = None,
) -> None:
    """Kill a YOLO, redeploy it slower, take a node away and back, switch a camera off."""
    names = installed_balancers(balancers, "--balancers")
    console = Console()
    series: dict[str, list[tuple[float, float]]] = {}
    table = Table(title="seconds until response time is back within 1.5 x of before")
    table.add_column("balancer")
    for column in ("YOLO killed", "back at 640", "node away", "node back", "camera off", "back"):
        table.add_column(column, justify="right")
    with temporary_broker() as broker, tempfile.TemporaryDirectory() as folder:
        for name in names:
            console.print(f"{name}: {_RUN_SECONDS:.0f} s")
            declared = declare(
                broker.bootstrap_servers, swing=_SWING, policy=name, order=order.value
            )
            declared["cluster"]["session_timeout"] = session_timeout
            ends = _disturbed_run(declared, Path(folder) / name, seed)
            series[name] = binned(ends)
            table.add_row(
                name,
                *(
                    "never" if d.seconds is None else f"{d.seconds:.0f}"
                    for d in disturbances(series[name])
                ),
            )
    console.print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(series), encoding="utf-8")
    if plot is not None:
        draw(series, plot)
        console.print(f"plot: {plot}")


def _disturbed_run(declared: Mapping[str, Any], folder: Path, seed: int) -> list[End]:
    with Testbed(declared, plans(), folder) as bed:
        data = picture(160, 96)
        for number, camera in enumerate(names_for_partitions([0, 1, 2], len(YOLO_RATES))):
            times = frame_times(_RUN_SECONDS, _PACE * FPS, np.random.default_rng([seed, number]))
            if number == 2:
                times = [t for t in times if not CAMERA_OFF <= t < CAMERA_BACK]
            bed.camera(camera, times, data)
        _sleep_until(bed, KILL)
        bed.kill("yolo-1")
        Takeover(bed.config).hasten("yolo")
        _sleep_until(bed, REDEPLOY)
        bed.start("yolo-1", speed=0.75 * (416 / 640) ** 2)  # 640 instead of 416 pixels a side
        _sleep_until(bed, NODE_AWAY)
        for replica in ("yolo-2", "ocr-2"):
            bed.kill(replica)
        _sleep_until(bed, NODE_BACK)
        for replica in ("yolo-2", "ocr-2"):
            bed.start(replica)
        _sleep_until(bed, _RUN_SECONDS)
        bed.drain(_DRAIN_SECONDS)
        return list(bed.ends.values())


def _sleep_until(bed: Testbed, moment: float) -> None:
    time.sleep(max(0.0, moment - bed.now))


def binned(ends: Sequence[End]) -> list[tuple[float, float]]:
    """Mean response of each second's frames: (start of the second, seconds)."""
    bins: dict[int, list[float]] = {}
    for end in ends:
        if end.captured >= 0:
            bins.setdefault(int(end.captured / _BIN), []).append(end.response)
    return [(second * _BIN, statistics.mean(values)) for second, values in sorted(bins.items())]


def disturbances(series: Sequence[tuple[float, float]]) -> list[Disturbance]:
    """How long each disturbance lasted, by the frames that were captured after it."""
    moments = {
        "YOLO killed": KILL,
        "YOLO back at 640": REDEPLOY,
        "node away": NODE_AWAY,
        "node back": NODE_BACK,
        "camera off": CAMERA_OFF,
        "camera back": CAMERA_BACK,
    }
    before = {
        "YOLO killed": KILL,
        "YOLO back at 640": KILL,
        "node away": NODE_AWAY,
        "node back": NODE_AWAY,
        "camera off": CAMERA_OFF,
        "camera back": CAMERA_OFF,
    }
    ordered = [*sorted(set(moments.values())), _RUN_SECONDS]
    found = []
    for name, at in moments.items():
        base = [r for t, r in series if before[name] - _BASE_SECONDS <= t < before[name]]
        until = ordered[ordered.index(at) + 1] - _BIN  # the last frames meet what comes next
        after = [(t, r) for t, r in series if at <= t < until]
        limit = 1.5 * statistics.mean(base) if base else 0.0
        late = [t for t, r in after if r > limit]
        lasted: float | None = max(late) + _BIN - at if late else 0.0
        if late and after and max(late) >= after[-1][0]:
            lasted = None  # still above the limit when the next disturbance came
        found.append(Disturbance(name=name, at=at, seconds=lasted))
    return found


def draw(series: Mapping[str, Sequence[tuple[float, float]]], file: Path) -> None:
    """Response time over time.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(9, 3.5), layout="constrained")
    for name, points in series.items():
        axes.plot([t for t, _ in points], [1000 * r for _, r in points], label=name, linewidth=1.2)
    marks = ((KILL, "YOLO killed"), (REDEPLOY, "back at 640"), (NODE_AWAY, "node away"))
    for at, what in (*marks, (NODE_BACK, "node back"), (CAMERA_OFF, "camera off")):
        axes.axvline(at, color="0.6", linewidth=0.8, linestyle=":")
        axes.annotate(
            what,
            (at, 1),
            xycoords=("data", "axes fraction"),
            rotation=90,
            fontsize=7,
            ha="right",
            va="top",
            color="0.4",
        )
    axes.axvline(CAMERA_BACK, color="0.6", linewidth=0.8, linestyle=":")
    axes.set(xlabel="seconds", ylabel="response, ms", yscale="log")
    axes.legend(loc="upper left", fontsize=8)
    figure.savefig(file, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    run(main)
