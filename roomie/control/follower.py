"""Compacted topics followed in a thread: placements, workers, and whatever else is keyed so."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, Self, TypeVar

from dataflow.errors import BrokerError, RecordError
from dataflow.transport import Reader, Received, Transport
from roomie.control.records import Record

_log = logging.getLogger("videojam.roomie")

R = TypeVar("R", bound=Record)

_POLL_RECORDS = 500
_POLL_SECONDS = 0.25
_RETRY_SECONDS = 1.0
_JOIN_SECONDS = 20.0


class Table(Generic[R]):
    """The newest record of each key of one topic. Reading it takes no I/O.

    Args:
        kind: what the records are.
    """

    def __init__(self, kind: type[R]) -> None:
        self._kind = kind
        self._lock = threading.Lock()
        self._rows: dict[str, tuple[R, float]] = {}

    def hear(self, key: str, value: bytes | None, at: float) -> None:
        """Take a record; a tombstone deletes, and one that cannot be read is said and left out.

        Args:
            key: of the record.
            value: of the record.
            at: when it was published, by the reader's clock that never jumps.
        """
        if value is None:
            with self._lock:
                self._rows.pop(key, None)
            return
        try:
            row = self._kind.from_json(value)
        except RecordError as error:
            _log.warning("ignoring a record of %r: %s", key, error)
            return
        with self._lock:
            self._rows[key] = (row, at)

    def rows(self) -> dict[str, R]:
        """The newest record of each key."""
        with self._lock:
            return {key: row for key, (row, _) in self._rows.items()}

    def dated(self) -> dict[str, tuple[R, float]]:
        """The same, with the times when they were published."""
        with self._lock:
            return dict(self._rows)

    def keep(self, keys: frozenset[str]) -> None:
        """Forget all but these."""
        with self._lock:
            self._rows = {key: row for key, row in self._rows.items() if key in keys}


class Follower:
    """Reads topics into tables, in a thread of its own, for as long as it is entered.

    A broker that goes away is waited for; meanwhile the tables stay as they are. After that all
    is read anew, and what has been deleted meanwhile is forgotten.

    Args:
        transport: where the topics are.
        tables: by topic.
        on_change: called, in the thread, after records have come.
        clock: seconds since the epoch.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        transport: Transport,
        tables: Mapping[str, Table[Any]],
        *,
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._tables = dict(tables)
        self._on_change = on_change
        self._clock = clock
        self._monotonic = monotonic
        self._fault: str | None = None
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def ready(self) -> bool:
        """Whether all that was there at the start has been read once."""
        return self._ready.is_set()

    def wait_ready(self, seconds: float) -> bool:
        """Wait for that."""
        return self._ready.wait(seconds)

    def fault(self) -> str | None:
        """Why nothing new is heard, or None."""
        return self._fault

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except BrokerError as error:
                fault = str(error).splitlines()[0]
                if fault != self._fault:
                    _log.warning("cannot follow %s: %s", ", ".join(self._tables), fault)
                self._fault = fault
                self._stopping.wait(_RETRY_SECONDS)
            except Exception as error:  # noqa: BLE001 - a thread that ends leaves stale tables
                _log.exception("following %s", ", ".join(self._tables))
                self._fault = f"{type(error).__name__}: {error}"
                self._stopping.wait(_RETRY_SECONDS)

    def _follow(self) -> None:
        reader = self._transport.reader(list(self._tables))
        heard: dict[str, set[str]] = {topic: set() for topic in self._tables}
        try:
            first = True
            while not self._stopping.is_set():
                records = reader.poll(_POLL_RECORDS, _POLL_SECONDS)
                for record in records:
                    self._hear(record, heard if first else None)
                if first and reader.caught_up():
                    first = False
                    for topic, table in self._tables.items():
                        table.keep(frozenset(heard[topic]))
                    self._fault = None
                    self._ready.set()
                    self._on_change()
                elif records:
                    self._on_change()
        finally:
            _close(reader)

    def _hear(self, record: Received, heard: dict[str, set[str]] | None) -> None:
        key = (record.key or b"").decode("utf-8", "replace")
        if heard is not None:
            heard[record.topic].add(key)
        # What comes live was published now, whatever its clock says; what was there before us has
        # only its time stamp to tell.
        age = 0.0
        if heard is not None:
            age = max(0.0, self._clock() - record.timestamp_ms / 1000)
        self._tables[record.topic].hear(key, record.value, self._monotonic() - age)


def _close(reader: Reader) -> None:
    try:
        reader.close()
    except BrokerError as error:
        _log.debug("closing a reader: %s", error)
