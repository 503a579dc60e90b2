"""Logging of the long-running commands: one line a record on stderr, and no floods."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

from dataflow.errors import ConfigError

LogFormat = Literal["text", "json"]

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_QUIET = ("aiokafka", "faust", "mode", "asyncio", "opentelemetry", "urllib3")
"""Libraries that say much about what mends itself: warnings only."""
_DIGITS = re.compile(r"\d+(\.\d+)?")
_REMEMBERED = 512


class OncePerPeriod(logging.Filter):
    """Lets a message through once in ``seconds``; numbers in it do not make it another one.

    A broker that is away makes its clients complain ten times a second each.

    Args:
        seconds: the period.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(
        self, seconds: float = 10.0, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._seconds = seconds
        self._monotonic = monotonic
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written."""
        now = self._monotonic()
        key = (record.name, _DIGITS.sub("#", record.getMessage())[:120])
        last = self._last.get(key)
        if last is not None and now - last < self._seconds:
            return False
        if len(self._last) >= _REMEMBERED:
            self._last.clear()
        self._last[key] = now
        return True


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time, level, logger, message, context, exception.

    Args:
        context: goes into every line as it is: the function and the replica of a worker.
    """

    def __init__(self, context: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._context = dict(context or {})

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end. Line breaks inside of messages and tracebacks are escaped."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, str] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._context,
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, ensure_ascii=False)


def message_of(line: str) -> str:
    """What a line of a log says, whichever of the formats it has."""
    if line.startswith("{"):
        try:
            found = json.loads(line)
        except ValueError:
            return line
        message = found.get("message")
        if isinstance(message, str):
            return message
    return line


def configure_logging(
    level: str = "INFO",
    form: LogFormat = "text",
    *,
    context: Mapping[str, str] | None = None,
) -> None:
    """Write records of ``level`` and above to stderr; libraries are kept short.

    Args:
        level: DEBUG, INFO, WARNING or ERROR.
        form: ``text`` for people; ``json`` for what collects logs: everything is a line of JSON
            then, Python's own warnings included.
        context: for ``json``: names and values that every line carries.

    Raises:
        ConfigError: there is no such level.
    """
    if level.upper() not in _LEVELS:
        raise ConfigError(
            "not a level of logging",
            key="--log-level",
            value=level,
            remedy=f"one of {', '.join(_LEVELS)}",
        )
    handler = logging.StreamHandler()
    if form == "json":
        handler.setFormatter(JsonFormatter(context))
        logging.captureWarnings(capture=True)
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    noisy = OncePerPeriod()
    handler.addFilter(
        lambda r: not r.name.startswith((*_QUIET, "videojam.kafka")) or noisy.filter(r)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
