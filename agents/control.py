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
import threading
import time
from typing import Any

import faust

from agents.balancing import CapacityEvent, Signal
from agents.exchange import OLD_SECONDS, TO_HEADER, Decoder, Message, by_priority
from agents.state import ReplicaState
from dataflow.config import ClusterConfig, TopicNames
from dataflow.transport.faust_security import credentials

_log = logging.getLogger("videojam.control")

_RESTART_SECONDS = (1.0, 30.0)
"""First and longest pause before a crashed application is built anew."""
_STOP_SECONDS = 10.0


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
        self._loop = asyncio.new_event_loop()
        self._channels: dict[str, Any] = {}
        self._running: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._serve, name="faust", daemon=True)
        self._thread.start()

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
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel)
        self._thread.join(2 * _STOP_SECONDS)

    def _send(
        self, topic: str, key: str, value: bytes | None, headers: dict[str, bytes] | None = None
    ) -> None:
        def produce() -> None:
            channel = self._channels.get(topic)
            if channel is None:
                return  # no application runs: best effort
            task = self._loop.create_task(_publish(channel, key.encode(), value, headers or {}))
            task.add_done_callback(_note_failure)

        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(produce)

    # -- in the thread of the event loop ----------------------------------------------------------

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
        pause = _RESTART_SECONDS[0]
        while True:
            app = self._build()
            try:
                await app.start()
                pause = _RESTART_SECONDS[0]
                await app.wait(asyncio.Event())  # until it crashes or stops by itself
                _log.warning("control plane stopped: %r", getattr(app, "crash_reason", None))
            except asyncio.CancelledError:
                await _stop(app)
                raise
            except Exception as error:  # noqa: BLE001 - whatever ends it, it is built anew
                _log.warning("control plane failed: %r", error)
            self._channels = {}
            await _stop(app)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _RESTART_SECONDS[1])

    def _build(self) -> Any:
        servers = ";".join(
            f"kafka://{server.strip()}" for server in self._bootstrap_servers.split(",")
        )
        app = faust.App(
            self._group,
            broker=servers,
            broker_credentials=credentials(self._cluster.security),
            autodiscover=False,
            consumer_auto_offset_reset="earliest",
            producer_max_request_size=int(self._cluster.max_message_size),
            producer_linger=0,
            store="memory://",
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            loop=self._loop,
        )
        channels = {}
        for name in self._decoder.topics:
            channels[name] = app.topic(
                name,
                key_type=bytes,
                value_type=bytes,
                key_serializer="raw",
                value_serializer="raw",
            )
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


async def _stop(app: Any) -> None:
    # A crashed application may fail to stop in many ways; none matters for the next one.
    with contextlib.suppress(Exception):
        await asyncio.wait_for(app.stop(), _STOP_SECONDS)
