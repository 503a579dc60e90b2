"""A deployment of ROOMIE on this machine: Kafka, controller, worker agents and their Tritons.

All of them are real processes, as an operator starts them, and each can be killed as a crash would.
The GPUs are declared, so that models run on the processor.
"""

from __future__ import annotations

import os
import signal
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dataflow.broker import BrokerSettings, EmbeddedBroker
from dataflow.broker.paths import cache_home
from dataflow.broker.ready import free_ports
from dataflow.config import TopicNames, load_config
from dataflow.config.roomie import RoomieConfig
from dataflow.topics import create_declared_topics
from dataflow.transport.kafka import KafkaTransport
from evaluation.program import Program, end_all, faults_of
from roomie.triton import local
from roomie.triton.local import TritonState

GPUS: Mapping[str, str] = {
    "edge-0": "A100-SXM4-40GB:12GiB",
    "edge-1": "A100-SXM4-40GB:8GiB",
    "edge-2": "AGX-Xavier:8GiB",
    "edge-3": "AGX-Xavier:6GiB",
}
"""What each worker declares; kinds of which there are kernel profiles."""

_HOST = "127.0.0.1"


class Site:
    """See the module. Leaving it ends everything, whatever state it is in.

    Args:
        folder: for data, models and logs.
        gpus: what each worker declares.
        roomie: that section of topics.yaml.
        clock: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        folder: Path,
        *,
        gpus: Mapping[str, str] = GPUS,
        roomie: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gpus = dict(gpus)
        self.models = folder / "models"
        self.broker = EmbeddedBroker(BrokerSettings(data_dir=folder / "kafka", port=0))
        self.started: dict[str, float] = {}
        self._folder = folder
        self._home = folder / "home"
        self._roomie = dict(roomie or {})
        self._clock = clock
        self._programs: list[Program] = []
        self._remains: list[psutil.Process] = []
        self._metrics_port = 0

    def __enter__(self) -> Self:
        for made in (self.models, self._home, self._folder / "logs"):
            made.mkdir(parents=True, exist_ok=True)
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _start(self) -> None:
        self.broker.start()
        file = self._folder / "topics.yaml"
        file.write_text(yaml.safe_dump(self._declaration()), encoding="utf-8")
        config = load_config(file)
        self.names = TopicNames(config.deployment)
        self.lease = (config.roomie or RoomieConfig()).lease
        self.transport = KafkaTransport.from_config(config)
        create_declared_topics(config, self.transport)
        (self._metrics_port,) = free_ports(_HOST, 1)
        self.controller = self._program(
            "controller", "controller", "--config", str(file), "--name", "controller",
            "--metrics-port", str(self._metrics_port), "--metrics-address", _HOST,
        )  # fmt: skip
        self.agents = {
            worker: self._program(
                worker, "node", "--config", str(file), "--models", str(self.models),
                "--worker", worker, "--node", worker, "--gpu", gpu,
            )
            for worker, gpu in self.gpus.items()
        }  # fmt: skip
        self.start_controller()
        for worker in self.agents:
            self.start_agent(worker)

    def _declaration(self) -> dict[str, Any]:
        return {
            "version": 1,
            "deployment": f"site-{uuid.uuid4().hex[:8]}",
            "cluster": {"bootstrap_servers": self.broker.bootstrap_servers},
            "functions": {"f": {"plugin": "emulated"}},  # one has to be declared
            "pipelines": {"p": {"cameras": ["any"], "steps": [{"function": "f"}]}},
            "roomie": self._roomie,
        }

    def _program(self, name: str, *words: str) -> Program:
        environment = {
            **os.environ,
            "VIDEOJAM_HOME": str(self._home),
            "VIDEOJAM_CACHE": str(cache_home()),
        }
        program = Program(name, words, self._folder / "logs", environment)
        self._programs.append(program)
        return program

    def _end(self) -> None:
        end_all(self._programs)
        with ThreadPoolExecutor(len(self.gpus)) as together:
            # Of an agent that was killed.
            list(together.map(lambda worker: local.stop(self._home, worker), self.gpus))
        if hasattr(self, "transport"):
            self.transport.close()
        self.broker.stop()

    # -- starting ---------------------------------------------------------------------------------

    def start_controller(self) -> None:
        """As an operator does."""
        self.controller.start()

    def start_agent(self, worker: str) -> None:
        """Likewise; it starts a Triton of its own, or takes over the one that runs."""
        self.started[worker] = self._clock()
        self.agents[worker].start()

    # -- killing ----------------------------------------------------------------------------------

    def kill_triton(self, worker: str) -> None:
        """SIGKILL to a server, and nobody else: its agent may live."""
        state = self.triton(worker)
        if state is None:
            return
        with suppress(psutil.Error):
            self._remains += psutil.Process(state.pid).children(recursive=True)
        with suppress(ProcessLookupError):
            os.kill(state.pid, signal.SIGKILL)

    def kill_node(self, worker: str) -> None:
        """SIGKILL to an agent, its server and its models' processes, as when a machine dies."""
        self.agents[worker].kill()
        before = len(self._remains)
        self.kill_triton(worker)
        for process in self._remains[before:]:
            with suppress(psutil.Error):
                process.kill()

    def kill_everything(self) -> None:
        """SIGKILL to all processes within milliseconds."""
        states = [self.triton(worker) for worker in self.gpus]
        for state in states:
            if state is not None:
                with suppress(psutil.Error):
                    self._remains += psutil.Process(state.pid).children(recursive=True)
        pids = [program.pid for program in self._programs]
        pids += [state.pid for state in states if state is not None]
        if self.broker.running:
            pids.append(self.broker.state.pid)
        for pid in pids:
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.broker.kill()
        for program in self._programs:
            program.kill()

    # -- looking ----------------------------------------------------------------------------------

    def triton(self, worker: str) -> TritonState | None:
        """The server of a worker, None if none runs."""
        state = TritonState.read(local.state_file(self._home, worker))
        return state if state is not None and state.alive() else None

    def remains(self) -> list[str]:
        """Processes of models whose server was killed, and that have not gone with it."""
        alive = []
        for process in self._remains:
            with suppress(psutil.Error):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    alive.append(f"{process.name()} (pid {process.pid})")
        return alive

    def faults(self) -> list[str]:
        """Processes that ended without having been told to."""
        faults = faults_of(self._programs)
        broken = self.broker.failure()
        return faults if broken is None else [*faults, str(broken)]

    def controller_decides(self) -> bool:
        """Whether the controller says that it is the one who does."""
        try:
            return self._metric("videojam_roomie_active") == {"": 1.0}
        except OSError:
            return False

    def controller_seconds(self) -> dict[str, float]:
        """What the controller has spent so far, by what: order (deciding on them), tick, write.

        Raises:
            OSError: it does not answer.
        """
        return self._metric("videojam_roomie_seconds_total", label="what")

    def _metric(self, name: str, label: str = "") -> dict[str, float]:
        url = f"http://{_HOST}:{self._metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
        return {
            sample.labels.get(label, ""): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        }
