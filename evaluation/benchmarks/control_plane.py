"""ROOMIE's control plane as it runs: deployed by events, killed under load, given bad versions.

    python -m evaluation.benchmarks.control_plane everything --json figures.json --plot kills.png
    python -m evaluation.benchmarks.control_plane deploy --rounds 5
    python -m evaluation.benchmarks.control_plane kills --kinds broker,everything --rounds 3
    python -m evaluation.benchmarks.control_plane kills --folder kept --plot kills.png
    python -m evaluation.benchmarks.control_plane rollbacks --rate 40

A real Kafka, real `videojam controller` and `videojam node` processes, four real Triton servers on
this machine's processor, as four GPUs of declared sizes, and requests through `InstanceClient`.

Exits with 1, and says why, when something that has to hold does not: an acknowledged order is lost
or has two outcomes, an instance is orphaned, a request fails that could have been answered, a site
has not converged in time after the last restart, an old version stops serving. Converged is: what
was asked for is placed; what is placed is loaded and ready by each server's own repository index,
and answers; nothing runs that no placement names; every worker has reported again.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console

from dataflow.broker.paths import cache_home
from dataflow.errors import ConfigError
from evaluation.command import json_option, known_names, plot_option, run
from evaluation.control_plane.deploying import Deploying, deploy_by_events
from evaluation.control_plane.kills import KINDS, Killing, Kind, Plan, kill
from evaluation.control_plane.report import (
    deploy_table,
    draw,
    killing_json,
    kills_table,
    rollbacks_table,
    rolling_json,
)
from evaluation.control_plane.rollbacks import RATE, RollingBack, roll_back
from evaluation.control_plane.site import GPUS, Site
from evaluation.control_plane.watching import Watch
from roomie.triton.install import ensure_installed

_PLAN = Plan()
_out = Console(width=110, highlight=False)
_progress = Console(stderr=True, highlight=False)

JsonOption = Annotated[Path | None, json_option()]
PlotOption = Annotated[Path | None, plot_option("Draw requests over time, with the kills.")]
RoundsOption = Annotated[int, typer.Option(min=1, help="How often everything is done.")]
RateOption = Annotated[float, typer.Option(min=0.1, help="Requests a second to each model.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Of the choice of victims.")]
FolderOption = Annotated[
    Path | None,
    typer.Option(help="Keep data and logs below this folder, instead of deleting them."),
]


def deploy(
    *, rounds: RoundsOption = 3, json_file: JsonOption = None, folder: FolderOption = None
) -> None:
    """From an empty cluster to six models that serve, by events, and who takes the time."""
    deploying = _deploy(rounds, folder)
    _finish({"deploy": asdict(deploying)}, deploying.faults, json_file)


def kills(
    *,
    kinds: Annotated[
        str, typer.Option(help="What is killed, in this order, with commas between.")
    ] = ",".join(KINDS),
    rounds: RoundsOption = _PLAN.rounds,
    rate: RateOption = _PLAN.rate,
    away: Annotated[
        float, typer.Option(min=0.0, help="Seconds for which what was killed is away.")
    ] = _PLAN.away,
    limit: Annotated[
        float, typer.Option(min=0.1, help="Seconds from the last restart to converge within.")
    ] = _PLAN.limit,
    seed: SeedOption = _PLAN.seed,
    json_file: JsonOption = None,
    plot: PlotOption = None,
    folder: FolderOption = None,
) -> None:
    """Kill controller, worker agent, Triton, node and broker under load, in turn and together."""
    chosen = tuple(cast("Kind", kind) for kind in known_names(kinds.split(","), KINDS, "--kinds"))
    plan = Plan(kinds=chosen, rounds=rounds, rate=rate, away=away, limit=limit, seed=seed)
    killing = _kill(plan, folder, plot)
    _finish({"kills": killing_json(killing)}, killing.faults(), json_file)


def rollbacks(
    *, rate: RateOption = RATE, json_file: JsonOption = None, folder: FolderOption = None
) -> None:
    """Bring in versions that fail to load, err or are slow, and a good one, under load."""
    rolling = _roll_back(rate, folder)
    _finish({"rollbacks": rolling_json(rolling)}, rolling.faults(), json_file)


def everything(
    *,
    rounds: RoundsOption = _PLAN.rounds,
    seed: SeedOption = _PLAN.seed,
    json_file: JsonOption = None,
    plot: PlotOption = None,
    folder: FolderOption = None,
) -> None:
    """All three, each on a site of its own."""
    deploying = _deploy(rounds, folder)
    killing = _kill(Plan(rounds=rounds, seed=seed), folder, plot)
    rolling = _roll_back(RATE, folder)
    _finish(
        {
            "deploy": asdict(deploying),
            "kills": killing_json(killing),
            "rollbacks": rolling_json(rolling),
        },
        [*deploying.faults, *killing.faults(), *rolling.faults()],
        json_file,
    )


@dataclass(frozen=True)
class _Run:
    """A site that is complete, and what belongs to it."""

    site: Site
    watch: Watch
    clock: Callable[[], float]
    say: Callable[[str], None]


@contextmanager
def _running(what: str, kept: Path | None) -> Iterator[_Run]:
    # Connections to what was killed are lost: that is what this is about.
    logging.getLogger("videojam").setLevel(logging.CRITICAL)
    began = time.monotonic()

    def clock() -> float:
        return time.monotonic() - began

    def say(text: str) -> None:
        _progress.print(f"{clock():6.1f} s  {what}: {text}", soft_wrap=True, markup=False)

    ensure_installed(cache_home(), report=lambda step: say(step.message))
    with _folder(what, kept) as folder:
        say(f"starting Kafka, a controller and {len(GPUS)} workers")
        with Site(folder, clock=clock) as site, Watch(site, clock=clock) as watch:
            watch.until_complete()
            yield _Run(site, watch, clock, say)
            say("ending everything")


@contextmanager
def _folder(what: str, kept: Path | None) -> Iterator[Path]:
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="videojam-control-plane-") as folder:
            yield Path(folder)
        return
    made = kept.absolute() / what
    if made.exists():
        raise ConfigError(
            "it is there already", key="--folder", value=str(made), remedy="name a new one"
        )
    yield made


def _deploy(rounds: int, folder: Path | None) -> Deploying:
    with _running("deploy", folder) as running:
        found = deploy_by_events(running.site, running.watch, rounds=rounds, say=running.say)
    _out.print(deploy_table(found.deployed))
    return found


def _kill(plan: Plan, folder: Path | None, plot: Path | None) -> Killing:
    with _running("kills", folder) as running:
        found = kill(running.site, running.watch, plan, clock=running.clock, say=running.say)
    _out.print(kills_table(found))
    failed = sum(request.failed for request in found.requests)
    _out.print(
        f"{len(found.requests)} requests, {failed} failed; {found.orders} orders acknowledged, "
        f"{len(found.promises)} not kept"
    )
    if plot is not None:
        draw(found, plot)
    return found


def _roll_back(rate: float, folder: Path | None) -> RollingBack:
    with _running("rollbacks", folder) as running:
        found = roll_back(
            running.site, running.watch, rate=rate, clock=running.clock, say=running.say
        )
    _out.print(rollbacks_table(found))
    for attempt in found.attempts:
        _out.print(f"{attempt.behaviour}: {attempt.reason}", soft_wrap=True, markup=False)
    return found


def _finish(figures: dict[str, Any], faults: Sequence[str], json_file: Path | None) -> None:
    if json_file is not None:
        json_file.write_text(json.dumps({**figures, "faults": list(faults)}, indent=1))
    for fault in faults:
        _progress.print(f"does not hold: {fault}", style="red", markup=False, soft_wrap=True)
    if faults:
        raise typer.Exit(1)
    _progress.print("everything that has to hold did")


if __name__ == "__main__":
    run(deploy, kills, rollbacks, everything)
