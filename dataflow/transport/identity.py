"""Which process a member of a consumer group is: its client id says so."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from dataflow.processes import is_process, start_time

_PREFIX = "videojam"

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
