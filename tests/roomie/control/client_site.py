"""Servers with instances of a model that doubles, and clients of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dataflow.transport.memory import MemoryTransport
from roomie.control.instance_client import ClientSettings, InstanceClient
from roomie.triton.fake import FakeTriton
from roomie.triton.model_config import Tuning
from roomie.triton.repository import InstanceRepository
from tests.roomie.control.kit import Plant
from tests.roomie.triton.models import PROGRAMS, add_model
from tests.roomie.waiting import wait_until

SETTINGS = ClientSettings(wait=20.0, attempts=3)


@dataclass
class Site:
    plant: Plant
    folder: Path
    servers: dict[str, FakeTriton] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    clients: list[InstanceClient] = field(default_factory=list)

    def server(self, url: str, *instances: str, program: str = "double", batch: int = 4) -> None:
        """A server with instances of a model that doubles."""
        folder = self.folder / url / "instances"
        folder.mkdir(parents=True)
        server = self.servers[url] = FakeTriton(folder, PROGRAMS, url=url)
        self.load(url, *instances, program=program, batch=batch)
        assert server.ready()

    def load(self, url: str, *instances: str, program: str = "double", batch: int = 4) -> None:
        sources = self.folder / url / "models"
        add_model(sources, program, program, batch=0 if batch == 0 else 8)
        repository = InstanceRepository(sources, self.folder / url / "instances")
        for name in instances:
            settings = repository.write(name, program, Tuning(version=1, batch=max(1, batch)))
            self.servers[url].load(name, settings, timeout=10)

    def connect(self, url: str) -> FakeTriton:
        self.opened.append(url)
        return self.servers[url]

    def client(
        self,
        settings: ClientSettings = SETTINGS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> InstanceClient:
        client = InstanceClient(
            "m",
            self.plant.transport,
            self.plant.names,
            settings=settings,
            connect=self.connect,
            monotonic=monotonic,
        )
        self.clients.append(client)
        return client

    def ready(self, client: InstanceClient, count: int) -> None:
        wait_until(lambda: len(client.instances()) == count, f"{count} instances are known")


@contextmanager
def client_site(tmp_path: Path) -> Iterator[Site]:
    with MemoryTransport() as transport:
        plant = Plant(transport)
        found = Site(plant, tmp_path)
        yield found
        for client in found.clients:
            client.close()
        plant.close()
