"""Reading what ROOMIE has written, once: for commands and scripts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from dataflow.config import TopicNames
from dataflow.errors import BrokerError, RecordError
from dataflow.transport import Transport
from roomie.control.records import ORDERS_KEY, ControllerReport, Placement

_READ_SECONDS = 20.0


@dataclass(kw_only=True)
class Snapshot:
    """What there is.

    Attributes:
        placements: by model.
        controllers: by name; those that have left are not among them.
    """

    placements: dict[str, Placement] = field(default_factory=dict)
    controllers: dict[str, ControllerReport] = field(default_factory=dict)


def read_snapshot(
    transport: Transport,
    names: TopicNames,
    *,
    monotonic: Callable[[], float] = time.monotonic,
) -> Snapshot:
    """Read placements and controllers to their ends.

    Raises:
        BrokerError: a topic is missing, or is not read in time.
    """
    found = Snapshot()
    reader = transport.reader([names.placements, names.controller])
    deadline = monotonic() + _READ_SECONDS
    try:
        while not reader.caught_up():
            if monotonic() > deadline:
                raise BrokerError(f"{names.placements} was not read within {_READ_SECONDS:g} s")
            for record in reader.poll(1000, 0.05):
                key = (record.key or b"").decode("utf-8", "replace")
                if record.topic == names.placements:
                    _hear(found.placements, key, record.value, Placement.from_json)
                elif record.key != ORDERS_KEY:
                    _hear(found.controllers, key, record.value, ControllerReport.from_json)
    finally:
        reader.close()
    return found


R = TypeVar("R")


def _hear(rows: dict[str, R], key: str, value: bytes | None, read: Callable[[bytes], R]) -> None:
    if value is None:
        rows.pop(key, None)
        return
    try:
        rows[key] = read(value)
    except RecordError:
        rows.pop(key, None)  # of a newer version
