"""An agent with a pretended server, and topics in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dataflow.transport.memory import MemoryTransport
from roomie.control.agent import Agent
from roomie.control.serving import ForeignServer
from roomie.triton.fake import FakeTriton
from tests.roomie.control.kit import Plant, agent_of
from tests.roomie.triton.models import PROGRAMS, add_model


@dataclass
class Site:
    plant: Plant
    server: FakeTriton
    sources: Path
    folder: Path

    def agent(self) -> Agent:
        return agent_of(self.plant, ForeignServer(self.server), self.sources, self.folder)

    @contextmanager
    def running(self, agent: Agent | None = None) -> Iterator[Agent]:
        agent = agent or self.agent()
        thread = threading.Thread(target=agent.run)
        thread.start()
        try:
            yield agent
        finally:
            agent.stop()
            thread.join(30)
            assert not thread.is_alive()


@contextmanager
def agent_site(tmp_path: Path) -> Iterator[Site]:
    folder, sources = tmp_path / "instances", tmp_path / "models"
    folder.mkdir()
    add_model(sources, "m", {1: "double", 2: "double"})
    add_model(sources, "bad", "broken")
    add_model(sources, "errs", "errs")
    with MemoryTransport() as transport:
        plant = Plant(transport)
        yield Site(plant, FakeTriton(folder, PROGRAMS), sources, folder)
        plant.close()
