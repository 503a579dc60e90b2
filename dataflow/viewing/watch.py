"""Following results, and the frames that they are about, on the topics."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator
from typing import Literal

from dataflow.config import Config, TopicNames
from dataflow.errors import RecordError
from dataflow.messages import WorkItem
from dataflow.results import Result
from dataflow.transport import Reader, Transport
from dataflow.viewing.join import FrameJoin, JoinedFrame

_log = logging.getLogger("videojam.results")

_READ_RECORDS = 200
_PICTURES_SECONDS = 5.0
"""Longest that frames are read before results are: a slow cluster must not stop all output."""


class ResultWatch:
    """Reads results of some pipelines, and if asked to the frames, and joins them.

    Args:
        config: the declaration.
        transport: where the topics are.
        pipelines: which; all when empty.
        start: ``earliest`` for everything that Kafka holds, ``latest`` for what comes from now on.
        pictures: also read the frames from the work topics of the pipelines' first functions.
        patience: seconds that an incomplete frame is waited for.
        clock: seconds of any steady clock.

    Raises:
        BrokerError: the cluster or the topics are not there.
    """

    def __init__(
        self,
        config: Config,
        transport: Transport,
        *,
        pipelines: Collection[str] = (),
        start: Literal["earliest", "latest"] = "latest",
        pictures: bool = False,
        patience: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        names = TopicNames(config.deployment)
        chosen = list(pipelines) or list(config.pipelines)
        self._clock = clock
        self._join = FrameJoin(patience=patience)
        self._frames: Reader | None = None
        if pictures:
            first = {names.work(config.pipelines[name].steps[0].function) for name in chosen}
            self._frames = transport.reader(sorted(first), start=start)
        self._results = transport.reader([names.results(name) for name in chosen], start=start)

    def results(self, timeout: float = 0.2) -> list[Result]:
        """Results as they come, part by part."""
        found = []
        for record in self._results.poll(_READ_RECORDS, timeout):
            try:
                found.append(Result.from_json(record.value))
            except RecordError as error:
                _log.warning("%s/%d/%d: %s", record.topic, record.partition, record.offset, error)
        return found

    def frames(self, timeout: float = 0.2) -> Iterator[JoinedFrame]:
        """Frames whose parts have all come, and those that were waited for long enough."""
        self._read_pictures()
        for result in self.results(timeout):
            joined = self._join.result(result, self._clock())
            if joined is not None:
                yield joined
        yield from self._join.expired(self._clock())

    def rest(self) -> Iterator[JoinedFrame]:
        """Frames that still wait for parts."""
        yield from self._join.rest()

    def caught_up(self) -> bool:
        """Whether everything has been read that was there at the start."""
        return self._results.caught_up()

    def close(self) -> None:
        """Release the readers."""
        self._results.close()
        if self._frames is not None:
            self._frames.close()

    def _read_pictures(self) -> None:
        if self._frames is None:
            return
        # Frames are on their topic before their results are: reading them first, and at the start
        # until their end, finds the picture of every result that is read afterwards.
        deadline = self._clock() + _PICTURES_SECONDS
        while self._clock() < deadline:
            records = self._frames.poll(_READ_RECORDS, 0.05)
            for record in records:
                try:
                    item = WorkItem.from_record(record.headers, record.value)
                except RecordError:
                    continue  # it is in the dead-letter topic too
                if not item.part.path:
                    self._join.picture(item.pipeline, item.frame, item.data)
            if self._frames.caught_up() and len(records) < _READ_RECORDS:
                return
