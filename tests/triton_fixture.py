"""Real Triton servers for tests, as a pytest plugin.

tritonserver is installed once into the user's cache folder. It never skips: where it cannot be
installed or started, the tests that need it fail with the reason.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dataflow.broker.paths import cache_home
from roomie.errors import TritonError
from roomie.triton.grpc import GrpcTriton
from roomie.triton.install import ensure_installed, installed
from roomie.triton.local import TritonSettings, TritonState, start, stop


@dataclass(frozen=True)
class RunningTriton:
    """A server with a client of it."""

    state: TritonState
    client: GrpcTriton

    @property
    def folder(self) -> Path:
        """Its model repository."""
        return Path(self.state.repository)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install the server before the first test: a download must not count against its timeout."""
    if session.config.option.collectonly or installed(cache_home()) is not None:
        return
    if any(item.get_closest_marker("triton") for item in session.items):
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        try:
            ensure_installed(
                cache_home(), report=lambda step: terminal and terminal.write_line(step.message)
            )
        except TritonError:
            return  # the tests that need it say so


StartTriton = Callable[[], RunningTriton]


@pytest.fixture(scope="session")
def start_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartTriton]:
    """Starts servers, which end with the session."""
    home = tmp_path_factory.mktemp("triton-home")
    running: list[RunningTriton] = []

    def begin() -> RunningTriton:
        settings = TritonSettings(name=f"t{uuid.uuid4().hex[:8]}")
        state = start(settings, home, cache_home())
        running.append(RunningTriton(state, GrpcTriton(state.url, metrics_url=state.metrics_url)))
        return running[-1]

    yield begin
    for server in running:
        server.client.close()
        stop(home, server.state.name)


@pytest.fixture(scope="session")
def triton(start_triton: StartTriton) -> RunningTriton:
    """One server, shared by all tests of the session: use instance names of your own."""
    return start_triton()
