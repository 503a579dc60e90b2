"""Distance from the optimum, and how often ROOMIE beats other placers (thesis Fig 4.6).

    python -m evaluation.benchmarks.placement --trials 1500 --plot docs/roomie-placement.png
    python -m evaluation.benchmarks.placement --trials 150 --seed 150 --json out/150.json
    python -m evaluation.benchmarks.placement --trials 0 --add out/0.json --add out/150.json

A trial draws 6 to 8 GPUs and two to three instances a GPU of the 19 models of thesis Table 4.2.
All placers get the same requests; all must place everything. What counts is the mean throughput
loss of all instances under ``--truth``: the event-driven co-execution (of pairs, summed as in
Eq 4.12), or the predictor itself. ROOMIE never sees the truth, the optimum minimises it.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import typer
from pydantic import BaseModel, ValidationError, model_validator
from rich.console import Console
from rich.progress import track
from rich.table import Table

from dataflow.errors import ConfigError
from evaluation.benchmarks.reference_pairs import reference_costs, reference_pairs
from evaluation.command import json_option, plot_option, run, whole_numbers
from evaluation.errors import MeasurementError
from evaluation.profiles import synthetic_profiles
from roomie.cluster import ClusterState, Gpu, Request
from roomie.costs import PairCosts
from roomie.devices import Device, load_devices
from roomie.interference import PRINTED
from roomie.placers.base import Placer
from roomie.placers.optimum import OptimumPlacer, OptimumSettings
from roomie.placers.roomie import RoomiePlacer, RoomieSettings
from roomie.placers.simple import InfaasPlacer, LeastLoadedPlacer, RandomPlacer
from roomie.placers.usher import UsherPlacer
from roomie.plans import predict
from roomie.plots import pyplot
from roomie.profiles import ProfileStore, Variant

OPTIMUM = "optimum"
ROOMIE = "roomie"
EQUAL = 1e-9
"""Losses that differ by less are a tie."""

# All must be placed: no lambda.
_ALL = RoomieSettings(limit=1.0)
_GREEDY = RoomieSettings(limit=1.0, search=None)
_ALGORITHM_3 = RoomieSettings(limit=1.0, search=None, criterion="gpu-mean")


def main(
    *,
    trials: Annotated[int, typer.Option(min=0, help="Drawn clusters.")] = 1500,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the first trial; each has one of its own.")
    ] = 0,
    batches: Annotated[str, typer.Option(help="Batch sizes that instances draw from.")] = "1,8",
    device: Annotated[str, typer.Option(help="Kind of all GPUs.")] = "A100-SXM4-40GB",
    truth: Annotated[
        Literal["proportional", "equal", "first-come", "prediction"],
        typer.Option(help="What interference is: a policy of the co-execution, or the predictor."),
    ] = "proportional",
    time_limit: Annotated[float, typer.Option(min=0.1, help="Seconds of an exact search.")] = 10.0,
    gap: Annotated[float, typer.Option(min=0, help="Relative gap at which it stops.")] = 1e-3,
    most_together: Annotated[int, typer.Option(min=1, help="Instances a GPU in the optimum.")] = 4,
    cache: Annotated[
        Path, typer.Option(metavar="FOLDER", file_okay=False, help="Folder of reference pairs.")
    ] = Path("out/roomie"),
    json_file: Annotated[
        Path | None, json_option("Write the trials to this file, for --add.")
    ] = None,
    add: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Trials of other seeds, from --json; --trials 0 sums up such files.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, plot_option("Draw distances from the optimum into this file.")
    ] = None,
) -> None:
    """Compare placers over many drawn clusters."""
    table = load_devices()
    store = synthetic_profiles(table)
    kind = table.device(device)
    sizes = whole_numbers(batches, "--batches")
    variants = _variants(store, kind, sizes)
    settings = {
        "device": device,
        "batches": ",".join(map(str, sizes)),
        "truth": truth,
        "time-limit": f"{time_limit:g}",
        "gap": f"{gap:g}",
        "most-together": str(most_together),
    }
    if not trials and not add:
        raise typer.BadParameter(
            "0 trials are none, unless --add names some", param_hint="--trials"
        )
    predicted = PairCosts(store)
    printed = PairCosts(store, PRINTED)
    true = predicted
    exact = OptimumSettings(most_together=most_together, time_limit_s=time_limit, gap=gap)
    # Called when `true` is worked out, which takes minutes: only after --add has been looked at.
    contenders: dict[str, Callable[[int], Placer]] = {
        OPTIMUM: lambda _: OptimumPlacer(true, exact),
        ROOMIE: lambda _: RoomiePlacer(predicted, _ALL),
        "roomie, greedy only": lambda _: RoomiePlacer(predicted, _GREEDY),
        "Algorithms 2 and 3 as printed": lambda _: RoomiePlacer(printed, _ALGORITHM_3),
        "usher": lambda _: UsherPlacer(predicted),
        "infaas": lambda _: InfaasPlacer(predicted),
        "least-loaded": lambda _: LeastLoadedPlacer(predicted),
        "random": lambda own: RandomPlacer(predicted, own),
    }
    done = Trials.none(contenders, settings)
    for file in add or ():
        done.add_file(file)
    own = range(seed, seed + trials)
    known = sorted(set(own) & set(done.seeds))
    if known:
        raise typer.BadParameter(
            f"trial {known[0]} is among those of --add, and would be counted twice; the next that "
            f"is not: {max(done.seeds) + 1}",
            param_hint="--seed",
        )
    if truth != "prediction" and trials:
        pairs = reference_pairs(store, kind, variants, policy=truth, cache=cache)
        true = reference_costs(store, kind, pairs)
    for trial in track(own, "trials", console=Console(stderr=True)):
        rng = np.random.default_rng((trial, 46))
        count = int(rng.integers(6, 9))
        state = ClusterState([Gpu(id=f"gpu-{i}", node=f"{i}", device=kind) for i in range(count)])
        drawn = rng.choice(len(variants), size=int(rng.integers(2 * count, 3 * count + 1)))
        requests = [
            Request(id=str(i), model=variants[v].model, batch=variants[v].batch)
            for i, v in enumerate(drawn)
        ]
        done.seeds.append(trial)
        for name, make in contenders.items():
            start = time.perf_counter()
            plan = make(trial).place(state, requests)
            done.seconds[name].append(time.perf_counter() - start)
            done.losses[name].append(predict(plan.state, true).mean_throughput_loss)
            if plan.deferred:
                raise MeasurementError(f"{name} deferred requests in trial {trial}")
            if name == OPTIMUM:
                done.unproven += "time limit" in plan.notes[0]
                done.bounds.append(done.losses[name][-1] * (1 - _gap(plan.notes[0])))
    summary = _summarise(done)
    title = (
        f"{done.count} trials, {device}, batch sizes {batches}, truth: {truth}; "
        f"{done.unproven} optima not proven to {gap:g} in {time_limit:g} s"
    )
    _show(title, summary)
    if json_file is not None:
        record = {"title": title, "summary": summary, **done.model_dump()}
        json_file.write_text(json.dumps(record, indent=1), encoding="utf-8")
    if plot is not None:
        _draw(plot, done.losses)


def _variants(store: ProfileStore, kind: Device, sizes: Sequence[int]) -> tuple[Variant, ...]:
    """All models at some batch sizes; that one is not profiled is known before the work."""
    variants = tuple(Variant(model, size) for model in store.models for size in sizes)
    for variant in variants:
        if store.find(variant, kind) is None:
            known = ", ".join(map(str, store.batches(variant.model, kind)))
            raise typer.BadParameter(
                f"{variant.model} has a profile on {kind.name} for the batch sizes {known or '-'} "
                f"only, not for {variant.batch}",
                param_hint="--batches",
            )
    return variants


class Trials(BaseModel):
    """What came of trials, as --json writes it.

    Attributes:
        settings: options that must be the same where trials are added up, by their names.
        seeds: of each trial; none is there twice.
        unproven: optima that were not proven in time.
        bounds: of each trial, below which the optimum cannot be.
        losses: of each placer in each trial.
        seconds: that each took.
    """

    settings: dict[str, str]
    seeds: list[int]
    unproven: int
    bounds: list[float]
    losses: dict[str, list[float]]
    seconds: dict[str, list[float]]

    @classmethod
    def none(cls, placers: Iterable[str], settings: dict[str, str]) -> Self:
        """Before the first trial."""
        names = list(placers)
        return cls(
            settings=settings,
            seeds=[],
            unproven=0,
            bounds=[],
            losses={name: [] for name in names},
            seconds={name: [] for name in names},
        )

    @classmethod
    def read(cls, file: Path) -> Self:
        """From a file that --json wrote.

        Raises:
            ConfigError: it is no such file.
        """
        try:
            return cls.model_validate(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            what = str(error)
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                what = f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip()
            raise ConfigError(
                f"not the figures of trials: {what}", file=file, key="--add",
                remedy="give files that this version of the benchmark has written with --json",
            ) from error  # fmt: skip

    @model_validator(mode="after")
    def _as_many_everywhere(self) -> Self:
        counts = {len(values) for values in (*self.losses.values(), *self.seconds.values())}
        counts |= {len(self.bounds), len(self.seeds)}
        if self.losses.keys() != self.seconds.keys() or len(counts) != 1:
            raise ValueError("losses, seconds, bounds and seeds are not of the same trials")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("a seed is there twice")
        return self

    @property
    def count(self) -> int:
        """How many."""
        return len(self.seeds)

    def add_file(self, file: Path) -> None:
        """Take over the trials of a file that --json wrote.

        Raises:
            ConfigError: it is no such file, of other placers or settings, or has a trial that is
                here already.
        """
        other = self.read(file)
        lacking = [name for name in self.losses if name not in other.losses]
        if lacking:
            raise ConfigError(
                f"there are no trials of {', '.join(lacking)}", file=file, key="--add",
                remedy="measure again: placers have been added since",
            )  # fmt: skip
        for name, value in self.settings.items():
            found = other.settings.get(name)
            if found != value:
                raise ConfigError(
                    f"these trials were run with another --{name} than {value}", file=file,
                    key="--add", value=found,
                    remedy="measure again" if found is None else f"--{name} {found}",
                )  # fmt: skip
        twice = sorted(set(self.seeds) & set(other.seeds))
        if twice:
            raise ConfigError(
                f"{len(twice)} of its trials are among those added before, and would be counted "
                f"twice; the first: {twice[0]}",
                file=file, key="--add", remedy="leave one of the files out",
            )  # fmt: skip
        self.seeds += other.seeds
        self.unproven += other.unproven
        self.bounds += other.bounds
        for name in self.losses:
            self.losses[name] += other.losses[name]
            self.seconds[name] += other.seconds[name]


def _gap(note: str) -> float:
    """Relative gap that the optimum's note states; NaN where the solver had no bound in time."""
    found = re.search(r"relative gap ([0-9.e+-]+|inf),", note)
    if found is None:
        raise ValueError(f"no gap in {note!r}")
    gap = float(found.group(1))
    return gap if math.isfinite(gap) else math.nan


