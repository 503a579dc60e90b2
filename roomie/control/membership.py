"""Who decides: a Faust agent on the one partition of ``roomie.deploy``.

Every controller is a member of one consumer group, so the broker gives the partition, and with it
the orders, to one of them at a time, and to another one when that one has been silent for the
session timeout. Faust runs in a thread with an event loop of its own. The agent hands each order
on and lets its offset be committed only when the order has been acted on and that is written.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from dataflow.config import ClusterConfig
from dataflow.transport import Received
from dataflow.transport.dismissal import dismiss
from dataflow.transport.faust_thread import FaustThread, faust_app, raw_topic
from dataflow.transport.identity import own_identity
from roomie.control.owner import Owner, ResignedError

_log = logging.getLogger("videojam.roomie")

_RESTART_SECONDS = (0.25, 1.0)
"""First and longest pause before an application that ended is built anew."""
_HEARTBEAT_SECONDS = 1.0
"""Most between two: by them a member hears that others have come or gone."""
_RESIGN_SHARE = 2 / 3
"""Of the session timeout: longest wait for the controller to stop writing when its partition goes.
After all of it the partition is somebody else's anyway."""


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
        self._identity = own_identity()
        self._faust = FaustThread(
            self._build,
            what="membership",
            log=_log,
            pauses=_RESTART_SECONDS,
            before_stop=self._resign,
            beside=self._dismiss,
        )
        self._faust.start()

    def rejoin(self) -> None:
        """Leave the group and join it again: what was believed of the partition is void."""
        self._faust.restart()

    def close(self) -> None:
        """Leave the group."""
        self._faust.close()

    # -- in the thread of the event loop -----------------------------------------------------------

    async def _dismiss(self) -> None:
        """Once: of those that this machine has lost before, none is waited for."""
        try:
            await dismiss(
                self._group,
                self._bootstrap_servers,
                self._cluster,
                seconds=2 * self._session_timeout,
                after=self._identity,
            )
        except Exception:  # noqa: BLE001 - then the session timeout is waited for, as anywhere else
            _log.exception("those that were killed here before cannot be made to leave the group")

    async def _resign(self) -> None:
        stopped, patience = self._owner.revoked(), _RESIGN_SHARE * self._session_timeout
        done = await self._faust.loop.run_in_executor(None, stopped.wait, patience)
        if not done:
            _log.warning("still writing when the partition went; the broker refuses what is late")

    def _build(self, loop: asyncio.AbstractEventLoop) -> Any:
        app = faust_app(
            self._group,
            bootstrap_servers=self._bootstrap_servers,
            cluster=self._cluster,
            loop=loop,
            broker_client_id=self._identity,
            broker_session_timeout=self._session_timeout,
            broker_heartbeat_interval=min(self._session_timeout / 4, _HEARTBEAT_SECONDS),
            broker_commit_interval=0.2,
            stream_wait_empty=False,
        )
        channel = raw_topic(app, self._topic)
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
                self._faust.restart()
                await asyncio.Event().wait()
            await orders.ack(event)


def _pairs(headers: Any) -> list[tuple[str, bytes | None]]:
    if not headers:
        return []
    return list(headers.items()) if isinstance(headers, dict) else list(headers)
