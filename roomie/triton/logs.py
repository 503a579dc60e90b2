"""What a server's log says about why it ended."""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path

from roomie.errors import TritonError
from roomie.triton.install import fault

_LOG_LINES = 12
_NOISE = re.compile(r"pinned_memory_manager|CudaDriverHelper|NVML|DCGM|cuda_memory_manager")
"""What the server says on each start on a machine without a GPU."""
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"Address already in use|failed to bind|Failed to add port|Socket .* already in use",
        "a port of it is in use",
        "choose others (--grpc-port, --http-port, --metrics-port), or 0 for any free one",
    ),
    (
        r"No space left on device",
        "the disk, or the shared memory in /dev/shm, is full",
        "free some (in a container: --shm-size)",
    ),
    (
        r"error while loading shared libraries",
        "a shared library is missing",
        "delete triton/ in the cache folder and start again: it says then which one",
    ),
    (
        r"failed to stat|failed to open .*model.?repository|Permission denied",
        "the model repository cannot be read",
        "see that the folder is there and can be read",
    ),
)


def explain(what: str, log: Path) -> TritonError:
    """The error for a server that did not do as it should, with the tail of its log."""
    lines = log_tail(log, 400)
    for pattern, cause, remedy in _CAUSES:
        if any(re.search(pattern, line) for line in lines):
            return fault(f"{what}: {cause} (log: {log})", remedy, _telling(lines))
    return fault(f"{what} (log: {log})", "read the log", _telling(lines))


def log_tail(log: Path, count: int) -> list[str]:
    """The last lines of a log, none where it cannot be read."""
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            return [line.rstrip()[:300] for line in deque(lines, maxlen=count)]
    except OSError:
        return []


def _telling(lines: list[str]) -> list[str]:
    """Warnings and errors, else simply the last lines; without the tables that the server draws."""
    plain = [
        line
        for line in lines
        if line.strip() and not line.startswith(("+", "|")) and not _NOISE.search(line)
    ]
    picked = [line for line in plain if re.match(r"[EWF]\d{4} ", line) or "error" in line.lower()]
    return (picked or plain)[-_LOG_LINES:]