def _summarise(done: Trials) -> dict[str, dict[str, float]]:
    """Figures of each placer over all trials."""
    bound = np.array(done.bounds)
    best = np.array(done.losses[OPTIMUM])
    own = np.array(done.losses[ROOMIE])
    summary = {}
    for name, values in done.losses.items():
        found = np.array(values)
        distance = (found - best) / best
        summary[name] = {
            "mean_loss": float(found.mean()),
            "distance_points": float(100 * (found - best).mean()),
            "distance_percent": float(100 * distance.mean()),
            "bound_percent": float(
                100 * np.nanmean((found - bound) / np.where(bound > 0, bound, np.nan))
            ),
            "distance_percent_95": float(100 * np.quantile(distance, 0.95)),
            "distance_percent_max": float(100 * distance.max()),
            "roomie_better_percent": float(100 * (own < found - EQUAL).mean()),
            "ties_percent": float(100 * (np.abs(own - found) <= EQUAL).mean()),
            "median_ms": 1e3 * statistics.median(done.seconds[name]),
        }
    return summary


def _show(title: str, summary: dict[str, dict[str, float]]) -> None:
    table = Table(title=title)
    table.add_column("placer")
    for column in (
        "mean loss %", "from optimum, points", "from optimum, %", "95th", "worst", "from bound, %",
        "ROOMIE better in %", "ties %", "ms (median)",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for name, row in summary.items():
        table.add_row(
            name,
            f"{100 * row['mean_loss']:.2f}",
            f"{row['distance_points']:.2f}",
            f"{row['distance_percent']:.2f}",
            f"{row['distance_percent_95']:.2f}",
            f"{row['distance_percent_max']:.2f}",
            f"{row['bound_percent']:.2f}",
            "-" if name == ROOMIE else f"{row['roomie_better_percent']:.1f}",
            "-" if name == ROOMIE else f"{row['ties_percent']:.1f}",
            f"{row['median_ms']:.1f}",
        )
    Console(width=200).print(table)


def _draw(file: Path, losses: dict[str, list[float]]) -> None:
    """Distributions of the distance from the optimum."""
    plt = pyplot()
    best = np.array(losses[OPTIMUM])
    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for name, values in losses.items():
        if name != OPTIMUM:
            distance = np.sort(100 * (np.array(values) - best) / best)
            axes.plot(distance, np.linspace(0, 100, len(distance)), label=name)
    axes.set_xscale("symlog", linthresh=0.1)
    axes.set_xlabel("mean throughput loss above the optimum's, %")
    axes.set_ylabel("trials, %")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=7)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    run(main)
