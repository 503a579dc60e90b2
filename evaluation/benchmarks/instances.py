"""What placing and finding instances costs, on a real Triton and a real Kafka of this machine.

    python -m evaluation.benchmarks.instances
    python -m evaluation.benchmarks.instances --requests 5000 --placements 20

- ``load``: a small Python model, by a server that completes configurations and by one that does
  not, as ours.
- ``request``: one request after the other to an instance by Triton's client alone, and by
  `InstanceClient`, which follows placements, chooses, and measures; in turns.
- ``placement``: from the record that places an instance to the worker's report that it is ready,
  of which the load call alone takes so much; and from the record that it is ready to a client that
  knows it.

Times are medians of wall time, with the 95th percentile: run it on an idle machine.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from dataflow.broker.paths import cache_home
from dataflow.config import TopicNames
from dataflow.config.topics import TopicSpec
from dataflow.transport import Record
from dataflow.transport.kafka import KafkaTransport
from evaluation.command import run
from evaluation.kafka import temporary_broker
from evaluation.waiting import wait_until
from roomie.control import follower
from roomie.control.agent import Agent, AgentOptions
from roomie.control.instance_client import InstanceClient
from roomie.control.records import (
    GpuReport,
    ModelSpec,
    PlacedInstance,
    Placement,
    WorkerReport,
)
from roomie.control.serving import ForeignServer
from roomie.triton import local
from roomie.triton.grpc import GrpcTriton
from roomie.triton.local import TritonSettings, TritonState
from roomie.triton.model_config import ModelSettings, Tuning
from roomie.triton.repository import InstanceRepository

_CONFIG = """\
backend: "python"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
"""
_MODEL = """\
import triton_python_backend_utils as utils

class TritonPythonModel:
    def execute(self, requests):
        tensors = [utils.get_input_tensor_by_name(r, "x").as_numpy() for r in requests]
        return [utils.InferenceResponse([utils.Tensor("y", 2 * x)]) for x in tensors]
