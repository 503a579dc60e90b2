"""What ROOMIE's controller costs, alone and between an order and its ready instances.

    python -m evaluation.benchmarks.controller
    python -m evaluation.benchmarks.controller --no-kafka --rounds 50
    python -m evaluation.benchmarks.controller --json out/controller.json

- ``core``: one thread's CPU time of the pure core, among pretended workers of 4 GPUs each, 2
  instances a model: a deploy (decided and placed), a worker's report that says nothing new, and a
  tick. Medians.
- ``kafka``: a controller on a real single-node Apache Kafka, joined by Faust; four pretended
  workers that load in no time; models are deployed one after the other. From the send of the order
  until its sender hears ``accepted`` and ``ready``; and the controller's own part: deciding, and
  writing a decision in a transaction (there are three or more of these between order and ready).
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from dataflow.config import Config, TopicNames
from dataflow.config.roomie import RoomieConfig
from dataflow.topics import create_declared_topics
from dataflow.transport import Record
from dataflow.transport.kafka import KafkaTransport
from evaluation.command import json_option, run
from evaluation.kafka import temporary_broker
from roomie.control.assembly import build_planner
from roomie.control.client import RoomieClient
from roomie.control.core import Core
from roomie.control.fake import FakeWorker
from roomie.control.orders import new_order
from roomie.control.placing import Planner
from roomie.control.records import ModelSpec, Placement
from roomie.control.service import build_controller

_SIZES = ((3, 6), (25, 100), (75, 300))
"""Workers and models."""
_KIND = "A100-SXM4-40GB"


def main(
    *,
    rounds: Annotated[int, typer.Option(min=3, help="Measurements of each.")] = 20,
    kafka: Annotated[bool, typer.Option(help="Measure on a real broker too.")] = True,
    json_file: Annotated[Path | None, json_option()] = None,
) -> None:
    """Measure what the controller costs."""
    console = Console(width=120)
    figures: dict[str, Any] = {}
    planner = build_planner(RoomieConfig())
    table = Table("GPUs", "instances", "deploy ms", "report ms", "tick ms", title="core, CPU time")
    for workers, models in _SIZES:
        row = _core(planner, workers, models, rounds)
        figures[f"core {4 * workers} GPUs"] = row
        cells = (f"{1e3 * row[key]:.3f}" for key in ("deploy", "report", "tick"))
        table.add_row(str(4 * workers), str(2 * models), *cells)
    console.print(table)
    if kafka:
        seen = figures["kafka"] = _kafka(rounds)
        table = Table("", "median ms", "95th ms", title="on a real Kafka")
        for name, values in seen.items():
            median, late = np.percentile(values, [50, 95])
            table.add_row(name, f"{1e3 * median:.1f}", f"{1e3 * late:.1f}")
        console.print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def _core(planner: Planner, workers: int, models: int, rounds: int) -> dict[str, float]:
    core = Core(planner)
    fleet = [FakeWorker(f"w{n}", [_KIND] * 4, load_s=0.0) for n in range(workers)]
    now = 1000.0
    networks = ("mobilenet_v3_large", "squeezenet1_1", "shufflenet_v2_x2_0", "alexnet")

    def everybody() -> None:
        for worker in fleet:
            worker.follow((core.book[m] for m in core.book.models()), now)
            core.worker(worker.report(now), now)

    def deploy(number: int) -> None:
        name = f"model-{number}"
        spec = ModelSpec(model=name, profile=networks[number % len(networks)], instances=2, batch=1)
        core.order(new_order("deploy", name, source="/b", at=now, spec=spec), now)

    everybody()
    for number in range(models):
        deploy(number)
    for _ in range(3):
        now += 1.0
        everybody()
        core.tick(now)
    report = fleet[0].report(now)
    numbers = iter(range(models, models + rounds))
    return {
        "report": _seconds(lambda: core.worker(report, now), rounds),
        "tick": _seconds(lambda: core.tick(now), rounds),
        "deploy": _seconds(lambda: deploy(next(numbers)), rounds),
    }


def _seconds(action: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        action()
        times.append(time.thread_time() - start)
    return statistics.median(times)


def _kafka(rounds: int) -> dict[str, list[float]]:
    with ExitStack() as stack:
        broker = stack.enter_context(temporary_broker())
        config = Config.model_validate(
            {
                "version": 1,
                "deployment": "bench",
                "cluster": {"bootstrap_servers": broker.bootstrap_servers},
                "functions": {"f": {"plugin": "emulated"}},
                "pipelines": {"p": {"cameras": ["any"], "steps": [{"function": "f"}]}},
                "roomie": {"autoscaling": {"policy": "none"}, "batching_every": 0},
            }
        )
        names = TopicNames(config.deployment)
        transport = stack.enter_context(KafkaTransport.from_config(config))
        create_declared_topics(config, transport)
        stopping = threading.Event()
        nodes = [
            threading.Thread(target=_node, args=(transport, names, f"w{n}", stopping), daemon=True)
            for n in range(4)
        ]
        controller = build_controller(config, transport, broker.bootstrap_servers, "bench")
        nodes.append(threading.Thread(target=controller.run, daemon=True))
        for thread in nodes:
            thread.start()
        try:
            return _orders(transport, names, rounds, lambda: controller.sight.glance().seconds)
        finally:
            controller.stop()
            stopping.set()
            for thread in nodes:
                thread.join(20)


def _orders(
    transport: KafkaTransport,
    names: TopicNames,
    rounds: int,
    seconds: Callable[[], dict[str, float]],
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {
        "order to accepted": [],
        "order to ready": [],
        "controller: deciding the order": [],
        "controller: all writes until ready": [],
    }
    with RoomieClient(transport, names, source="/bench") as roomie:
        roomie.wait(roomie.deploy(ModelSpec(model="alexnet", batch=1)), timeout=60)
        for number in range(rounds):
            before = seconds()
            start = time.perf_counter()
            spec = ModelSpec(model=f"m{number}", profile="squeezenet1_1", batch=1)
            order = roomie.deploy(spec)
            for status in roomie.follow(order, timeout=60):
                if status.event == "accepted":
                    found["order to accepted"].append(time.perf_counter() - start)
            found["order to ready"].append(time.perf_counter() - start)
            after = seconds()
            for name, key in (
                ("controller: deciding the order", "order"),
                ("controller: all writes until ready", "write"),
            ):
                found[name].append(after.get(key, 0.0) - before.get(key, 0.0))
            roomie.wait(roomie.undeploy(f"m{number}"), timeout=60)
    return found


def _node(
    transport: KafkaTransport, names: TopicNames, name: str, stopping: threading.Event
) -> None:
    """A worker that loads in no time, and says at once what has changed."""
    worker = FakeWorker(name, [_KIND], load_s=0.0, drain_s=0.0)
    producer = transport.producer()
    reader = transport.reader([names.placements])
    table: dict[str, Placement] = {}
    told = due = 0.0
    while not stopping.is_set():
        records = reader.poll(100, 0.02)
        for record in records:
            model = (record.key or b"").decode()
            if record.value is None:
                table.pop(model, None)
            else:
                table[model] = Placement.from_json(record.value)
        now = time.time()
        if not records and now < max(told + 0.02, due):
            continue
        worker.follow(table.values(), now)
        told, due = now, now + 1.0
        report = worker.report(now)
        producer.send(Record(topic=names.workers, key=name.encode(), value=report.to_json()))
        producer.poll(0)
    reader.close()
    producer.close(2.0)


if __name__ == "__main__":
    run(main)
