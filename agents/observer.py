"""Watching replicas from outside, through the state topics and the group's offsets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

from agents.state import ReplicaState
from dataflow.config import Config, TopicNames
from dataflow.errors import BrokerError, RecordError
from dataflow.transport import Transport

_READ_SECONDS = 0.25
_LAG_SECONDS = 2.0
_RETRY_SECONDS = 2.0


class Observer:
    """Follows the rows of all replicas and the lag of all functions, in a thread of its own.

    Args:
        config: the declaration.
        transport: where the topics are.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        config: Config,
        transport: Transport,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._names = TopicNames(config.deployment)
        self._transport = transport
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._rows: dict[str, ReplicaState] = {}
        self._lag: dict[str, int] = {}
        self._fault: str | None = None
        self._stopping = threading.Event()
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
            return dict(self._rows)

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
        reader = self._transport.reader([self._names.state(f) for f in self._config.functions])
        admin = self._transport.admin()
        due = self._monotonic()
        try:
            while not self._stopping.is_set():
                for record in reader.poll(500, _READ_SECONDS):
                    self._hear((record.key or b"").decode("utf-8", "replace"), record.value)
                if self._monotonic() >= due:
                    lag = {
                        function: sum(
                            admin.lag(
                                self._names.group(function), self._names.work(function)
                            ).values()
                        )
                        for function in self._config.functions
                    }
                    with self._lock:
                        self._lag, self._fault = lag, None
                    due = self._monotonic() + _LAG_SECONDS
        finally:
            reader.close()
            admin.close()

    def _hear(self, replica: str, value: bytes | None) -> None:
        with self._lock:
            if value is None:
                self._rows.pop(replica, None)
                return
            try:
                self._rows[replica] = ReplicaState.from_json(value)
            except RecordError:
                return  # a row of another version: its replica still shows as a process
