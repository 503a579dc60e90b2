"""ROOMIE's control plane as it runs: deployed by events, killed under load, given bad versions.

A real Kafka, real `videojam controller` and `videojam node` processes, four real Triton servers on
this machine's processor, as four GPUs of declared sizes, and requests through `InstanceClient`.

Exits with 1, and says why, when something that has to hold does not: an acknowledged order is lost
or has two outcomes, an instance is orphaned, a request fails that could have been answered, a site
has not converged in time after the last restart, an old version stops serving.
"""

from __future__ import annotations

import json
import logging
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.table import Table

from dataflow.broker.paths import cache_home
from dataflow.errors import VideojamError
from evaluation.control_plane.deploying import SPECS, Deployed, Deploying, deploy
from evaluation.control_plane.kills import KINDS, Killing, Kind, Plan, kill
from evaluation.control_plane.load import SETTINGS
from evaluation.control_plane.requests import by_second
from evaluation.control_plane.rollbacks import RollingBack, roll_back
from evaluation.control_plane.site import GPUS, Site
from evaluation.control_plane.watching import Watch
from roomie.triton.install import ensure_installed

_EXAMPLES = """
\b
Examples:
  python -m evaluation.benchmarks.control_plane all --json figures.json --plot kills.png
  python -m evaluation.benchmarks.control_plane deploy --rounds 5
  python -m evaluation.benchmarks.control_plane kills --kinds broker,everything --rounds 3
  python -m evaluation.benchmarks.control_plane rollbacks --rate 40
"""

app = typer.Typer(help=__doc__ + _EXAMPLES, no_args_is_help=True, rich_markup_mode=None)

_out = Console(width=110, highlight=False)
_progress = Console(stderr=True, highlight=False)

JsonOption = Annotated[Path | None, typer.Option("--json", help="File to write all figures to.")]
PlotOption = Annotated[
    Path | None, typer.Option(help="PNG of requests over time, with the kills, to write.")
]
RoundsOption = Annotated[int, typer.Option(min=1, help="How often everything is done.")]
RateOption = Annotated[float, typer.Option(min=0.1, help="Requests a second to each model.")]
KindsOption = Annotated[str, typer.Option(help="What is killed, in this order.")]
AwayOption = Annotated[
    float, typer.Option(min=0.0, help="Seconds for which what was killed is away.")
]
LimitOption = Annotated[
    float, typer.Option(min=0.1, help="Seconds from the last restart to converge within.")
]
SeedOption = Annotated[int, typer.Option(help="Of the choice of victims.")]
FolderOption = Annotated[
    Path | None,
    typer.Option(help="Keep data and logs below this folder, instead of deleting them."),
]
_KINDS = ",".join(KINDS)


@app.command("deploy")
def deploy_command(
    *, rounds: RoundsOption = 3, json_file: JsonOption = None, folder: FolderOption = None
) -> None:
    """From an empty cluster to six models that serve, by events, and who takes the time."""
    with _ending():
        deploying = _deploy(rounds, folder)
        _finish({"deploy": asdict(deploying)}, deploying.faults, json_file)


@app.command("kills")
def kills_command(
    *,
    kinds: KindsOption = _KINDS,
    rounds: RoundsOption = 1,
    rate: RateOption = 8.0,
    away: AwayOption = 3.0,
    limit: LimitOption = 10.0,
    seed: SeedOption = 1,
    json_file: JsonOption = None,
    plot: PlotOption = None,
    folder: FolderOption = None,
) -> None:
    """Kill controller, worker agent, Triton, node and broker under load, in turn and together."""
    chosen = _chosen(kinds)
    plan = Plan(kinds=chosen, rounds=rounds, rate=rate, away=away, limit=limit, seed=seed)
    with _ending():
        killing = _kill(plan, folder)
        if plot is not None:
            draw(killing, plot)
        _finish({"kills": _killing_json(killing)}, killing.faults(), json_file)


@app.command("rollbacks")
def rollbacks_command(
    *, rate: RateOption = 30.0, json_file: JsonOption = None, folder: FolderOption = None
) -> None:
    """Bring in versions that fail to load, err or are slow, and a good one, under load."""
    with _ending():
        rolling = _roll_back(rate, folder)
        _finish({"rollbacks": _rolling_json(rolling)}, rolling.faults(), json_file)


@app.command("all")
def all_command(
    *,
    rounds: RoundsOption = 1,
    rate: RateOption = 8.0,
    seed: SeedOption = 1,
    json_file: JsonOption = None,
    plot: PlotOption = None,
    folder: FolderOption = None,
) -> None:
    """All three, each on a site of its own."""
    with _ending():
        deploying = _deploy(rounds, folder)
        killing = _kill(Plan(rounds=rounds, rate=rate, seed=seed), folder)
        if plot is not None:
            draw(killing, plot)
        rolling = _roll_back(30.0, folder)
        _finish(
            {
                "deploy": asdict(deploying),
                "kills": _killing_json(killing),
                "rollbacks": _rolling_json(rolling),
            },
            [*deploying.faults, *killing.faults(), *rolling.faults()],
            json_file,
        )


# -- running --------------------------------------------------------------------------------------


def _chosen(text: str) -> tuple[Kind, ...]:
    words = [word.strip() for word in text.split(",")]
    known: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
    for word in words:
        if word not in known:
            raise typer.BadParameter(
                f"{word!r} is none of {', '.join(known)}", param_hint="--kinds"
            )
    return tuple(known[word] for word in words)


@dataclass(frozen=True)
class _Run:
    """A site that is complete, and what belongs to it."""

    site: Site
    watch: Watch
    clock: Callable[[], float]
    say: Callable[[str], None]


@contextmanager
def _running(what: str, kept: Path | None) -> Iterator[_Run]:
    began = time.monotonic()

    def clock() -> float:
        return time.monotonic() - began

    def say(text: str) -> None:
        _progress.print(f"{clock():6.1f} s  {what}: {text}", soft_wrap=True)

    ensure_installed(cache_home(), report=lambda step: say(step.message))
    say(f"starting Kafka, a controller and {len(GPUS)} workers")
    with (
        _folder(what, kept) as folder,
        Site(folder, clock=clock) as site,
        Watch(site, clock=clock) as watch,
    ):
        watch.until_complete()
        yield _Run(site, watch, clock, say)
        say("ending everything")


@contextmanager
def _folder(what: str, kept: Path | None) -> Iterator[Path]:
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="videojam-control-plane-") as folder:
            yield Path(folder)
        return
    folder_kept = kept.absolute() / what
    if folder_kept.exists():
        raise RuntimeError(f"{folder_kept} is there already\n  remedy: --folder names a new one")
    yield folder_kept


def _deploy(rounds: int, folder: Path | None) -> Deploying:
    with _running("deploy", folder) as run:
        found = deploy(run.site, run.watch, rounds=rounds, say=run.say)
    _out.print(deploy_table(found.deployed))
    return found


def _kill(plan: Plan, folder: Path | None) -> Killing:
    with _running("kills", folder) as run:
        found = kill(run.site, run.watch, plan, clock=run.clock, say=run.say)
    _out.print(kills_table(found))
    failed = sum(request.failed for request in found.requests)
    _out.print(
        f"{len(found.requests)} requests, {failed} failed; {found.orders} orders acknowledged, "
        f"{len(found.promises)} not kept"
    )
    return found


def _roll_back(rate: float, folder: Path | None) -> RollingBack:
    with _running("rollbacks", folder) as run:
        found = roll_back(run.site, run.watch, rate=rate, clock=run.clock, say=run.say)
    _out.print(rollbacks_table(found))
    for attempt in found.attempts:
        _out.print(f"{attempt.behaviour}: {attempt.reason}", soft_wrap=True)
    return found


@contextmanager
def _ending() -> Iterator[None]:
    """Being told to end is as Ctrl-C, so that everything that was started is ended.

    Whatever cannot be started is said in a sentence.
    """
    # Connections to what was killed are lost: that is what this is about.
    logging.getLogger("videojam").setLevel(logging.CRITICAL)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except (RuntimeError, OSError, VideojamError) as error:
        _progress.print(f"[red]{error}[/red]", soft_wrap=True)
        raise typer.Exit(1) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def _finish(figures: dict[str, Any], faults: Sequence[str], json_file: Path | None) -> None:
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps({**figures, "faults": list(faults)}, indent=1))
    for fault in faults:
        _progress.print(f"FAULT: {fault}", style="red", markup=False, soft_wrap=True)
    if faults:
        raise typer.Exit(1)
    _progress.print("everything that has to hold did")


# -- what came of it ------------------------------------------------------------------------------


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
    table = Table("killed", title="kills under load", title_justify="left")
    for column in (
        "away s", "converged s", "of all restarts s", "requests", "failed", "may fail",
        "slowest answer s", "silence s", "orphans",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for one, served in zip(killing.kills, killing.served, strict=True):
        at = one.convergence.at
        table.add_row(
            one.kind if one.victim is None else f"{one.kind} of {one.victim}",
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


def _killing_json(killing: Killing) -> dict[str, Any]:
    figures = asdict(killing)
    del figures["requests"]
    figures["seconds"] = [asdict(second) for second in by_second(killing.requests)]
    return figures


def _rolling_json(rolling: RollingBack) -> dict[str, Any]:
    return {"attempts": [asdict(attempt) for attempt in rolling.attempts]}


def draw(killing: Killing, file: Path) -> None:
    """What became of requests, and how long they took, over the time when they were due.

    Raises:
        MissingDependencyError: matplotlib is absent.
    """
    from roomie.plots import pyplot  # noqa: PLC0415 - needs an extra

    plt: Any = pyplot()
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


if __name__ == "__main__":
    app()
