"""The server of a worker: one that the worker keeps running, or one that somebody else runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from dataflow.backoff import doubled
from dataflow.broker.distribution import ReportProgress, silent
from roomie.errors import TritonError
from roomie.triton import local
from roomie.triton.grpc import GrpcTriton
from roomie.triton.local import TritonSettings, TritonState
from roomie.triton.logs import explain
from roomie.triton.server import InferenceServer

_log = logging.getLogger("videojam.roomie")

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_SETTLED_SECONDS = 60.0
"""A server that has run for so long and dies is started again at once."""
_CALL_SECONDS = 2.0
"""Deadline of each call of a look."""


class Serving(Protocol):
    """Where a worker's server is."""

    def tend(self, now: float) -> InferenceServer | None:
        """The server, None while there is none. Called all the time; never waits.

        Args:
            now: seconds of a clock that never jumps.
        """
        ...

    def died(self) -> bool:
        """Whether its process has ended since the last call."""
        ...

    def end(self) -> None:
        """Kill a server that has hung, if it is ours to do so; `tend` then starts another one."""
        ...

    def close(self, *, keep: bool) -> None:
        """Let go of it; it is stopped unless ``keep`` or somebody else runs it."""
        ...


class ForeignServer:
    """A server that somebody else runs.

    Args:
        server: the connection.
    """

    def __init__(self, server: InferenceServer) -> None:
        self._server = server

    def tend(self, now: float) -> InferenceServer | None:
        """See `Serving`."""
        del now
        return self._server

    def died(self) -> bool:
        """See `Serving`."""
        return False

    def end(self) -> None:
        """See `Serving`: it is not ours."""

    def close(self, *, keep: bool) -> None:
        """See `Serving`."""
        del keep
        self._server.close()


class OwnServer:
    """A server of `videojam triton` that is started, and started again whenever it ends.

    One of that name that runs already, because the worker before us was killed, is taken over
    with all that it has loaded.

    Args:
        settings: how it runs.
        home: the user's data folder.
        cache: the user's cache folder.
        report: is told of downloads.
        start: starts a server, for tests.
    """

    def __init__(
        self,
        settings: TritonSettings,
        home: Path,
        cache: Path,
        *,
        report: ReportProgress = silent,
        start: Callable[[], TritonState] | None = None,
    ) -> None:
        self._settings = settings
        self._home = home
        self._start = start or (lambda: local.start(settings, home, cache, report=report))
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="triton-start")
        self._starting: Future[TritonState] | None = None
        self._state: TritonState | None = None
        self._server: GrpcTriton | None = None
        self._died = False
        self._failures = 0
        self._retry_at = -float("inf")
        self._since = 0.0
        self._fault: str | None = None

    @property
    def fault(self) -> str | None:
        """Why it could not be started the last time."""
        return self._fault

    @property
    def state(self) -> TritonState | None:
        """Of the running server."""
        return self._state

    def tend(self, now: float) -> InferenceServer | None:
        """See `Serving`."""
        if self._state is not None and self._state.alive():
            return self._server
        if self._state is not None:
            self._ended(now)
        if self._starting is None:
            self._begin(now)
        elif self._starting.done():
            self._started(self._starting, now)
        return self._server

    def died(self) -> bool:
        """See `Serving`."""
        died, self._died = self._died, False
        return died

    def end(self) -> None:
        """See `Serving`."""
        if self._state is not None:
            _log.error("Triton %r answers no longer: killing it", self._state.name)
            local.stop_process(self._state, 0.0)

    def close(self, *, keep: bool) -> None:
        """See `Serving`."""
        self._executor.shutdown(wait=True)
        if self._server is not None:
            self._server.close()
        if not keep:
            local.stop(self._home, self._settings.name)

    def _begin(self, now: float) -> None:
        if now < self._retry_at:
            return
        known = TritonState.read(local.state_file(self._home, self._settings.name))
        if known is not None and known.alive():
            _log.info("taking over Triton %r at %s (pid %d)", known.name, known.url, known.pid)
            self._use(known, now)
            return
        self._starting = self._executor.submit(self._start)

    def _started(self, starting: Future[TritonState], now: float) -> None:
        self._starting = None
        try:
            state = starting.result()
        except Exception as error:  # noqa: BLE001 - a disk that is full is no reason to give up
            self._failures += 1
            self._retry_at = now + self._pause()
            known = isinstance(error, TritonError)
            self._fault = str(error) if known else f"{type(error).__name__}: {error}"
            _log.error("%s", self._fault, exc_info=None if known else error)
            return
        _log.info("Triton %r runs at %s (pid %d)", state.name, state.url, state.pid)
        self._use(state, now)

    def _use(self, state: TritonState, now: float) -> None:
        self._state, self._since, self._fault = state, now, None
        self._server = GrpcTriton(
            state.url, metrics_url=state.metrics_url, call_seconds=_CALL_SECONDS
        )

    def _ended(self, now: float) -> None:
        state, server = self._state, self._server
        self._state = self._server = None
        self._died = True
        if state is not None:
            _log.error("%s", explain(f"Triton {state.name!r} ended by itself", Path(state.log)))
            with suppress(ChildProcessError):
                os.waitpid(state.pid, os.WNOHANG)  # it may be a child of ours
        if server is not None:
            server.close()
        self._failures = 0 if now - self._since >= _SETTLED_SECONDS else self._failures + 1
        self._retry_at = now + (self._pause() if self._failures > 1 else 0.0)

    def _pause(self) -> float:
        return doubled(_FIRST_PAUSE, _LONGEST_PAUSE, self._failures - 1)
