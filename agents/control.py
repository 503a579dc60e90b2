"""The control plane of a replica: a Faust application beside the data plane.

It publishes the replica's row to ``F.state`` and follows the rows of its neighbours. Faust fetches
no frames: on this path it reaches a quarter of what a bare loop moves (docs/benchmarks.md), so the
engine fetches them through confluent-kafka, and an outage that ends a Faust application does not
end the work: the application is built anew while the engine goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from typing import Any

import faust
from faust.types.auth import CredentialsT

from agents.state import ReplicaState
from dataflow.config import ClusterConfig, TopicNames
from dataflow.config.model import SecurityConfig
from dataflow.errors import RecordError

_log = logging.getLogger("videojam.control")

_PUBLISH_SECONDS = 1.0
"""Pause between two rows."""
_RESTART_SECONDS = (1.0, 30.0)
"""First and longest pause before a crashed application is built anew."""


class ControlPlane:
    """Runs the Faust application of one replica, again and again if need be.

    Args:
        bootstrap_servers: host:port list.
        cluster: security and limits.
        names: of the deployment's topics.
        function: the function's name.
        replica: this replica's name.
        incarnation: this process's own name.
        row: makes the replica's current row.
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
        row: Callable[[], ReplicaState],
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._cluster = cluster
        self._names = names
        self._function = function
        self._replica = replica
        self._incarnation = incarnation
        self._row = row
        self.neighbours: dict[str, ReplicaState] = {}

    async def run(self) -> None:
        """Until cancelled."""
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
            await _stop(app)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _RESTART_SECONDS[1])

    def _build(self) -> Any:
        group = f"{self._names.group(self._function)}.control.{self._incarnation}"
        servers = ";".join(
            f"kafka://{server.strip()}" for server in self._bootstrap_servers.split(",")
        )
        app = faust.App(
            # A group of its own: every replica reads every row, from the first.
            group,
            broker=servers,
            broker_credentials=credentials(self._cluster.security),
            autodiscover=False,
            consumer_auto_offset_reset="earliest",
            producer_max_request_size=int(self._cluster.max_message_size),
            store="memory://",
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
        )
        state = app.topic(
            self._names.state(self._function),
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
        )

        async def publish() -> None:
            row = self._row()
            await state.send(key=self._replica.encode(), value=row.model_dump_json().encode())

        async def follow(stream: Any) -> None:
            async for event in stream.events():
                self._hear(event.key, event.value)

        app.timer(interval=_PUBLISH_SECONDS)(publish)
        app.agent(state)(follow)
        return app

    def _hear(self, key: bytes | None, value: bytes | None) -> None:
        name = (key or b"").decode("utf-8", "replace")
        if not value:
            self.neighbours.pop(name, None)
            return
        try:
            row = ReplicaState.from_json(value)
        except RecordError as error:
            _log.warning("ignoring a row of %s: %s", name, error)
            return
        if name != self._replica:
            self.neighbours[name] = row
        elif row.incarnation != self._incarnation and row.at > self._row().started_at:
            _log.error(
                "another process (pid %d on %s) calls itself %s too: give each replica a name "
                "of its own with --replica",
                row.pid,
                row.host,
                name,
            )


async def _stop(app: Any) -> None:
    # A crashed application may fail to stop in many ways; none matters for the next one.
    with contextlib.suppress(Exception):
        await asyncio.wait_for(app.stop(), 5)


def credentials(security: SecurityConfig) -> CredentialsT | None:
    """Faust's form of a cluster's security settings."""
    if security.protocol == "PLAINTEXT":
        return None
    context = None
    if security.protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=security.ca_file)
        if security.certificate_file is not None:
            context.load_cert_chain(
                security.certificate_file,
                security.key_file,
                None if security.key_password is None else security.key_password.get_secret_value(),
            )
    if security.protocol == "SSL":
        return faust.SSLCredentials(context)
    return faust.SASLCredentials(
        username=security.username,
        password=None if security.password is None else security.password.get_secret_value(),
        ssl_context=context,
        mechanism=security.sasl_mechanism,
    )
