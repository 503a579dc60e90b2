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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from dataflow.errors import ConfigError
from evaluation.serving.cases import Outcome, Policy, ServingCase
from evaluation.serving.controlled import serve_controlled
from evaluation.serving.direct import serve
from evaluation.serving.hardware import Hardware
from evaluation.serving.traffic import (
    Rates,
    Traffic,
    draw_traffic,
    gaussian_rates,
    popularity,
    read_trace,
    trace_rates,
)
from forecasting.registry import build_forecaster
from roomie.control.forecasts import arrivals_forecast
from roomie.control.scaling_types import ForecastArrivals
from roomie.costs import PairCosts
from roomie.devices import load_devices
from roomie.profile_files import load_profiles
from roomie.profiles import ProfileStore, Variant

ROOMIE = "roomie"
INFAAS = "infaas"
TRACE = (
    Path(os.environ.get("VIDEOJAM_SHARED_DATA", "../shared/data"))
    / "traces"
    / "twitter_requests_per_second.csv.gz"
)
GPUS = 12

POLICIES: dict[str, tuple[str, str]] = {
    ROOMIE: ("roomie", "roomie"),
    INFAAS: ("infaas", "infaas"),
    "usher": ("usher", "infaas"),
    "least-loaded": ("least-loaded", "infaas"),
    "random": ("random", "infaas"),
    "roomie, infaas scaling": ("roomie", "infaas"),
    "infaas, roomie scaling": ("infaas", "roomie"),
    "least-loaded, roomie scaling": ("least-loaded", "roomie"),
}
"""Placer and autoscaler. The thesis' harness scales the other placers as INFaaS."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What a figure of the thesis is about.

    Attributes:
        device: kind of the 12 GPUs.
        models: how many: those with the shortest inference on that kind.
        twitter: whether requests follow the trace; Gaussian rates otherwise.
        claim: how many times faster than INFaaS the thesis says that ROOMIE answers.
    """

    device: str
    models: int
    twitter: bool
    claim: float


FIGURES = {
    "4.2": Figure(device="A100-SXM4-40GB", models=19, twitter=True, claim=17),
    "4.3": Figure(device="A100-SXM4-40GB", models=19, twitter=False, claim=9.2),
    "4.4": Figure(device="AGX-Xavier", models=12, twitter=True, claim=8.3),
    "4.5": Figure(device="AGX-Xavier", models=12, twitter=False, claim=9),
}
LOADS = "0.1,0.3,0.5,0.7"

Results = dict[float, dict[str, list[Outcome]]]
"""Runs by load and policy."""


def main(
    *,
    figure: Annotated[
        list[str] | None, typer.Option(help="Of the thesis: 4.2 to 4.5; all of them when absent.")
    ] = None,
    loads: Annotated[
        str, typer.Option(help="Of all GPUs, were each running one full batch after the other.")
    ] = LOADS,
    policy: Annotated[
        list[str] | None, typer.Option(help=f"Of: {', '.join(POLICIES)}; all when absent.")
    ] = None,
    seconds: Annotated[int, typer.Option(min=10, help="Of a run; the thesis has 300.")] = 60,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each, with other traffic.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the first run.")] = 0,
    exponent: Annotated[float, typer.Option(help="Of Zipf's law over the models.")] = 1.0,
    variation: Annotated[float, typer.Option(help="Of Gaussian rates: deviation/mean.")] = 0.2,
    speed: Annotated[int, typer.Option(min=1, help="Seconds of the trace that pass in one.")] = 1,
    controller: Annotated[
        Literal["core", "direct"],
        typer.Option(help="The controller's core, or placer and autoscaler by themselves."),
    ] = "core",
    latency: Annotated[float | None, typer.Option(help="Objective of all models, s.")] = None,
    windows: Annotated[bool, typer.Option(help="Wait for batches as objectives allow.")] = True,
    patience: Annotated[float, typer.Option(help="Seconds until a client gives up.")] = 10.0,
    forecaster: Annotated[
        str, typer.Option(help="Of arrivals, for ROOMIE's scaling: none, or an installed one.")
    ] = "none",
    trace: Annotated[Path, typer.Option(help="CSV of second,requests.")] = TRACE,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG to write.")] = None,
) -> None:
    """Compare policies of placing and scaling over emulated GPUs."""
    chosen = _known(figure, FIGURES, "--figure")
    names = _known(policy, POLICIES, "--policy")
    store = load_profiles(["synthetic"], load_devices())
    levels = _levels(loads)
    recorded = None
    if any(FIGURES[name].twitter for name in chosen):
        try:
            recorded = read_trace(trace)
        except ConfigError as error:
            raise typer.BadParameter(str(error), param_hint="--trace") from error
    policies = [
        Policy(
            name=name,
            placer=POLICIES[name][0],
            autoscaler=POLICIES[name][1],
            forecast=_forecast(forecaster) if POLICIES[name][1] == ROOMIE else None,
        )
        for name in names
    ]
    console = Console(width=190)
    console.print(
        f"{GPUS} emulated GPUs, {seconds} s a run, {seeds} run(s); all profiles are synthetic: "
        "none was measured on a GPU.\nms are of requests answered within "
        f"{patience:g} s; 'with lost' counts the others as {patience:g} s. x: times ROOMIE's.",
        style="bold",
    )
    everything: dict[str, Results] = {}
    for name in chosen:
        case = _case(store, FIGURES[name], latency=latency, windows=windows, patience=patience)

        def traffic(
            load: float, number: int, figure: Figure = FIGURES[name], case: ServingCase = case
        ) -> Traffic:
            generator = np.random.default_rng((number, 42))
            shares = popularity(len(case.models), exponent, generator)
            rate = load * GPUS / float(shares @ _seconds_each(case))
            drawn: Rates
            if figure.twitter and recorded is not None:
                drawn = trace_rates(
                    recorded, seconds=seconds, mean=rate, generator=generator, speed=speed
                )
            else:
                drawn = gaussian_rates(
                    seconds=seconds, mean=rate, variation=variation, generator=generator
                )
            return draw_traffic(drawn, shares, generator)

        everything[name] = _run(
            f"Fig {name}",
            case,
            policies,
            loads=levels,
            seeds=range(seed, seed + seeds),
            traffic=traffic,
            play=serve_controlled if controller == "core" else serve,
        )
        for load, outcomes in everything[name].items():
            console.print(_table(name, load, outcomes))
        if ROOMIE in names and INFAAS in names:
            console.print(_verdict(name, everything[name]))
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(_as_json(everything), indent=1))
    if plot is not None:
        _draw(plot, everything)


