"""Who decides: a Faust agent on the one partition of ``roomie.deploy``.

Every controller is a member of one consumer group, so the broker gives the partition, and with it
the orders, to one of them at a time, and to another one when that one has been silent for the
session timeout. Faust runs in a thread with an event loop of its own. The agent hands each order
on and lets its offset be committed only when the order has been acted on and that is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from typing import Any

import faust
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from dataflow.config import ClusterConfig
from dataflow.transport import Received
from dataflow.transport.faust_security import credentials
from roomie.control import predecessors
from roomie.control.owner import Owner, ResignedError

_log = logging.getLogger("videojam.roomie")

_RESTART_SECONDS = (0.25, 1.0)
"""First and longest pause before an application that ended is built anew."""
_HEARTBEAT_SECONDS = 1.0
"""Most between two: by them a member hears that others have come or gone."""
_STOP_SECONDS = 10.0
_RESIGN_SECONDS = 4.0
"""Longest wait for the controller to stop writing when its partition goes: below the session
timeout, after which the partition is somebody else's anyway."""


class Membership:
    """One member of the group of controllers.

    Args:
        bootstrap_servers: host:port list.
        cluster: security and limits.
        topic: of orders.
        group: of all controllers.
        owner: who is told.
        session_timeout: seconds of silence after which another one takes over.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str,
        cluster: ClusterConfig,
        topic: str,
        group: str,
        owner: Owner,
        session_timeout: float,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._cluster = cluster
        self._topic = topic
        self._group = group
        self._owner = owner
        self._session_timeout = session_timeout
        self._identity = predecessors.own_identity()
        self._loop = asyncio.new_event_loop()
        self._again = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._serve, name="faust", daemon=True)
        self._thread.start()

    def rejoin(self) -> None:
        """Leave the group and join it again: what was believed of the partition is void."""
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._again.set)

    def close(self) -> None:
        """Leave the group."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel)
        self._thread.join(2 * _STOP_SECONDS)

    # -- in the thread of the event loop -----------------------------------------------------------

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._running = self._loop.create_task(self._run())
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._running)
        self._loop.close()

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> None:
        dismissing = self._loop.create_task(self._dismiss())
        try:
            await self._belong()
        finally:
            dismissing.cancel()

    async def _dismiss(self) -> None:
        """Once: of those that this machine has lost before, none is waited for."""
        servers = self._bootstrap_servers
        security = credentials_to_aiokafka_auth(credentials(self._cluster.security))
        try:
            await predecessors.dismiss(
                self._group,
                self._identity,
                {"bootstrap_servers": servers, **security},
                seconds=2 * self._session_timeout,
                host=socket.gethostname(),
            )
        except Exception:  # noqa: BLE001 - then the session timeout is waited for, as anywhere else
            _log.exception("those that were killed here before cannot be made to leave the group")

    async def _belong(self) -> None:
        pause = _RESTART_SECONDS[0]
        while True:
            self._again.clear()
            app = self._build()
            try:
                await app.start()
                pause = _RESTART_SECONDS[0]
                await app.wait(self._again)  # until it crashes, stops by itself, or has to rejoin
                if not self._again.is_set():
                    _log.warning("membership ended: %r", getattr(app, "crash_reason", None))
            except asyncio.CancelledError:
                await self._stop(app)
                raise
            except Exception as error:  # noqa: BLE001 - whatever ends it, it is built anew
                _log.warning("membership failed: %r", error)
            await self._stop(app)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _RESTART_SECONDS[1])

    async def _stop(self, app: Any) -> None:
        await self._resign()
        # A crashed application may fail to stop in many ways; none matters for the next one.
        with contextlib.suppress(Exception):
            await asyncio.wait_for(app.stop(), _STOP_SECONDS)

    async def _resign(self) -> None:
        stopped = self._owner.revoked()
        done = await self._loop.run_in_executor(None, stopped.wait, _RESIGN_SECONDS)
        if not done:
            _log.warning("still writing when the partition went; the broker refuses what is late")

    def _build(self) -> Any:
        servers = ";".join(
            f"kafka://{server.strip()}" for server in self._bootstrap_servers.split(",")
        )
        app = faust.App(
            self._group,
            broker=servers,
            broker_client_id=self._identity,
            broker_credentials=credentials(self._cluster.security),
            broker_session_timeout=self._session_timeout,
            broker_heartbeat_interval=min(self._session_timeout / 4, _HEARTBEAT_SECONDS),
            broker_commit_interval=0.2,
            autodiscover=False,
            consumer_auto_offset_reset="earliest",
            store="memory://",
            stream_wait_empty=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            loop=self._loop,
        )
        channel = app.topic(
            self._topic,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
        )
        app.agent(channel, name=f"{self._group}.orders")(self._follow)

        async def on_assigned(*about: Any, **_: Any) -> None:
            assigned = about[-1]
            if any(partition.topic == self._topic for partition in assigned):
                self._owner.assigned()

        async def on_revoked(*_: Any, **__: Any) -> None:
            await self._resign()

        app.on_partitions_assigned.connect(on_assigned, weak=False)
        app.on_partitions_revoked.connect(on_revoked, weak=False)
        return app

    async def _follow(self, stream: Any) -> None:
        orders = stream.noack()
        async for event in orders.events():
            message = event.message
            record = Received(
                message.topic,
                message.partition,
                message.offset,
                message.key,
                message.value,
                [(name, value or b"") for name, value in _pairs(message.headers)],
                int(message.timestamp * 1000),
            )
            try:
                await asyncio.wrap_future(self._owner.obey(record))
            except ResignedError:
                # Not acknowledged, so whoever has the partition next gets it, maybe this member: it
                # joins anew, because this stream would go on behind the order.
                self._again.set()
                await asyncio.Event().wait()
            await orders.ack(event)


def _pairs(headers: Any) -> list[tuple[str, bytes | None]]:
    if not headers:
        return []
    return list(headers.items()) if isinstance(headers, dict) else list(headers)
