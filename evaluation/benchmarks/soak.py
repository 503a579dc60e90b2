"""Load with random kills, stops and broker restarts, and the account of every frame at the end.

    python -m evaluation.benchmarks.soak --minutes 30
    python -m evaluation.benchmarks.soak --minutes 2 --seed 7 --plot memory.png --json soak.json

Two replicas are never killed, so that their memory and threads can be followed. Exits with 1 when a
frame is unaccounted for, or when a replica that was not killed keeps growing.
"""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

import numpy as np
import psutil
import typer
from rich.console import Console

from dataflow.broker import EmbeddedBroker
from evaluation.accounts import Totals
from evaluation.command import json_option, plot_option, run
from evaluation.kafka import temporary_broker
from evaluation.testbed import ReplicaPlan, Testbed
from evaluation.thesis_case import declare, plans, start_cameras
from roomie.plots import pyplot

Harm: TypeAlias = Literal["kill", "stop", "leave", "broker"]

SPARED = ("yolo-0", "ocr-0")
"""Never killed, nor asked to leave: stops and broker restarts hit them too."""
_ODDS = {"kill": 0.4, "stop": 0.25, "leave": 0.25, "broker": 0.1}
_GROWTH_MB_A_MINUTE = 1.0
"""A replica that grows faster, after its first minutes, leaks."""
_SETTLING_SECONDS = 120.0
"""A process fills its buffers and caches before it stays as large as it is."""
_LEAST_SAMPLES = 10
_LEAVE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A process at one moment.

    Attributes:
        age: seconds since it was started.
        megabytes: resident memory.
        threads: how many.
    """

    age: float
    megabytes: float
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """How a process developed.

    Attributes:
        growth: megabytes a minute, by least squares; None where samples are too few to tell.
        fewest: threads.
        most: threads.
    """

    growth: float | None
    fewest: int
    most: int

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Trend:
        """Of a process that was seen at least once."""
        growth = None
        if len(samples) >= _LEAST_SAMPLES:
            minutes = [sample.age / 60 for sample in samples]
            growth = float(np.polyfit(minutes, [sample.megabytes for sample in samples], 1)[0])
        threads = [sample.threads for sample in samples]
        return cls(growth=growth, fewest=min(threads), most=max(threads))

    @property
    def leaking(self) -> bool:
        """Whether it grows faster than a process may that has filled its caches."""
        return self.growth is not None and self.growth > _GROWTH_MB_A_MINUTE

    def __str__(self) -> str:
        grows = "too young to tell growth"
        if self.growth is not None:
            grows = f"{self.growth:+.2f} MB a minute"
        return f"{grows}, {self.fewest} to {self.most} threads"


@dataclass(slots=True)
class Soaked:
    """What a soak came to.

    Attributes:
        totals: the account of all frames.
        unique: results after identity.
        repeated: results that came again, and were told apart by their identity.
        harms: how often each thing was done.
        samples: of each process that was seen.
    """

    totals: Totals
    unique: int
    repeated: int
    harms: dict[str, int]
    samples: dict[tuple[str, int], list[Sample]] = field(default_factory=dict)

    @property
    def accounted(self) -> bool:
        """Whether produced = processed + dropped + dead."""
        totals = self.totals
        ended = totals.processed + sum(totals.dropped.values()) + totals.dead
        return not totals.open and totals.produced == ended

    def trends(self) -> dict[str, Trend]:
        """Of the spared replicas that are past their first minutes."""
        found = {}
        for (name, _), samples in self.samples.items():
            settled = [s for s in samples if s.age >= _SETTLING_SECONDS]
            if name in SPARED and settled:
                found[name] = Trend.of(settled)
        return found


def soak(
    broker: EmbeddedBroker,
    folder: Path,
    *,
    replicas: Sequence[ReplicaPlan],
    cameras: int,
    seconds: float,
    seed: int,
    harms: Iterator[Harm],
    say: Callable[[str], None],
    declared: Mapping[str, Any] | None = None,
) -> Soaked:
    """Do harm until the time is over, then wait for every frame.

    Args:
        broker: running; may be killed and started again.
        folder: for the workers' logs.
        replicas: the workers.
        cameras: how many.
        seconds: of load.
        seed: of load and chance.
        harms: what is done, one after the other; the rest of the load passes undisturbed when
            there are no more.
        say: told what happens.
        declared: topics.yaml; the thesis' case when None.
    """
    rng = np.random.default_rng(seed)
    done: dict[str, int] = defaultdict(int)
    samples: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    declaration = declared or declare(broker.bootstrap_servers, policy="videojam")
    with Testbed(declaration, replicas, folder) as bed:
        start_cameras(bed, cameras, seconds, seed)
        while bed.now < seconds:
            time.sleep(min(float(rng.uniform(2, 6)), max(0.0, seconds - bed.now)))
            kind = next(harms, None)
            if kind is not None and bed.now < seconds:
                say(f"{bed.now:6.0f} s: {harm(bed, broker, rng, kind)}")
                done[kind] += 1
            look(bed, samples)
        say("waiting for what is under way")
        totals = bed.drain(120)
        look(bed, samples)
        unique, repeated = len(bed.ends), bed.repeated
    return Soaked(totals, unique, repeated, dict(done), dict(samples))


def harm(bed: Testbed, broker: EmbeddedBroker, rng: np.random.Generator, kind: Harm) -> str:
    """Do something bad, and mend it; returns what."""
    may_go = [name for name in bed.replicas if name not in SPARED]
    pause = float(rng.uniform(1, 9))
    if kind == "broker":
        broker.kill()
        time.sleep(pause / 3)
        broker.start()
        return f"broker killed, back after {pause / 3:.0f} s"
    if kind == "stop":
        name = str(rng.choice(list(bed.replicas)))
        bed.workers[name].send_signal(signal.SIGSTOP)
        time.sleep(pause)
        bed.workers[name].send_signal(signal.SIGCONT)
        return f"{name} stopped for {pause:.0f} s"
    name = str(rng.choice(may_go))
    if kind == "kill":
        bed.kill(name)
        time.sleep(pause)
        bed.start(name)
        return f"{name} killed, back after {pause:.0f} s"
    bed.workers[name].leave(_LEAVE_SECONDS)
    bed.start(name)
    return f"{name} left and came back"


def look(bed: Testbed, samples: dict[tuple[str, int], list[Sample]]) -> None:
    """Note memory and threads of all workers."""
    for name, worker in bed.workers.items():
        pid = worker.pid
        if pid is None:
            continue
        seen = psutil.Process(pid)
        samples[name, pid].append(
            Sample(
                age=time.time() - seen.create_time(),
                megabytes=seen.memory_info().rss / 1e6,
                threads=seen.num_threads(),
            )
        )


def at_random(rng: np.random.Generator) -> Iterator[Harm]:
    """Harm without end."""
    kinds: tuple[Harm, ...] = get_args(Harm)
    odds = [_ODDS[kind] for kind in kinds]
    while True:
        yield kinds[int(rng.choice(len(kinds), p=odds))]


def as_json(result: Soaked) -> dict[str, Any]:
    """The account, the harm done and all samples, a list of them for each process."""
    return {
        "totals": asdict(result.totals),
        "unique": result.unique,
        "repeated": result.repeated,
        "harms": result.harms,
        "processes": [
            {"replica": name, "pid": pid, "samples": [asdict(sample) for sample in samples]}
            for (name, pid), samples in result.samples.items()
        ],
    }


def draw(result: Soaked, file: Path) -> None:
    """Resident memory of the spared replicas over their age.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    for (name, _), samples in result.samples.items():
        if name in SPARED:
            minutes = [sample.age / 60 for sample in samples]
            axes.plot(minutes, [sample.megabytes for sample in samples], label=name)
    axes.set(xlabel="minutes", ylabel="resident MB", ylim=(0, 1.2 * axes.dataLim.y1))
    axes.legend(fontsize=8)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main(
    *,
    minutes: Annotated[float, typer.Option(min=0.5, help="Length of the load.")] = 30.0,
    cameras: Annotated[int, typer.Option(min=1, help="How many.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of load and harm.")] = 1,
    plot: Annotated[
        Path | None, plot_option("Draw the spared replicas' memory over time into this file.")
    ] = None,
    json_file: Annotated[
        Path | None, json_option("Write the account and all samples to this file.")
    ] = None,
) -> None:
    """Load with random kills, stops and broker restarts; ends with the account of all frames.

    Exits with 1 when a frame is unaccounted for, or a replica keeps growing.
    """
    console = Console(highlight=False)
    with temporary_broker() as broker, tempfile.TemporaryDirectory() as folder:
        result = soak(
            broker,
            Path(folder),
            replicas=plans(),
            cameras=cameras,
            seconds=60 * minutes,
            seed=seed,
            harms=at_random(np.random.default_rng([seed, 1])),
            say=console.print,
        )
    totals = result.totals
    console.print("harm: " + ", ".join(f"{kind} {n}" for kind, n in sorted(result.harms.items())))
    dropped = ", ".join(f"{reason} {n}" for reason, n in sorted(totals.dropped.items())) or "none"
    console.print(
        f"produced {totals.produced} = processed {totals.processed} + dropped ({dropped}) "
        f"+ dead {totals.dead}; open {totals.open}"
    )
    console.print(
        f"{result.unique} results after identity; {result.repeated} came twice and were told apart"
    )
    trends = result.trends()
    for name, trend in trends.items():
        console.print(f"{name}: {trend}")
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(result)), encoding="utf-8")
    if plot is not None:
        draw(result, plot)
    leaking = [name for name, trend in trends.items() if trend.leaking]
    if not result.accounted:
        console.print("[red]frames are unaccounted for[/red]")
    if leaking:
        console.print(f"[red]growing: {', '.join(leaking)}[/red]")
    if leaking or not result.accounted:
        raise typer.Exit(1)


if __name__ == "__main__":
    run(main)
