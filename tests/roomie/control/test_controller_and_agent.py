"""The controller and worker agents together: orders become instances of a server."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from dataflow.config import TopicNames
from dataflow.transport.memory import MemoryTransport
from roomie.control.agent import Agent, AgentOptions
from roomie.control.agent_values import AgentSettings
from roomie.control.client import RoomieClient
from roomie.control.controller import Controller, Group
from roomie.control.core import Core
from roomie.control.records import GpuReport, ModelSpec
from roomie.control.serving import ForeignServer
from roomie.triton.fake import FakeTriton
from roomie.triton.repository import InstanceRepository
from tests.roomie.control.kit import answers
from tests.roomie.control.plant import (
    SETTINGS,
    Log,
    Running,
    create_topics,
    declare,
    make_core,
    wait_until,
)
from tests.roomie.control.test_controller import MemoryGroup
from tests.roomie.control.world import planner
from tests.roomie.triton.models import PROGRAMS, add_model

QUICK = AgentSettings(
    load_seconds=60, attempts=1, backoff=0.1, drain_seconds=0.2, longest_drain=5, silence=3
)


class Node:
    """A worker agent with a pretended Triton, in a thread."""

    def __init__(
        self, transport: MemoryTransport, names: TopicNames, name: str, folder: Path
    ) -> None:
        instances = folder / f"{name}-instances"
        instances.mkdir(exist_ok=True)
        self.server = FakeTriton(instances, PROGRAMS)
        gpu = GpuReport(id=f"{name}/0", device="A100-SXM4-40GB", memory_bytes=24 << 30)
        self._agent = Agent(
            AgentOptions(
                worker=name,
                node=name,
                incarnation=uuid.uuid4().hex[:8],
                gpus={gpu.id: None},
                lease=6.0,
                report_seconds=0.2,
                settings=QUICK,
            ),
            ForeignServer(self.server),
            InstanceRepository(folder / "models", instances),
            transport,
            names,
            gpus=(gpu,),
        )
        self._thread = threading.Thread(target=self._agent.run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._agent.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[tuple[MemoryTransport, TopicNames, Path]]:
    _, config = declare(tmp_path, "memory:1")
    add_model(tmp_path / "models", "m", {1: "double", 2: "double"})
    add_model(tmp_path / "models", "bad", "broken")
    add_model(tmp_path / "models", "errs", "errs")
    with MemoryTransport() as transport:
        create_topics(transport, config)
        yield transport, TopicNames(config.deployment), tmp_path


def test_orders_become_instances_that_answer_and_bad_versions_are_rolled_back(
    plant: tuple[MemoryTransport, TopicNames, Path],
) -> None:
    transport, names, folder = plant

    def join(owner: Controller) -> Group:
        return MemoryGroup(transport, names, owner)

    controller = Controller(
        names=names, transport=transport, make_core=make_core, join=join, name="c", tick=0.05
    )
    log = Log(transport, names)
    with (
        Running(controller),
        Node(transport, names, "w0", folder) as first,
        Node(transport, names, "w1", folder) as second,
        RoomieClient(transport, names, source="/t") as client,
    ):
        servers = {"w0": first.server, "w1": second.server}

        def serving() -> set[int]:
            log.poll()
            ready = [i for i in log.table["m"].instances if i.state == "ready"]
            assert all(answers(servers[i.worker], i.id) for i in ready)
            return {i.version for i in ready}

        spec = ModelSpec(model="m", instances=2, batch=4, memory_bytes=1 << 30, spread="prefer")
        assert client.wait(client.deploy(spec), timeout=90).event == "ready"
        assert serving() == {1}
        for version, event in ((2, "rolled-out"), (9, "rolled-back")):
            order = client.update(spec.model_copy(update={"version": version}))
            outcome = client.wait(order, timeout=90)
            assert outcome.event == event, outcome
            log.wait(lambda: len(log.table["m"].instances) == 2, "what has gone is gone")
            assert serving() == {2}
        for model, why in (("bad", "broken"), ("errs", "inference failed")):
            order = client.deploy(ModelSpec(model=model, memory_bytes=1 << 30))
            outcome = client.wait(order, timeout=90)
            assert outcome.event == "rolled-back"
            assert why in outcome.reason
            log.wait_until_gone(model)
        # `spread: prefer` puts up with one worker while the one before is still draining.
        struck = servers[log.table["m"].instances[0].worker]
        struck.die()
        log.wait(lambda: log.ready("m") < 2, "it is noticed")
        struck.come_back()
        log.wait(lambda: log.ready("m") == 2, "it is back")
        assert client.wait(client.undeploy("m"), timeout=90).event == "removed"
        log.wait_until_gone("m")
    log.close()


@pytest.mark.parametrize("down", ["died", "out of reach"])
def test_what_is_ordered_while_the_server_is_down_is_done_when_it_is_back(
    plant: tuple[MemoryTransport, TopicNames, Path], down: str
) -> None:
    transport, names, folder = plant
    for model in ("scaled", "updated", "removed", "again"):
        add_model(folder / "models", model, {1: "double", 2: "double"})

    def join(owner: Controller) -> Group:
        return MemoryGroup(transport, names, owner)

    def patient() -> Core:
        return Core(planner(), replace(SETTINGS, ready_timeout=60.0))

    controller = Controller(
        names=names, transport=transport, make_core=patient, join=join, name="c", tick=0.05
    )
    log = Log(transport, names)
    with (
        Running(controller),
        Node(transport, names, "w0", folder) as node,
        RoomieClient(transport, names, source="/t") as client,
    ):
        server = node.server

        def spec(model: str, version: int = 1) -> ModelSpec:
            return ModelSpec(model=model, version=version, batch=4, memory_bytes=1 << 30)

        for model in ("scaled", "updated", "removed", "again"):
            assert client.wait(client.deploy(spec(model)), timeout=90).event == "ready"
        if down == "died":
            server.die()
        else:
            server.vanish()
        log.wait(lambda: not any(map(log.ready, log.table)), "it is noticed")
        orders = {
            client.scale("scaled", 2): "scaled",
            client.update(spec("updated", 2)): "rolled-out",
            client.undeploy("removed"): "removed",
            client.undeploy("again"): "removed",
        }
        log.wait_until_gone("again")
        orders[client.deploy(spec("again", 2))] = "ready"
        log.wait(lambda: "again" in log.table, "all orders have been heard")
        assert not server.ready()
        server.come_back()
        for order, event in orders.items():
            assert client.wait(order, timeout=90).event == event

        def settled() -> bool:
            log.poll()
            placed = {i.id: i for p in log.table.values() for i in p.instances}
            loaded = {name for name, entry in server.index().items() if entry.state == "ready"}
            return loaded == set(placed) and all(i.state == "ready" for i in placed.values())

        wait_until(settled, "what is placed is loaded, and nothing else")
        assert {
            model: [i.version for i in placement.instances]
            for model, placement in sorted(log.table.items())
        } == {"again": [2], "scaled": [1, 1], "updated": [2]}
        for placement in log.table.values():
            assert all(answers(server, i.id) for i in placement.instances)
    log.close()
