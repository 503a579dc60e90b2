"""Errors of the embedded broker: how they are worded, and what a log says about a failure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dataflow.errors import EmbeddedBrokerError

LOG_LINES_SHOWN = 12

_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"No space left on device|Disk quota exceeded|File too large",
        "the disk of its data folder is full",
        "free space there and start it again, or choose another folder (--data-dir)",
    ),
    (
        r"Address already in use|BindException|Socket server failed to bind",
        "its port is in use",
        "choose another one (--port), or 0 for any free one",
    ),
    (
        r"Failed to acquire lock on file",
        "another broker uses the data folder",
        "stop that one first, or choose another folder (--data-dir)",
    ),
    (
        (
            r"OutOfMemoryError|Could not reserve enough space|Invalid maximum heap size"
            r"|Too small maximum heap|insufficient memory"
        ),
        "its Java heap is too small, too large or malformed",
        "give another one (--heap, for example 512m or 2g)",
    ),
    (
        r"UnsupportedClassVersionError",
        "this Java is too old for this Kafka",
        "install Java 17 or newer, or `pip install 'videojam[broker]'`, which brings one",
    ),
    (
        r"Permission denied|Read-only file system|AccessDeniedException",
        "a file of its data folder cannot be written",
        "make the folder writable, or choose another one (--data-dir)",
    ),
    (
        r"ConfigException|Invalid value|Unknown configuration",
        "Kafka refused a property",
        "correct the extra properties",
    ),
    (
        (
            r"Could not find or load main class|NoClassDefFoundError|ClassNotFoundException"
            r"|zip file|Invalid or corrupt jarfile"
        ),
        "a jar of Kafka is missing or damaged",
        "delete the cached jars and start again: they are downloaded once more",
    ),
)


def fault(message: str, remedy: str, log_lines: Sequence[str] = ()) -> EmbeddedBrokerError:
    """Return the error that says what is wrong, shows the log, and ends with the remedy."""
    text = message
    if log_lines:
        text += "\n  its last log lines:\n" + "\n".join(f"    {line}" for line in log_lines)
    return EmbeddedBrokerError(f"{text}\n  remedy: {remedy}")


def relevant(lines: Sequence[str], limit: int = LOG_LINES_SHOWN) -> list[str]:
    """Return the last lines that matter: warnings, errors and causes, else simply the last.

    Args:
        lines: the log, oldest first, without line ends.
        limit: most lines to return.
    """
    telling = re.compile(r" (WARN|ERROR|FATAL) |^Error|Exception|Caused by|^OpenJDK|[Ff]ailed")
    noise = re.compile(r"^\s*at |WARNING: ")
    picked = [line for line in lines if telling.search(line) and not noise.search(line)]
    return [line.rstrip()[:300] for line in (picked or list(lines))[-limit:]]


def since_last_start(lines: Sequence[str]) -> list[str]:
    """Return the lines from the last start of a broker on, all of them if it shows none."""
    for number in range(len(lines) - 1, -1, -1):
        if "Log4jController` MBean" in lines[number]:  # the first thing every Kafka logs
            return list(lines[number:])
    return list(lines)


def explain(what: str, lines: Sequence[str], log_file: object) -> EmbeddedBrokerError:
    """Return the error for a broker that ended by itself.

    Args:
        what: the beginning of the message, for example ``the broker died while starting``.
        lines: its log, oldest first.
        log_file: where the whole log lies.
    """
    for pattern, cause, remedy in _CAUSES:
        expression = re.compile(pattern)
        hits = [line for line in lines if expression.search(line)]
        if hits:
            shown = relevant(lines)
            if not any(expression.search(line) for line in shown):
                shown = [hits[-1].rstrip()[:300], *shown[1:]]
            return fault(f"{what}: {cause} (log: {log_file})", remedy, shown)
    return fault(f"{what} (log: {log_file})", "read the log", relevant(lines))
