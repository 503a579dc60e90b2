"""Placers with their autoscalers under the same requests (thesis Fig 4.2 to 4.5, scaled).

    python -m evaluation.benchmarks.serving
    python -m evaluation.benchmarks.serving --figure 4.4 --loads 0.4,0.6 --seeds 3
    python -m evaluation.benchmarks.serving --policy roomie --policy infaas --seconds 300
    python -m evaluation.benchmarks.serving --speed 30 --forecaster mixture
    python -m evaluation.benchmarks.serving --controller direct
    python -m evaluation.benchmarks.serving --seconds 120 --seeds 3 --plot docs/serving.png

12 GPUs are emulated; what decides is the controller's core of production, with Kafka and worker
agents played, or (--controller direct) its placer and autoscaler alone. Requests follow the Twitter
trace (Poisson inside each second) or Gaussian rates, models a Zipf law in an order that is drawn;
all policies see the same ones. A batch takes its profile's time, stretched by what computes on
the GPU at the same time (evaluation/serving/sharing.py says how). Load 1 is what the GPUs would
serve if each ran one full batch after the other: which models are popular makes a rate light or
heavy. Runs begin with one instance a model. No profile was measured on a GPU: figures show how
policies compare on these profiles, and not what a GPU would do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from evaluation.command import json_option, known_names, plot_option, positive_numbers, run
from evaluation.serving.controlled import serve_controlled
from evaluation.serving.direct import serve
from evaluation.serving.figures import (
    FIGURES,
    GPUS,
    INFAAS,
    POLICIES,
    ROOMIE,
    Demand,
    Results,
    case_of,
    policy_named,
    serve_all,
)
from evaluation.serving.report import as_json, draw, load_table, verdict
from evaluation.serving.traffic import Rates, read_trace, trace_rates
from forecasting.registry import build_forecaster
from roomie.control.forecasts import arrivals_forecast
from roomie.control.scaling_types import ForecastArrivals
from roomie.devices import load_devices
from roomie.profile_files import load_profiles

TRACE = (
    Path(os.environ.get("VIDEOJAM_SHARED_DATA", "../shared/data"))
    / "traces"
    / "twitter_requests_per_second.csv.gz"
)


def main(
    *,
    figure: Annotated[
        list[str] | None, typer.Option(help="Of the thesis: 4.2 to 4.5; all of them when absent.")
    ] = None,
    loads: Annotated[
        str, typer.Option(help="Of all GPUs, were each running one full batch after the other.")
    ] = "0.1,0.3,0.5,0.7",
    policy: Annotated[
        list[str] | None, typer.Option(help=f"Of: {'; '.join(POLICIES)}. All when absent.")
    ] = None,
    seconds: Annotated[int, typer.Option(min=10, help="Of a run; the thesis has 300.")] = 60,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each, with other traffic.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the first run.")] = 0,
    exponent: Annotated[float, typer.Option(min=0, help="Of Zipf's law over the models.")] = 1.0,
    variation: Annotated[
        float, typer.Option(min=0, help="Of Gaussian rates: deviation/mean.")
    ] = 0.2,
    speed: Annotated[int, typer.Option(min=1, help="Seconds of the trace that pass in one.")] = 1,
    controller: Annotated[
        Literal["core", "direct"],
        typer.Option(help="The controller's core, or placer and autoscaler by themselves."),
    ] = "core",
    latency: Annotated[
        float | None, typer.Option(min=1e-3, help="Objective of all models, s.")
    ] = None,
    windows: Annotated[bool, typer.Option(help="Wait for batches as objectives allow.")] = True,
    patience: Annotated[
        float, typer.Option(min=1e-3, help="Seconds until a client gives up.")
    ] = 10.0,
    forecaster: Annotated[
        str, typer.Option(help="Of arrivals, for ROOMIE's scaling: none, or an installed one.")
    ] = "none",
    trace: Annotated[Path, typer.Option(metavar="FILE", help="CSV of second,requests.")] = TRACE,
    json_file: Annotated[Path | None, json_option()] = None,
    plot: Annotated[Path | None, plot_option("Draw all figures into this file.")] = None,
) -> None:
    """Compare policies of placing and scaling over emulated GPUs."""
    chosen = [FIGURES[name] for name in known_names(figure or FIGURES, FIGURES, "--figure")]
    names = known_names(policy or POLICIES, POLICIES, "--policy")
    levels = positive_numbers(loads, "--loads", below=100)
    recorded = None
    if any(each.twitter for each in chosen):
        recorded = _recorded(trace, seconds, speed)
    forecast = _forecast(forecaster)
    policies = [policy_named(name, forecast) for name in names]
    store = load_profiles(["synthetic"], load_devices())
    console = Console(width=190)
    console.print(
        f"{GPUS} emulated GPUs, {seconds} s a run, {seeds} run(s); all profiles are synthetic: "
        "none was measured on a GPU.\nms are of requests answered within "
        f"{patience:g} s; 'with lost' counts the others as {patience:g} s. x: times ROOMIE's.",
        style="bold",
    )
    everything: dict[str, Results] = {}
    for each in chosen:
        case = case_of(each, store, latency_s=latency, windows=windows, patience_s=patience)
        demand = Demand(
            trace=recorded if each.twitter else None,
            seconds=seconds,
            exponent=exponent,
            variation=variation,
            speed=speed,
        )
        with _progress(f"Fig {each.name}", sum(levels) * seeds * len(policies)) as advance:
            results = everything[each.name] = serve_all(
                case,
                policies,
                demand,
                loads=levels,
                seeds=range(seed, seed + seeds),
                play=serve_controlled if controller == "core" else serve,
                advance=advance,
            )
        for load, outcomes in results.items():
            console.print(load_table(each, load, outcomes))
        if ROOMIE in names and INFAAS in names:
            console.print(verdict(each, results))
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(everything), indent=1), encoding="utf-8")
    if plot is not None:
        draw(plot, everything)


@contextmanager
def _progress(label: str, total: float) -> Iterator[Callable[[float, str], None]]:
    """A bar on stderr; a run takes about as long as its load is high."""
    begun = 0.0
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total)

        def advance(load: float, policy: str) -> None:
            nonlocal begun
            description = f"{label}: load {load:g}, {policy}"
            progress.update(task, completed=begun, description=description)
            begun += load

        yield advance
        progress.update(task, completed=total)


def _recorded(file: Path, seconds: int, speed: int) -> Rates:
    """The trace; that it is too short is known before any work."""
    trace = read_trace(file)
    trace_rates(trace, seconds=seconds, mean=1.0, generator=np.random.default_rng(0), speed=speed)
    return trace


def _forecast(name: str) -> Callable[[], ForecastArrivals] | None:
    if name == "none":
        return None
    build_forecaster(name)  # that it cannot be built is known before any work
    return lambda: arrivals_forecast(build_forecaster(name).forecast)


if __name__ == "__main__":
    run(main)