"""
_PATIENCE = 60.0
_X = np.ones((1, 4), np.float32)


def main(
    *,
    requests: Annotated[int, typer.Option(min=100, help="Requests of each kind.")] = 2000,
    placements: Annotated[int, typer.Option(min=3, help="Instances placed and loaded.")] = 10,
) -> None:
    """Measure what instances cost."""
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        _write_model(home / "models")
        console.print(_loads(home, placements))
        with ExitStack() as stack:
            broker = stack.enter_context(temporary_broker())
            transport = stack.enter_context(KafkaTransport(broker.bootstrap_servers))
            state = stack.enter_context(_server(home, "measured"))
            site = stack.enter_context(_Site(home, transport, state))
            placed, heard, loads = site.place(placements)
            console.print(_requests(site, requests))
        table = _table("placement", "median ms", "p95 ms")
        _row(table, "placed to ready", placed)
        _row(table, "the load call of it", loads)
        _row(table, "ready to known by a client", heard)
        console.print(table)


def _write_model(models: Path) -> None:
    (models / "m" / "1").mkdir(parents=True)
    (models / "m" / "config.pbtxt").write_text(_CONFIG, encoding="utf-8")
    (models / "m" / "1" / "model.py").write_text(_MODEL, encoding="utf-8")


@contextmanager
def _server(home: Path, name: str, *, auto_complete: bool = False) -> Iterator[TritonState]:
    settings = TritonSettings(name=name, auto_complete=auto_complete)
    try:
        yield local.start(settings, home, cache_home())
    finally:
        local.stop(home, name)  # it goes on by itself, also where Ctrl-C came as it had started


def _load_times(home: Path, state: TritonState, count: int) -> list[float]:
    """Seconds of load calls."""
    client = GrpcTriton(state.url)
    repository = InstanceRepository(home / "models", Path(state.repository))
    times = []
    for number in range(count):
        name = f"loaded-{number}"
        settings = repository.write(name, "m", Tuning(version=1, batch=4))
        began = time.perf_counter()
        client.load(name, settings, timeout=_PATIENCE)
        times.append(time.perf_counter() - began)
        client.unload(name, timeout=_PATIENCE)
    client.close()
    return times


def _loads(home: Path, count: int) -> Table:
    with _server(home, "completing", auto_complete=True) as state:
        completing = _load_times(home, state, count)
    with _server(home, "plain") as state:
        plain = _load_times(home, state, count)
    table = _table("load", "median ms", "p95 ms", "ratio")
    _row(table, "configurations completed", completing, _ratio(completing, plain))
    _row(table, "configurations as written", plain, "1.00")
    return table


class _Site:
    """An agent on a server, and a hand that places."""

    def __init__(self, home: Path, transport: KafkaTransport, state: TritonState) -> None:
        self.transport, self.state = transport, state
        self.names = TopicNames("instances")
        admin = transport.admin()
        for topic in (self.names.placements, self.names.workers, self.names.telemetry):
            admin.create(TopicSpec(name=topic, partitions=1, replication=1))
        admin.close()
        self.producer = transport.producer()
        self.workers = follower.Table(WorkerReport)
        self._changed = threading.Event()
        self._follower = follower.Follower(
            transport, {self.names.workers: self.workers}, on_change=self._changed.set
        )
        server = _Timed(state.url, metrics_url=state.metrics_url)
        self.loads = server.loads
        self._agent = Agent(
            AgentOptions(worker="w", node="n", incarnation="1", gpus={"w/0": None}),
            ForeignServer(server),
            InstanceRepository(home / "models", Path(state.repository)),
            transport,
            self.names,
            gpus=(GpuReport(id="w/0", device="T4"),),
        )
        self._thread = threading.Thread(target=self._agent.run, daemon=True)
        self.client = InstanceClient("m", transport, self.names)

    def __enter__(self) -> Self:
        self._follower.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._agent.stop()
        self._thread.join(_PATIENCE)
        self._follower.stop()
        self.producer.close()

    def put(self, instances: Sequence[PlacedInstance]) -> None:
        """Write the placement."""
        record = Placement(spec=ModelSpec(model="m"), instances=tuple(instances))
        self.producer.send(Record(topic=self.names.placements, key=b"m", value=record.to_json()))
        self.producer.flush(_PATIENCE)

    def place(self, count: int) -> tuple[list[float], list[float], list[float]]:
        """Place one instance after the other; the last one stays.

        Returns:
            Seconds until ready, from ready until known by the client, and of the load calls.
        """
        self._wait(lambda: "w" in self.workers.rows(), "the worker has not reported")
        placed, heard = [], []
        for number in range(count):
            name = f"m.{number}"
            instance = PlacedInstance(id=name, version=1, worker="w", gpu="w/0", batch=4)
            began = time.perf_counter()
            self.put([instance])
            self._wait(partial(self._ready, name), f"the worker has not said that {name} is ready")
            ready = time.perf_counter()
            placed.append(ready - began)
            self.put([instance.model_copy(update={"state": "ready", "url": self.state.url})])
            wait_until(
                partial(self._known, name),
                f"the client has not heard that {name} is ready",
                seconds=_PATIENCE,
                pause=partial(time.sleep, 0.0005),
            )
            heard.append(time.perf_counter() - ready)
        return placed, heard, list(self.loads)

    def _ready(self, name: str) -> bool:
        report = self.workers.rows()["w"]
        return any(entry.id == name and entry.state == "ready" for entry in report.instances)

    def _known(self, name: str) -> bool:
        return [known.id for known in self.client.instances()] == [name]

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        def pause() -> None:
            self._changed.wait(0.01)
            self._changed.clear()

        wait_until(condition, what, seconds=_PATIENCE, pause=pause)


class _Timed(GrpcTriton):
    """Notes how long loads take."""

    def __init__(self, url: str, *, metrics_url: str) -> None:
        super().__init__(url, metrics_url=metrics_url)
        self.loads: list[float] = []

    def load(self, name: str, settings: ModelSettings, *, timeout: float) -> None:
        """As `GrpcTriton.load`."""
        began = time.perf_counter()
        super().load(name, settings, timeout=timeout)
        self.loads.append(time.perf_counter() - began)


def _requests(site: _Site, count: int) -> Table:
    direct = GrpcTriton(site.state.url)
    (instance,) = site.client.instances()
    times: dict[str, list[float]] = {"Triton's client alone": [], "InstanceClient": []}
    for number in range(2 * count):
        began = time.perf_counter()
        if number % 2:
            site.client.infer({"x": _X})
        else:
            direct.infer(instance.id, {"x": _X}, timeout=_PATIENCE)
        times[("Triton's client alone", "InstanceClient")[number % 2]].append(
            time.perf_counter() - began
        )
    direct.close()
    alone, ours = times["Triton's client alone"], times["InstanceClient"]
    table = _table("request", "median ms", "p95 ms", "ratio")
    _row(table, "Triton's client alone", alone, "1.00")
    _row(table, "InstanceClient", ours, _ratio(ours, alone))
    return table


def _table(what: str, *columns: str) -> Table:
    table = Table(what, *columns)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _row(table: Table, name: str, seconds: Sequence[float], *more: str) -> None:
    p95 = float(np.percentile(seconds, 95))
    table.add_row(name, f"{1000 * statistics.median(seconds):.2f}", f"{1000 * p95:.2f}", *more)


def _ratio(first: Sequence[float], second: Sequence[float]) -> str:
    return f"{statistics.median(first) / statistics.median(second):.2f}"


if __name__ == "__main__":
    run(main)
