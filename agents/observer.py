"""Watching replicas from outside, through the state topics and the group's offsets."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Self

from agents.overview import Sighting
from agents.state import ReplicaState
from dataflow.config import Config, TopicNames
from dataflow.errors import BrokerError, RecordError
from dataflow.transport import Transport

_READ_SECONDS = 0.25
_LAG_SECONDS = 2.0
_RETRY_SECONDS = 2.0
_TRAIL = 6
"""Rows that are kept of each replica, a second apart: rates are over so many seconds."""


class _Seen:
    """One replica: its newest row, and some before it.

    Args:
        state: a row of it.
        at: when that was published, by our monotonic clock.
    """

    def __init__(self, state: ReplicaState, at: float) -> None:
        self.state = state
        self.at = at
        self._trail: deque[ReplicaState] = deque([state], maxlen=_TRAIL)

    def hear(self, state: ReplicaState, at: float) -> None:
        """Take a row, unless a newer one of that process is known: topics may be read again.

        Rows that follow each other within a moment share their counts and the time of these.
        """
        if state.incarnation != self.state.incarnation:
            self._trail.clear()
        elif _age_key(state) <= _age_key(self.state):
            return
        self.state, self.at = state, at
        if not self._trail or state.at - self._trail[-1].at >= 1.0:
            self._trail.append(state)

    @property
    def earlier(self) -> ReplicaState:
        """The oldest row kept; of the same process."""
        return self._trail[0]


def _age_key(state: ReplicaState) -> tuple[float, float]:
    """Orders the rows of a process: those of one moment by the row of the table within."""
    row = None if state.balance is None else state.balance.row
    return (state.at, 0.0 if row is None else row.at)


class Observer:
    """Follows the rows of all replicas and the lag of all functions, in a thread of its own.

    Args:
        config: the declaration.
        transport: where the topics are.
        functions: only these; all when None.
        clock: seconds since the epoch.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        config: Config,
        transport: Transport,
        *,
        functions: Collection[str] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._functions = tuple(config.functions if functions is None else functions)
        self._clock = clock
        self._names = TopicNames(config.deployment)
        self._transport = transport
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._lag: dict[str, int] = {}
        self._fault: str | None = None
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(20)

    def rows(self) -> dict[str, ReplicaState]:
        """The newest row of each replica, by its name."""
        with self._lock:
            return {name: seen.state for name, seen in self._seen.items()}

    def sightings(self) -> list[Sighting]:
        """The newest row of each replica with its age."""
        now = self._monotonic()
        with self._lock:
            return [
                Sighting(state=seen.state, age=max(0.0, now - seen.at), earlier=seen.earlier)
                for seen in self._seen.values()
            ]

    def wait_ready(self, timeout: float) -> bool:
        """Wait until all that was on the topics has been read once."""
        return self._ready.wait(timeout)

    def lag(self) -> dict[str, int]:
        """Records waiting in Kafka, by function."""
        with self._lock:
            return dict(self._lag)

    def fault(self) -> str | None:
        """Why nothing new is seen, or None."""
        with self._lock:
            return self._fault

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except BrokerError as error:
                with self._lock:
                    self._fault = str(error).splitlines()[0]
                self._stopping.wait(_RETRY_SECONDS)

    def _follow(self) -> None:
        reader = self._transport.reader([self._names.state(f) for f in self._functions])
        admin = self._transport.admin()
        due = self._monotonic()
        try:
            while not self._stopping.is_set():
                old = not reader.caught_up()
                for record in reader.poll(500, _READ_SECONDS):
                    # What comes now was published now, whatever its clock says; what was there
                    # before us has only its time stamp to tell.
                    age = max(0.0, self._clock() - record.timestamp_ms / 1000) if old else 0.0
                    self._hear((record.key or b"").decode("utf-8", "replace"), record.value, age)
                if self._monotonic() >= due:
                    lag = {
                        function: sum(
                            admin.lag(
                                self._names.group(function), self._names.work(function)
                            ).values()
                        )
                        for function in self._functions
                    }
                    with self._lock:
                        self._lag, self._fault = lag, None
                    due = self._monotonic() + _LAG_SECONDS
                if reader.caught_up():
                    self._ready.set()
        finally:
            reader.close()
            admin.close()

    def _hear(self, replica: str, value: bytes | None, age: float) -> None:
        at = self._monotonic() - age
        with self._lock:
            if value is None:
                self._seen.pop(replica, None)
                return
            try:
                state = ReplicaState.from_json(value)
            except RecordError:
                return  # a row of another version: its replica still shows as a process
            if replica in self._seen:
                self._seen[replica].hear(state, at)
            else:
                self._seen[replica] = _Seen(state, at)