def _known(asked: Sequence[str] | None, known: dict[str, Any], option: str) -> list[str]:
    unknown = [name for name in asked or () if name not in known]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(known)}", param_hint=option)
    return list(dict.fromkeys(asked or known))


def _levels(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 < load < 100 for load in found):
        raise typer.BadParameter(
            f"{text!r}: numbers above 0 are expected (1: all GPUs busy), with commas between",
            param_hint="--loads",
        )
    return found


def _forecast(name: str) -> Callable[[], ForecastArrivals] | None:
    if name == "none":
        return None
    return lambda: arrivals_forecast(build_forecaster(name).forecast)


def _case(
    store: ProfileStore, figure: Figure, *, latency: float | None, windows: bool, patience: float
) -> ServingCase:
    device = load_devices().device(figure.device)

    def alone(model: str) -> float:
        profile = store.find(Variant(model, 1), device)
        return profile.inference_time_s if profile is not None else float("inf")

    models = tuple(sorted(store.models, key=alone)[: figure.models])
    return ServingCase(
        models=models,
        gpus=GPUS,
        hardware=Hardware(store, device, models),
        costs=PairCosts(store),
        most=GPUS,
        patience_s=patience,
        latency_s=latency,
        windows=windows,
    )


def _seconds_each(case: ServingCase) -> NDArray[np.float64]:
    """GPU seconds that a request of each model takes in its most efficient batch, alone."""
    return np.array(
        [
            min(seconds / count for count, seconds in enumerate(timing.seconds) if count)
            for timing in (case.hardware.timings[model] for model in case.models)
        ]
    )


def _run(
    label: str,
    case: ServingCase,
    policies: Sequence[Policy],
    *,
    loads: Sequence[float],
    seeds: Sequence[int],
    traffic: Callable[[float, int], Traffic],
    play: Callable[..., Outcome],
) -> Results:
    results: Results = {load: {policy.name: [] for policy in policies} for load in loads}
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=sum(loads) * len(seeds) * len(policies))
        for load in loads:
            for number in seeds:
                requests = traffic(load, number)
                for policy in policies:
                    progress.update(task, description=f"{label}: load {load:g}, {policy.name}")
                    results[load][policy.name].append(play(case, policy, requests, seed=number))
                    progress.advance(task, load)
    return results


# -- what came of it ----------------------------------------------------------------------------

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
    """Means over runs of each figure."""
    return {
        name: float(np.mean([read(outcome) for outcome in outcomes]))
        for name, read in _MEASURES.items()
    }


def _table(figure: str, load: float, results: dict[str, list[Outcome]]) -> Table:
    kind = FIGURES[figure]
    rate = summary(next(iter(results.values())))["requests_per_s"]
    table = Table(
        title=f"Fig {figure}: {kind.device}, {kind.models} models, "
        f"{'Twitter' if kind.twitter else 'Gaussian'}, load {load:g} ({rate:.0f} requests/s)",
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


def _verdict(figure: str, results: Results) -> str:
    """What the thesis says of a figure, and what came out here."""
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
        f"Fig {figure}: the thesis has up to {FIGURES[figure].claim:g} times INFaaS' speed; here "
        f"up to {answered:.1f} times ({with_lost:.1f} with lost), at load {load:g}, where "
        f"{ours_done:.1f} % are processed and {theirs_done:.1f} % by INFaaS\n"
    )


def _as_json(everything: dict[str, Results]) -> dict[str, Any]:
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


def _draw(file: Path, everything: dict[str, Results]) -> None:
    """A row a figure: response time, processing rate, throughput, GPU use over the load."""
    from roomie.plots import pyplot  # noqa: PLC0415 - needs an extra

    plt: Any = pyplot()
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
        kind = FIGURES[name]
        for axes, (key, label) in zip(row, columns.items(), strict=True):
            for policy in next(iter(results.values())):
                values = [summary(outcomes[policy])[key] for outcomes in results.values()]
                style = "-" if policy == ROOMIE else "--" if "scaling" in policy else "-."
                axes.plot(list(results), values, style, marker=".", label=policy)
            axes.set_ylabel(label, fontsize=8)
            axes.tick_params(labelsize=7)
            axes.grid(visible=True, alpha=0.3)
        row[0].set_yscale("log")
        row[0].set_title(
            f"Fig {name}: 12 {kind.device}, {kind.models} models, "
            f"{'Twitter' if kind.twitter else 'Gaussian'} (synthetic profiles)",
            fontsize=8,
            loc="left",
        )
        for axes in row:
            axes.set_xlabel("load", fontsize=8)
    grid[0][-1].legend(fontsize=7)
    figure.savefig(file, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    typer.run(main)
