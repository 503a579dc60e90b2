"""A Kafka for one measurement, and all that its topics hold."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dataflow.broker import BrokerSettings, EmbeddedBroker
from dataflow.transport import Received, Transport
from evaluation.errors import MeasurementError
from evaluation.waiting import Clock

_READ_SECONDS = 60.0


@contextmanager
def temporary_broker() -> Iterator[EmbeddedBroker]:
    """A broker with its data in a temporary folder."""
    with (
        tempfile.TemporaryDirectory(prefix="videojam-evaluation-") as folder,
        EmbeddedBroker(BrokerSettings(data_dir=Path(folder), port=0)) as broker,
    ):
        yield broker


def read_to_end(
    transport: Transport,
    topics: Sequence[str],
    *,
    seconds: float = _READ_SECONDS,
    clock: Clock = time.monotonic,
) -> Iterator[Received]:
    """All records that are in some topics when reading begins; others write on meanwhile.

    Args:
        transport: where the topics are.
        topics: which.
        seconds: how long it may take.
        clock: monotonic, seconds.

    Raises:
        MeasurementError: the end was not reached in time.
        BrokerError: a topic is missing.
    """
    deadline = clock() + seconds
    reader = transport.reader(topics)
    try:
        while not reader.caught_up():
            if clock() > deadline:
                raise MeasurementError(
                    f"{', '.join(topics)}: not read to the end within {seconds:g} s"
                )
            yield from reader.poll(1000, 0.1)
    finally:
        reader.close()
