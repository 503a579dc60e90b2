"""How a member of the controllers' group gives its partition away; the rest is tested on Kafka."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from dataflow.config import ClusterConfig
from dataflow.transport import Received
from roomie.control import membership


class Busy(threading.Event):
    """Never set, and asked for how long it is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.patience: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.patience.append(timeout)
        return False


class Writing:
    """An owner that does not get to an end."""

    def __init__(self) -> None:
        self.idle = Busy()

    def assigned(self) -> None: ...

    def revoked(self) -> threading.Event:
        return self.idle

    def obey(self, record: Received) -> Any:
        raise AssertionError(record)


@pytest.mark.parametrize("session_timeout", [0.5, 1.5, 6.0, 30.0])
def test_it_waits_for_the_end_of_writing_less_long_than_its_session_lasts(
    monkeypatch: pytest.MonkeyPatch, session_timeout: float
) -> None:
    class Thread:
        def __init__(self, build: object, **hooks: Any) -> None:
            del build
            self.resign = hooks["before_stop"]

        @property
        def loop(self) -> asyncio.AbstractEventLoop:
            return asyncio.get_running_loop()

        def start(self) -> None: ...

        def close(self) -> None:
            asyncio.run(self.resign())

    monkeypatch.setattr(membership, "FaustThread", Thread)
    owner = Writing()
    member = membership.Membership(
        bootstrap_servers="none:1",
        cluster=ClusterConfig(bootstrap_servers="none:1"),
        topic="orders",
        group="controllers",
        owner=owner,
        session_timeout=session_timeout,
    )
    member.close()
    (patience,) = owner.idle.patience
    assert patience is not None
    assert 0.5 * session_timeout < patience < session_timeout
