"""Nodes, clients and a pipeline on real Triton servers and a real Kafka, with deaths under load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from dataflow.broker import BrokerSettings, EmbeddedBroker
from dataflow.broker.paths import cache_home
from dataflow.functions.yolo.networks import BUILTIN
from dataflow.images import encode_jpeg
from dataflow.transport.kafka import KafkaTransport
from evaluation.scenes import StreetCamera
from roomie.control.agent import Agent
from roomie.control.instance_client import ClientSettings, InstanceClient
from roomie.control.records import PlacedInstance
from roomie.control.serving import ForeignServer, OwnServer
from roomie.errors import BadRequestError
from roomie.triton import local
from roomie.triton.fake import FakeTriton
from roomie.triton.install import ensure_installed
from roomie.triton.local import TritonSettings, TritonState
from roomie.triton.onnx_model import add_onnx
from tests.agents.plant import Plant as Pipeline
from tests.agents.processes import WorkerProcess, declare
from tests.roomie.control.kit import Plant, X, agent_of, placed
from tests.roomie.triton.models import PROGRAMS, add_model
from tests.roomie.waiting import DEADLINE, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.triton, pytest.mark.timeout(240)]

PATIENT = ClientSettings(wait=DEADLINE, timeout=20.0)


class NodeProcess:
    """`videojam node` as a process, with its log."""

    def __init__(self, file: Path, home: Path, models: Path, worker: str) -> None:
        self.home, self.worker = home, worker
        self.log = home / f"{worker}.node.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "cli", "node", "--config", str(file)),
                    *("--models", str(models), "--worker", worker, "--gpu", "T4"),
                    *("--drain", "0.5", "--lease", "4"),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "VIDEOJAM_HOME": str(home), "VIDEOJAM_CACHE": str(cache_home())},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(DEADLINE)
        local.stop(self.home, self.worker, timeout=5)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def triton(self) -> TritonState | None:
        return TritonState.read(local.state_file(self.home, self.worker))


class Site:
    """A deployment with models, a home for nodes, and a hand that places."""

    def __init__(self, folder: Path, servers: str, plugin: str = "emulated") -> None:
        find = (
            {
                "plugin": "triton",
                "parameters": {"model": "detector", "input_size": 320, "wait": "30s"},
                "batch": {"max": 4},
            }
            if plugin == "triton"
            else {}
        )
        self.file, self.config = declare(folder, servers, find=find)
        self.home, self.models = folder / "home", folder / "models"
        self.home.mkdir()
        self.transport = KafkaTransport.from_config(self.config)
        self.plant = Plant(self.transport, self.config.deployment)

    def node(self, worker: str) -> NodeProcess:
        return NodeProcess(self.file, self.home, self.models, worker)

    def client(self, model: str) -> InstanceClient:
        return InstanceClient(model, self.transport, self.plant.names, settings=PATIENT)

    def ready(self, *instances: PlacedInstance) -> list[PlacedInstance]:
        """The instances with the addresses that their workers report, as a controller puts them."""
        rows = self.plant.workers.rows()
        return [
            instance.model_copy(update={"state": "ready", "url": rows[instance.worker].url})
            for instance in instances
        ]

    def close(self) -> None:
        self.plant.close()
        self.transport.close()


@pytest.fixture(scope="module", autouse=True)
def tritonserver() -> None:
    ensure_installed(cache_home())


@contextmanager
def site_at(folder: Path, servers: str, plugin: str = "emulated") -> Iterator[Site]:
    site = Site(folder, servers, plugin)
    try:
        yield site
    finally:
        site.close()


@pytest.fixture
def site(kafka: EmbeddedBroker, tmp_path: Path) -> Iterator[Site]:
    with site_at(tmp_path, kafka.bootstrap_servers) as found:
        add_model(found.models, "m", {1: "double"})
        add_model(found.models, "bad", "broken")
        yield found


class Asking:
    """A hundred requests a second at most, from a thread; whatever fails is kept."""

    def __init__(self, client: InstanceClient) -> None:
        self._client = client
        self._stopping = threading.Event()
        self.answers = 0
        self.failures: list[Exception] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stopping.wait(0.01):
            try:
                answer = self._client.infer({"x": X})
                assert np.array_equal(answer["y"], 2 * X)
                self.answers += 1
            except Exception as error:  # noqa: BLE001 - shown by the assertion
                self.failures.append(error)

    def more(self, count: int = 5) -> None:
        """Wait for that many further answers."""
        goal = self.answers + count
        wait_until(lambda: self.answers >= goal or self.failures, "further answers")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(DEADLINE)


def test_no_request_fails_whatever_dies_as_long_as_one_instance_can_be_had(site: Site) -> None:
    plant = site.plant
    with site.node("a") as a, site.node("b"):
        wait_until(lambda: {"a", "b"} <= set(plant.workers.rows()), "both announce themselves")
        one, two, bad = placed("m.1", "a"), placed("m.2", "b"), placed("bad.1", "a")
        plant.place("m", [one, two])
        plant.place("bad", [bad])
        plant.wait_for("a", {"m.1": "ready", "bad.1": "failed"})
        plant.wait_for("b", {"m.2": "ready"})
        assert "the weights are damaged" in (plant.instances("a")["bad.1"].reason or "")
        plant.place("m", site.ready(one, two))
        with site.client("m") as client, Asking(client) as asking:
            wait_until(lambda: len(client.counts().by_instance) == 2, "both instances answer")

            first = a.triton
            assert first is not None
            os.kill(first.pid, signal.SIGKILL)
            asking.more()
            wait_until(lambda: a.triton not in {None, first}, "the node has started another one")
            plant.wait_for("a", {"m.1": "ready", "bad.1": "failed"})
            plant.place("m", site.ready(one, two))

            a.kill()  # its Triton goes on, and keeps what it has loaded
            asking.more()
            second = a.triton
            assert second is not None
            assert second.alive()
            with site.node("a") as again:
                wait_until(lambda: "taking over" in again.log.read_text(), "it takes over")
                plant.wait_for("a", {"m.1": "ready", "bad.1": "failed"})
                assert again.triton == second

                plant.place("m", site.ready(two))  # m.1 drains under the client
                plant.wait_for("a", {"bad.1": "failed"})
                asking.more()
                before = client.counts().by_instance.get("m.1", 0)
                asking.more()
                assert client.counts().by_instance.get("m.1", 0) == before
                again.process.send_signal(signal.SIGTERM)
                assert again.process.wait(DEADLINE) == 0, again.log.read_text()
                assert not second.alive()
                wait_until(lambda: "a" not in plant.workers.rows(), "its row is deleted")
        assert asking.failures == []
        assert client.counts().failed == 0
        assert asking.answers > 20
        telemetry = plant.telemetry.rows()["b"]
        assert [entry.id for entry in telemetry.instances] == ["m.2"]


@contextmanager
def running(agent: Agent) -> Iterator[None]:
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        yield
    finally:
        agent.stop()
        thread.join(DEADLINE)
        assert not thread.is_alive()


def test_the_only_server_that_dies_costs_time_but_no_request(site: Site) -> None:
    plant = site.plant
    serving = OwnServer(TritonSettings(name="a"), site.home, cache_home())
    folder = local.default_repository(site.home, "a")
    with running(agent_of(plant, serving, site.models, folder, worker="a")):
        one = placed("m.1", "a")
        plant.place("m", [one])
        plant.wait_for("a", {"m.1": "ready"})
        plant.place("m", site.ready(one))
        with site.client("m") as client, Asking(client) as asking:
            asking.more()
            state = serving.state
            assert state is not None
            os.kill(state.pid, signal.SIGKILL)
            wait_until(lambda: serving.state not in {None, state}, "another one is started")
            plant.wait_for("a", {"m.1": "ready"})
            plant.place("m", site.ready(one))
            asking.more()
            with pytest.raises(BadRequestError):
                client.infer({"x": np.ones((1, 9), np.float32)})
        assert asking.failures == []
    assert local.stop(site.home, "a") is None, "it was stopped with the agent"


def test_a_pipeline_runs_on_placed_instances(kafka: EmbeddedBroker, tmp_path: Path) -> None:
    camera = StreetCamera("mobile", seed=4711, fps=2.0)
    add_onnx(BUILTIN, tmp_path / "models", "detector", max_batch=8)
    with site_at(tmp_path, kafka.bootstrap_servers, "triton") as site, site.node("a"):
        pipeline = Pipeline(site.transport, config=site.config)
        one, two = placed("d.1", "a", batch=2), placed("d.2", "a", batch=4)
        with WorkerProcess(site.file, "works") as works:
            works.wait_for("owns", DEADLINE)
            frames = [encode_jpeg(camera.frame(n)[0], quality=90) for n in range(8)]
            pipeline.send(*(pipeline.item("cam", n, data) for n, data in enumerate(frames)))
            # the frames are there before any instance
            site.plant.place("detector", [one, two])
            site.plant.wait_for("a", {"d.1": "ready", "d.2": "ready"})
            site.plant.place("detector", site.ready(one, two))
            accounts = pipeline.wait_for_ends(8)
            assert works.end() == 0, works.log.read_text()
        assert accounts["cam"].processed == 8
        results = pipeline.read_all(pipeline.names.results("p"))
        assert sum(b'"label":"car"' in (r.value or b"") for r in results) >= 4


@contextmanager
def own_broker(folder: Path) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(BrokerSettings(data_dir=folder, port=0))
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def test_a_broker_that_dies_and_comes_back_stops_neither_requests_nor_placement(
    tmp_path: Path,
) -> None:
    with (
        own_broker(tmp_path / "kafka") as broker,
        site_at(tmp_path, broker.bootstrap_servers) as site,
    ):
        add_model(site.models, "m", "double")
        folder = tmp_path / "instances"
        folder.mkdir()
        server = FakeTriton(folder, PROGRAMS, url="fake:1")
        agent = agent_of(site.plant, ForeignServer(server), site.models, folder, worker="a")
        with running(agent):
            one, two = placed("m.1", "a"), placed("m.2", "a")
            site.plant.place("m", [one])
            site.plant.wait_for("a", {"m.1": "ready"})
            site.plant.place("m", site.ready(one))
            with (
                InstanceClient(
                    "m",
                    site.transport,
                    site.plant.names,
                    settings=PATIENT,
                    connect=lambda _url: server,
                ) as client,
                Asking(client) as asking,
            ):
                asking.more()
                broker.kill()
                asking.more()
                broker.start()
                site.plant.place("m", site.ready(one, two))
                site.plant.wait_for("a", {"m.1": "ready", "m.2": "ready"})
                wait_until(lambda: len(client.instances()) == 2, "the client hears of it too")
            assert asking.failures == []
