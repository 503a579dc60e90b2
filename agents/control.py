"""The same exchange of rows and signals with Faust agents.

A Faust application reads ``F.state``, ``F.signals`` and the capacity topic, each in an agent, in a
thread with an event loop of its own. An outage that ends the application does not end the work: it
is built anew while the engine goes on, and until then the replica works without its neighbours.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import time
from typing import Any

from agents.balancing import CapacityEvent, Signal
from agents.exchange import OLD_SECONDS, TO_HEADER, Decoder, Message, by_priority
from agents.state import ReplicaState
from dataflow.config import ClusterConfig, TopicNames
from dataflow.transport.faust_thread import FaustThread, faust_app, raw_topic

_log = logging.getLogger("videojam.control")

_RESTART_SECONDS = (1.0, 30.0)
"""First and longest pause before a crashed application is built anew."""


class FaustExchange:
    """See `agents.exchange.Exchange`.

    Args:
        bootstrap_servers: host:port list.
        cluster: security and limits.
        names: of the deployment's topics.
        function: the function's name.
        replica: this replica's name.
        incarnation: this process's own name.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str,
        cluster: ClusterConfig,
        names: TopicNames,
        function: str,
        replica: str,
        incarnation: str,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._cluster = cluster
        self._decoder = Decoder(names, function, replica)
        self._replica = replica
        # A group of its own: every replica reads everything.
        self._group = f"{names.group(function)}.control.{incarnation}"
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._channels: dict[str, Any] = {}
        self._faust = FaustThread(
            self._build,
            what="control plane",
            log=_log,
            pauses=_RESTART_SECONDS,
            before_stop=self._forget_channels,
        )
        self._faust.start()

    # -- from the replica's threads ---------------------------------------------------------------

    def poll(self, timeout: float) -> list[Message]:
        """See `agents.exchange.Exchange`."""
        messages: list[Message] = []
        with contextlib.suppress(queue.Empty):
            messages.append(self._inbox.get(timeout=timeout))
            while True:
                messages.append(self._inbox.get_nowait())
        return by_priority(messages)

    def publish_state(self, state: ReplicaState) -> None:
        """See `agents.exchange.Exchange`."""
        self._send(self._decoder.state, self._replica, state.model_dump_json().encode())

    def send_signal(self, signal: Signal) -> None:
        """See `agents.exchange.Exchange`."""
        headers = {} if signal.to is None else {TO_HEADER: signal.to.encode()}
        self._send(self._decoder.signals, signal.to or self._replica, signal.encode(), headers)

    def publish_capacity(self, event: CapacityEvent) -> None:
        """See `agents.exchange.Exchange`."""
        self._send(self._decoder.capacity, event.function, event.model_dump_json().encode())

    def close(self) -> None:
        """See `agents.exchange.Exchange`."""
        self._send(self._decoder.state, self._replica, None)
        self._faust.close()

    def _send(
        self, topic: str, key: str, value: bytes | None, headers: dict[str, bytes] | None = None
    ) -> None:
        def produce() -> None:
            channel = self._channels.get(topic)
            if channel is None:
                return  # no application runs: best effort
            task = self._faust.loop.create_task(
                _publish(channel, key.encode(), value, headers or {})
            )
            task.add_done_callback(_note_failure)

        self._faust.call(produce)

    # -- in the thread of the event loop ----------------------------------------------------------

    async def _forget_channels(self) -> None:
        self._channels = {}

    def _build(self, loop: asyncio.AbstractEventLoop) -> Any:
        app = faust_app(
            self._group,
            bootstrap_servers=self._bootstrap_servers,
            cluster=self._cluster,
            loop=loop,
            producer_max_request_size=int(self._cluster.max_message_size),
            producer_linger=0,
        )
        channels = {}
        for name in self._decoder.topics:
            channels[name] = raw_topic(app, name)
            app.agent(channels[name], name=f"{self._group}.{name}")(self._follow)
        self._channels = channels
        return app

    async def _follow(self, stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            if time.time() - message.timestamp > OLD_SECONDS:
                continue
            heard = self._decoder.decode(
                message.topic, event.key, event.value, list((event.headers or {}).items())
            )
            if heard is not None:
                self._inbox.put(heard)


async def _publish(channel: Any, key: bytes, value: bytes | None, headers: Any) -> None:
    await (await channel.send(key=key, value=value, headers=headers))


def _note_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.warning("cannot tell the other replicas: %r", error)
