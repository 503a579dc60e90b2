"""Members of the group of controllers that were killed on this machine are made to leave it.

A member that was killed holds its partition until the broker has missed it for the session timeout,
and whoever joins meanwhile waits with it. Whoever is started on the same machine need not: the
client id of a member names its machine and its process, so that it can be seen that the process is
gone, and its goodbye is said in its place. To err here would cost a term and nothing else: a member
that lives after all joins again, and what it writes in between is refused (`roomie.control.term`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest

from dataflow.processes import is_process, start_time

_log = logging.getLogger("videojam.roomie")

_PREFIX = "roomie-controller"
_PAUSE_SECONDS = 0.1

IsAlive = Callable[[int, float], bool]
"""Whether a process that was started at a time, in seconds since the epoch, still runs."""


def own_identity() -> str:
    """Client id of this process."""
    pid = os.getpid()
    return identity(socket.gethostname(), pid, start_time(pid) or time.time())


def identity(host: str, pid: int, started_at: float) -> str:
    """Client id of a process: the machine, its number there, and when it was started."""
    return f"{_PREFIX}.{host}.{pid}.{started_at:.3f}"


def is_gone(client_id: str, host: str, is_alive: IsAlive = is_process) -> bool:
    """Whether a client id is of a process of this machine that has ended.

    Args:
        client_id: of a member; any text.
        host: this machine.
        is_alive: tells of its processes.
    """
    before = f"{_PREFIX}.{host}."
    if not client_id.startswith(before):
        return False
    pid, _, started_at = client_id.removeprefix(before).partition(".")
    try:
        return not is_alive(int(pid), float(started_at))
    except ValueError:
        return False


async def dismiss(
    group: str,
    me: str,
    connection: Mapping[str, Any],
    *,
    seconds: float,
    host: str,
    is_alive: IsAlive = is_process,
) -> int:
    """Make members leave that were killed on this machine, as soon as ``me`` has joined.

    Not before: a group that is empty would let the next member wait for others
    (``group.initial.rebalance.delay.ms``).

    Args:
        group: of which group.
        me: client id of this process.
        connection: arguments of aiokafka's clients: bootstrap servers and security.
        seconds: how long to wait for ``me``; after a session timeout there is nothing left to do.
        host: this machine.
        is_alive: tells of its processes.

    Returns:
        How many were made to leave.
    """
    deadline = time.monotonic() + seconds
    client = AIOKafkaClient(client_id=me, **connection)
    try:
        while time.monotonic() < deadline:
            try:
                if not client.cluster.brokers():
                    await client.bootstrap()
                coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
                members = await _members(client, coordinator, group)
                if me in members.values():
                    gone = [m for m, of in members.items() if is_gone(of, host, is_alive)]
                    for member in gone:
                        await _leave(client, coordinator, group, member)
                        _log.info("%s was killed here: it leaves the group", members[member])
                    return len(gone)
            except KafkaError as error:
                _log.debug("cannot look at the group %s yet: %r", group, error)
            await asyncio.sleep(_PAUSE_SECONDS)
        return 0
    finally:
        await client.close()


async def _members(client: Any, coordinator: int, group: str) -> dict[str, str]:
    """Client ids of the group's members, by member id."""
    answer = await client.send(coordinator, DescribeGroupsRequest([group]))
    error, _, _, _, _, members, *_ = answer.groups[0]
    if error:
        raise for_code(error)
    return {member: client_id for member, client_id, *_ in members}


async def _leave(client: Any, coordinator: int, group: str, member: str) -> None:
    answer = await client.send(coordinator, LeaveGroupRequest(group, member))
    if answer.error_code:
        raise for_code(answer.error_code)
