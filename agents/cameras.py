"""State per camera that follows the camera when its partition moves to another replica.

Snapshots lie in ``F.snapshots``, compacted, keyed by camera, in the partition whose number is that
of the camera's work. Who is assigned a partition reads them; who works on a camera writes them now
and then, and once more when the partition leaves.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from dataflow.errors import BrokerError, BufferFullError, ConfigError
from dataflow.functions.base import Function, StatefulFunction
from dataflow.transport import Producer, Record, Transport

_log = logging.getLogger("videojam.worker")

_READ_SECONDS = 0.2
_READ_LIMIT = 50
"""Reads before a take-over goes on without the rest (10 s): late state is better than no work."""


class CameraStates:
    """The cameras of one replica. Does nothing for a function that keeps no state.

    Args:
        function: the plugin.
        transport: for reading snapshots.
        producer: for writing them.
        topic: the snapshots topic; None for a stateless function.
        every: seconds between two snapshots of a camera that is being worked on.

    Raises:
        ConfigError: ``stateful`` is declared for a plugin that keeps no state.
    """

    def __init__(
        self,
        function: Function,
        transport: Transport,
        producer: Producer,
        *,
        topic: str | None,
        every: float,
    ) -> None:
        self._function: StatefulFunction | None = None
        if topic is not None:
            if not isinstance(function, StatefulFunction):
                raise ConfigError(
                    f"{type(function).__name__} keeps no state per camera",
                    key="functions.*.stateful",
                    value=True,
                    remedy="remove `stateful: true` from the function in topics.yaml",
                )
            self._function = function
        self._transport = transport
        self._producer = producer
        self._topic = topic or ""
        self._every = every
        self._homes: dict[str, int] = {}
        self._saved: dict[str, float] = {}

    def take_over(self, partitions: Collection[int]) -> None:
        """Restore the cameras of newly assigned partitions."""
        if self._function is None or not partitions:
            return
        try:
            latest = self._read(partitions)
        except BrokerError as error:
            _log.warning("starting cameras without their saved state: %s", error)
            return
        for camera, (partition, state) in latest.items():
            self._function.restore(camera, state)
            self._homes[camera] = partition
        if latest:
            _log.info("took over the state of %s", ", ".join(sorted(latest)))

    def used(self, homes: Mapping[str, int], now: float) -> None:
        """Items of these cameras (name -> partition) were processed; save those that are due."""
        if self._function is None:
            return
        self._homes.update(homes)
        for camera, partition in homes.items():
            if now - self._saved.setdefault(camera, now) >= self._every:
                self._save(camera, partition)
                self._saved[camera] = now

    def hand_over(self, partitions: Collection[int]) -> None:
        """Save the cameras of partitions that leave, and forget them."""
        for camera, partition in self._of(partitions):
            self._save(camera, partition)
        self.forget(partitions)

    def forget(self, partitions: Collection[int]) -> None:
        """Drop the cameras of partitions that are gone."""
        for camera, _ in self._of(partitions):
            if self._function is not None:
                self._function.forget(camera)
            self._homes.pop(camera, None)
            self._saved.pop(camera, None)

    def _of(self, partitions: Collection[int]) -> list[tuple[str, int]]:
        return [(c, p) for c, p in self._homes.items() if p in partitions]

    def _save(self, camera: str, partition: int) -> None:
        if self._function is None:
            return
        state = self._function.snapshot(camera)
        if state is None:
            return
        record = Record(topic=self._topic, key=camera.encode(), value=state, partition=partition)
        try:
            self._producer.send(record)
        except (BufferFullError, BrokerError) as error:
            # The camera goes on with an older snapshot, or warms up anew.
            _log.warning("cannot save the state of %s: %s", camera, error)

    def _read(self, partitions: Collection[int]) -> dict[str, tuple[int, bytes]]:
        reader = self._transport.reader([self._topic], partitions=partitions)
        latest: dict[str, tuple[int, bytes]] = {}
        try:
            for _ in range(_READ_LIMIT):
                for record in reader.poll(500, _READ_SECONDS):
                    camera = (record.key or b"").decode("utf-8", "replace")
                    if record.value is None:
                        latest.pop(camera, None)
                    else:
                        latest[camera] = (record.partition, record.value)
                if reader.caught_up():
                    break
        finally:
            reader.close()
        return latest
