"""A Faust application beside threads that know nothing of it. Slow to import: where it is used."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import shutil
import tempfile
import threading
from collections.abc import Awaitable, Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import Any

import faust

from dataflow.backoff import doubled
from dataflow.config.model import ClusterConfig
from dataflow.transport.faust_security import credentials

_STOP_SECONDS = 10.0


async def _nothing() -> None:
    """Nothing has to be done."""


class FaustThread:
    """Runs an application in a thread with a loop of its own, and builds it anew when it ends.

    An outage that ends the application does not end what uses it. Until the next one runs, that
    does without.

    Args:
        build: makes the application for a loop; called in that loop's thread, and again after a
            pause when it raises.
        what: the application is for, in the log.
        log: where it is said that one has ended.
        pauses: seconds before a new one is built: after the first failure, and at most.
        before_stop: awaited, in the loop's thread, before an application is stopped.
        beside: runs once in the loop's thread, beside the applications, and is cancelled at the
            end.
    """

    def __init__(
        self,
        build: Callable[[asyncio.AbstractEventLoop], Any],
        *,
        what: str,
        log: logging.Logger,
        pauses: tuple[float, float],
        before_stop: Callable[[], Awaitable[object]] = _nothing,
        beside: Callable[[], Coroutine[Any, Any, None]] = _nothing,
    ) -> None:
        self._build = build
        self._what = what
        self._log = log
        self._pauses = pauses
        self._before_stop = before_stop
        self._beside = beside
        self.loop = asyncio.new_event_loop()
        self._again = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._serve, name="faust", daemon=True)

    def start(self) -> None:
        """Begin to build and run."""
        self._thread.start()

    def call(self, action: Callable[[], object]) -> None:
        """Let the loop's thread do something; nothing once it is closed."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(action)

    def restart(self) -> None:
        """Stop the application and build it anew; from any thread."""
        self.call(self._again.set)

    def close(self) -> None:
        """Stop the application and the thread."""
        self.call(self._cancel)
        self._thread.join(2 * _STOP_SECONDS)

    # -- in the thread of the event loop -----------------------------------------------------------

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self._running = self.loop.create_task(self._run())
        with contextlib.suppress(asyncio.CancelledError):
            self.loop.run_until_complete(self._running)
        self.loop.close()

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> None:
        beside = self.loop.create_task(self._beside())
        try:
            await self._keep_running()
        finally:
            beside.cancel()

    async def _keep_running(self) -> None:
        failures = 0
        while True:
            self._again.clear()
            app: Any = None
            try:
                app = self._build(self.loop)
                await app.start()
                failures = 0
                await app.wait(self._again)  # until it crashes, stops by itself, or shall restart
                if not self._again.is_set():
                    self._log.warning(
                        "%s ended: %r", self._what, getattr(app, "crash_reason", None)
                    )
            except asyncio.CancelledError:
                await self._stop(app)
                raise
            except Exception as error:  # noqa: BLE001 - whatever ends it, it is built anew
                self._log.warning("%s failed: %r", self._what, error)
            await self._stop(app)
            await asyncio.sleep(doubled(*self._pauses, failures))
            failures += 1

    async def _stop(self, app: Any) -> None:
        if app is None:  # it could not even be built
            return
        try:
            await self._before_stop()
        except Exception as error:  # noqa: BLE001 - the application has to stop in any case
            self._log.warning("%s could not be prepared for its stop: %r", self._what, error)
        # A crashed application may fail to stop in many ways; none matters for the next one.
        with contextlib.suppress(Exception):
            await asyncio.wait_for(app.stop(), _STOP_SECONDS)


def faust_app(
    group: str,
    *,
    bootstrap_servers: str,
    cluster: ClusterConfig,
    loop: asyncio.AbstractEventLoop,
    **options: Any,
) -> Any:
    """An application that only follows topics that exist, and keeps no state of its own.

    Args:
        group: its name, and that of its consumer group.
        bootstrap_servers: host:port list.
        cluster: security.
        loop: its event loop.
        options: others of Faust's.
    """
    servers = ";".join(f"kafka://{server.strip()}" for server in bootstrap_servers.split(","))
    return faust.App(
        group,
        broker=servers,
        broker_credentials=credentials(cluster.security),
        autodiscover=False,
        consumer_auto_offset_reset="earliest",
        store="memory://",
        datadir=scratch(),
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        loop=loop,
        **options,
    )


@cache
def scratch() -> Path:
    """A folder that Faust insists on and never writes to: else it makes one where it is started."""
    folder = Path(tempfile.mkdtemp(prefix="videojam-faust-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def raw_topic(app: Any, name: str) -> Any:
    """A topic whose keys and values stay bytes."""
    return app.topic(
        name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )
