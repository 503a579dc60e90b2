"""Which process a member of a consumer group is: its client id says so."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path

import psutil

from dataflow.processes import start_time

_PREFIX = "videojam"

Mark = Callable[[int], str | None]
"""What tells a process from all others of its number; None where there is none of that number, ""
where there is one and nobody may look at it."""


def own_identity() -> str:
    """Client id of this process."""
    pid = os.getpid()
    return identity(here(), pid, start_mark(pid) or "")


def identity(place: str, pid: int, mark: str) -> str:
    """Client id of a process: where it runs, its number there, and when it was started."""
    return f"{_PREFIX}.{place}.{pid}.{mark}"


def is_gone(client_id: str, place: str, mark: Mark | None = None) -> bool:
    """Whether a client id is of a process of a place that has ended.

    Args:
        client_id: of a member; any text.
        place: where processes can be seen; see `here`.
        mark: tells of them; `start_mark` when None.
    """
    before = f"{_PREFIX}.{place}."
    if not client_id.startswith(before):
        return False
    pid, _, started = client_id.removeprefix(before).partition(".")
    return pid.isdecimal() and (mark or start_mark)(int(pid)) not in (started, "")


@cache
def here() -> str:
    """Where this process runs: machine, boot and process namespace.

    A host's name alone would not do. Cloned machines share it, and containers of one machine may,
    where the same number is another process.
    """
    told = [socket.gethostname()]
    for file in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            path = Path(file)
            told.append(str(path.readlink()) if path.is_symlink() else path.read_text().strip())
        except OSError:  # no Linux
            told.append("")
    digest = hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]
    return f"{told[0]}.{digest}"


def start_mark(pid: int) -> str | None:
    """When a process was started, in a form that stays the same for as long as it runs.

    On Linux in clock ticks since the boot (proc(5), ``starttime``): seconds since the epoch are
    worked out from the clock, and move when that is set.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        if Path("/proc/self/stat").exists():
            return "" if psutil.pid_exists(pid) else None
        started = start_time(pid)
        return None if started is None else f"{started:.3f}"
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]
