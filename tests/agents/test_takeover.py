"""Workers that die are made to leave their group by whoever started them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from agents.supervisor import Supervisor
from agents.takeover import Takeover
from dataflow.broker import EmbeddedBroker
from dataflow.config import Config
from dataflow.transport.kafka import KafkaTransport
from tests.agents.plant import Plant, wait_until
from tests.agents.processes import declare
from tests.agents.test_balancing_processes import rows, send_to

_SESSION_SECONDS = 120.0


@pytest.mark.broker
@pytest.mark.timeout(240)
def test_a_killed_workers_partitions_are_worked_on_long_before_the_session_timeout(
    kafka: EmbeddedBroker, tmp_path: Path
) -> None:
    file, config = declare(tmp_path, kafka.bootstrap_servers, session_timeout=_SESSION_SECONDS)
    with (
        KafkaTransport.from_config(config) as transport,
        Supervisor(
            file, kafka.bootstrap_servers, tmp_path, on_end=Takeover(config).hasten
        ) as supervisor,
    ):
        plant = Plant(transport, config=config)
        supervisor.start({"find": 2})

        def owned_by(pids: set[int | None]) -> set[int]:
            return {
                partition
                for row in rows(plant).values()
                if row.pid in pids
                for partition in row.partitions
            }

        def running() -> set[int | None]:
            return {worker.pid for worker in supervisor.workers}

        wait_until(lambda: owned_by(running()) == {0, 1, 2, 3}, "all partitions are owned")
        dead, alive = supervisor.workers
        assert dead.pid is not None
        os.kill(dead.pid, signal.SIGKILL)
        killed = time.monotonic()
        wait_until(lambda: list(supervisor.watch()) == [dead], "its end is noticed")
        wait_until(lambda: owned_by({alive.pid}) == {0, 1, 2, 3}, "the other one has all")
        for partition in range(4):
            send_to(plant, partition, f"camera-{partition}", 3)
        plant.wait_for_ends(12)
        assert time.monotonic() - killed < _SESSION_SECONDS / 2


def test_without_a_broker_there_is_nothing_to_hasten() -> None:
    config = Config.model_validate(
        {
            "version": 1,
            "cluster": {"bootstrap_servers": "127.0.0.1:1", "session_timeout": 0.3},
            "functions": {"find": {}},
            "pipelines": {"p": {"cameras": ["any"], "steps": [{"function": "find"}]}},
        }
    )
    thread = Takeover(config).hasten("find")
    thread.join(30)
    assert not thread.is_alive()
