"""Members of a consumer group that were killed on this machine are made to leave it.

A member that was killed keeps its partitions until the broker has missed it for the session
timeout, and whoever joins meanwhile waits with it. Whoever is on the same machine need not: the
client id of a member names its machine and its process, so that it can be seen that the process is
gone, and its goodbye is said in its place. To err here would cost a rebalance and nothing else: a
member that lives after all joins again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from dataflow.config import ClusterConfig
from dataflow.transport.faust_security import credentials
from dataflow.transport.identity import here, is_gone

_log = logging.getLogger("videojam.kafka")

_PAUSE_SECONDS = 0.1


async def dismiss(
    group: str,
    bootstrap_servers: str,
    cluster: ClusterConfig,
    *,
    seconds: float,
    after: str | None = None,
) -> int:
    """Make members leave that were killed on this machine.

    Args:
        group: of which group.
        bootstrap_servers: host:port list.
        cluster: security.
        seconds: how long to try; after a session timeout there is nothing left to do.
        after: client id of a member that has to have joined before: a group that is left empty
            would let the next member wait for others (``group.initial.rebalance.delay.ms``).

    Returns:
        How many were made to leave.
    """
    deadline = time.monotonic() + seconds
    security = credentials_to_aiokafka_auth(credentials(cluster.security))
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers, **security)
    try:
        while time.monotonic() < deadline:
            try:
                if not client.cluster.brokers():
                    await client.bootstrap()
                coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
                members = await _members(client, coordinator, group)
                if after is None or after in members.values():
                    gone = [m for m, of in members.items() if is_gone(of, here())]
                    for member in gone:
                        await _leave(client, coordinator, group, member)
                        _log.info("%s was killed here: it leaves %s", members[member], group)
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
