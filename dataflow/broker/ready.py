"""Wait until a broker answers, and choose ports for it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import closing

PORTS = range(20000, 30000)
"""Where free ports are looked for: below the range that Linux gives to outgoing connections.

A port of that range could be taken by a client's connection attempt while the broker restarts.
"""

_ATTEMPT_S = 2.0
_PAUSE_S = 0.05


def port_is_free(host: str, port: int) -> bool:
    """Tell whether a server could listen on `port` of `host`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        # As Java does: connections of a broker that has just ended are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def listens(host: str, port: int, *, timeout: float) -> bool:
    """Tell whether somebody takes connections at a port of this machine.

    To try whether the port can still be bound would tell as much, and take it away from a server
    that is about to bind it.

    Args:
        host: address that the server listens on, one for all addresses included.
        port: of it.
        timeout: most seconds to wait for the connection.
    """
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared only
    try:
        socket.create_connection((local, port), timeout=timeout).close()
    except OSError:
        return False
    return True


def free_ports(host: str, count: int, *, start: int | None = None) -> list[int]:
    """Return `count` different free TCP ports of `host`.

    Args:
        host: the address to listen on.
        count: how many.
        start: offset into `PORTS` to look from; by default one that differs between processes,
            so that several started at once do not choose the same.

    Raises:
        OSError: the address is not of this machine, or no port is free.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.bind((host, 0))
    first = os.getpid() * 7 if start is None else start
    found: list[int] = []
    for step in range(len(PORTS)):
        port = PORTS[(first + step) % len(PORTS)]
        if port_is_free(host, port):
            found.append(port)
            if len(found) == count:
                return found
    raise OSError(f"no free port of {host} in {PORTS.start} to {PORTS.stop - 1}")


def reported_cluster(bootstrap_servers: str, timeout: float) -> tuple[str, int] | None:
    """Return (cluster id, number of topics) as the admin API answers, None if it does not.

    Internal topics, whose names begin with two underscores, are not counted.
    """
    # Imported here: `videojam --help` is not to wait for it.
    from confluent_kafka import KafkaException  # noqa: PLC0415 - slow to import
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415 - slow to import

    admin = AdminClient(
        {
            "bootstrap.servers": bootstrap_servers,
            "log_level": 0,
            "socket.connection.setup.timeout.ms": 2000,
            "reconnect.backoff.max.ms": 200,
        }
    )
    try:
        answer = admin.list_topics(timeout=timeout)
    except KafkaException:
        return None
    topics = [name for name in answer.topics if not name.startswith("__")]
    return str(answer.cluster_id), len(topics)


def wait_until_ready(
    host: str,
    port: int,
    *,
    bootstrap_servers: str,
    cluster_id: str,
    deadline: float,
    alive: Callable[[], bool],
) -> bool:
    """Wait until the broker of `cluster_id` answers; False if it ended or time is up.

    Args:
        host: address that it listens on; connecting there is tried first, which is cheap.
        port: port of the clients' listener.
        bootstrap_servers: what clients are told to connect to.
        cluster_id: the id its metadata holds; another cluster's answer does not count.
        deadline: time of `time.monotonic` to give up at.
        alive: tells whether the process still runs.
    """
    while alive() and time.monotonic() < deadline:
        if listens(host, port, timeout=_ATTEMPT_S):
            answer = reported_cluster(bootstrap_servers, timeout=_ATTEMPT_S)
            if answer is not None and answer[0] == cluster_id:
                return True
        time.sleep(_PAUSE_S)
    return False
