"""Load with random kills, stops and broker restarts, and the account of every frame at the end.

    python -m evaluation.benchmarks.soak --minutes 30

Exits with 1 when a frame is unaccounted for.
"""

from __future__ import annotations

import signal
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer
from rich.console import Console

from dataflow.broker import EmbeddedBroker
from evaluation.testbed import Testbed, temporary_broker
from evaluation.thesis_case import declare, plans, start_cameras


def main(
    *,
    minutes: Annotated[float, typer.Option(min=0.5)] = 30.0,
    seed: Annotated[int, typer.Option()] = 1,
    report: Annotated[float, typer.Option(help="Seconds between two lines.")] = 60.0,
) -> None:
    """Load with random kills, stops and broker restarts; ends with the account of all frames.

    Exits with 1 when a frame is unaccounted for.
    """
    console = Console()
    rng = np.random.default_rng(seed)
    with temporary_broker() as broker, tempfile.TemporaryDirectory() as folder:
        declared = declare(broker.bootstrap_servers, policy="videojam")
        with Testbed(declared, plans(), Path(folder)) as bed:
            start_cameras(bed, 3, 60 * minutes, seed)
            due = report
            while bed.now < 60 * minutes:
                time.sleep(float(rng.uniform(4, 10)))
                console.print(f"{bed.now:6.0f} s: {harm(bed, broker, rng)}", highlight=False)
                if bed.now >= due:
                    console.print(footprint(bed), highlight=False)
                    due += report
            totals = bed.drain(120)
            console.print(footprint(bed), highlight=False)
            unique = len(bed.ends)
    console.print(asdict(totals))
    console.print(f"{unique} results after identity, {bed.repeated} came twice")
    ended = totals.processed + sum(totals.dropped.values()) + totals.dead
    if totals.open or totals.produced != ended:
        console.print("[red]frames are unaccounted for[/red]")
        raise typer.Exit(1)
    console.print("produced = processed + dropped + dead")


def harm(bed: Testbed, broker: EmbeddedBroker, rng: np.random.Generator) -> str:
    """Do something bad, and mend it; returns what."""
    name = str(rng.choice(list(bed.replicas)))
    kind = rng.choice(["kill", "stop", "leave", "broker"], p=[0.4, 0.25, 0.25, 0.1])
    pause = float(rng.uniform(1, 9))
    if kind == "kill":
        bed.kill(name)
        time.sleep(pause)
        bed.start(name)
        return f"{name} killed, back after {pause:.0f} s"
    if kind == "stop":
        bed.send_signal(name, signal.SIGSTOP)
        time.sleep(pause)
        bed.send_signal(name, signal.SIGCONT)
        return f"{name} stopped for {pause:.0f} s"
    if kind == "leave":
        bed.send_signal(name, signal.SIGTERM)
        bed.processes[name].wait(60)
        bed.start(name)
        return f"{name} left and came back"
    broker.kill()
    time.sleep(pause / 3)
    broker.start()
    return f"broker killed, back after {pause / 3:.0f} s"


def footprint(bed: Testbed) -> str:
    """Memory and threads of the workers, by age."""
    rows = []
    for name, process in bed.processes.items():
        seen = psutil.Process(process.pid)
        age = time.time() - seen.create_time()
        memory = seen.memory_info().rss / 1e6
        rows.append(f"{name} {age:.0f} s old: {memory:.0f} MB, {seen.num_threads()} threads")
    return "  " + "; ".join(rows)


if __name__ == "__main__":
    typer.run(main)
