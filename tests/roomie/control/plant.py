"""Controllers on a transport, among pretended nodes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from dataflow.config import Config, TopicNames, load_config
from dataflow.errors import RecordError
from dataflow.topics import create_declared_topics
from dataflow.transport import Record, Transport
from roomie.control.controller import Controller
from roomie.control.core import Core
from roomie.control.fake import FakeWorker
from roomie.control.records import Placement, Status
from roomie.control.settings import ControlSettings
from roomie.profile_files import write_profiles
from tests.roomie.control.world import GB, costs, planner

DEADLINE = 40.0


def wait_until(condition: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


def declare(folder: Path, servers: str, **roomie: Any) -> tuple[Path, Config]:
    """A topics.yaml with ROOMIE in it."""
    file = folder / "topics.yaml"
    write_profiles(folder / "profiles.jsonl", costs().store)
    declaration = {
        "version": 1,
        "deployment": f"roomie-{time.time_ns() % 10**10}",
        "cluster": {"bootstrap_servers": servers},
        "functions": {"find": {"plugin": "emulated"}},
        "pipelines": {"p": {"cameras": ["any"], "steps": [{"function": "find"}]}},
        "roomie": {
            "profiles": [str(folder / "profiles.jsonl")],
            "tick": "200ms",
            "lease": "2s",
            "report": "300ms",
            "ready_timeout": "5s",
            "probation": "1s",
            "session_timeout": "1500ms",
            "autoscaling": {"policy": "none"},
            "batching_every": 0,
            **roomie,
        },
    }
    file.write_text(yaml.safe_dump(declaration), encoding="utf-8")
    return file, load_config(file)


def create_topics(transport: Transport, config: Config) -> None:
    create_declared_topics(
        config,
        transport,
        only=lambda name: ".roomie." in name or name.endswith(".capacity"),
    )


class Node:
    """A pretended worker in a thread of its own: follows placements and reports."""

    def __init__(
        self, transport: Transport, names: TopicNames, worker: FakeWorker, every: float = 0.1
    ) -> None:
        self.worker = worker
        self._transport, self._names, self._every = transport, names, every
        self._table: dict[str, Placement] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(DEADLINE)

    def _run(self) -> None:
        producer = self._transport.producer()
        reader = self._transport.reader([self._names.placements])
        while not self._stopping.is_set():
            for record in reader.poll(100, self._every):
                model = (record.key or b"").decode()
                if record.value is None:
                    self._table.pop(model, None)
                    continue
                with contextlib.suppress(RecordError):  # some test's nonsense
                    self._table[model] = Placement.from_json(record.value)
            now = time.time()
            self.worker.follow(self._table.values(), now)
            report = self.worker.report(now)
            producer.send(
                Record(
                    topic=self._names.workers, key=report.worker.encode(), value=report.to_json()
                )
            )
            producer.poll(0)
        reader.close()
        producer.close(1.0)


class Log:
    """Everything on the topics of placements and statuses, read as it comes."""

    def __init__(self, transport: Transport, names: TopicNames) -> None:
        self._reader = transport.reader([names.placements, names.status])
        self._names = names
        self.statuses: list[Status] = []
        self.table: dict[str, Placement] = {}
        self.generations: dict[str, list[int]] = {}
        """Of each model, in the order in which they were written."""

    def poll(self) -> None:
        for record in self._reader.poll(500, 0.05):
            if record.topic == self._names.status:
                assert record.value is not None
                self.statuses.append(Status.from_json(record.value))
            elif record.value is None:
                self.table.pop((record.key or b"").decode(), None)
            else:
                model = (record.key or b"").decode()
                self.table[model] = Placement.from_json(record.value)
                self.generations.setdefault(model, []).append(self.table[model].generation)

    def wait(self, condition: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
        def look() -> object:
            self.poll()
            return condition()

        wait_until(look, what, seconds)

    def wait_until_gone(self, model: str) -> None:
        """Wait until nothing is written of a model."""
        self.wait(lambda: model not in self.table, f"nothing is left of {model}")

    def ready(self, model: str) -> int:
        placement = self.table.get(model)
        return 0 if placement is None else sum(i.state == "ready" for i in placement.instances)

    def outcomes(self, order: str) -> Sequence[str]:
        return [s.event for s in self.statuses if s.is_outcome and s.order == order]

    def close(self) -> None:
        self._reader.close()


def fake_worker(name: str, **settings: Any) -> FakeWorker:
    return FakeWorker(name, memory_bytes=24 * GB, load_s=0.1, drain_s=0.1, lease=2.0, **settings)


SETTINGS = ControlSettings(
    lease=2.0, ready_timeout=5.0, retry=0.5, probation=0.5, probation_requests=5
)


def make_core() -> Core:
    return Core(planner(), SETTINGS)


class Running:
    """A controller in a thread."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.controller.run()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            self.error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.controller.stop()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
