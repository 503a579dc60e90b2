"""How a camera finds its cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import numpy as np

from dataflow.camera.pacing import Backoff, BackoffConfig
from dataflow.errors import BrokerError
from dataflow.transport.base import Producer, Transport

_log = logging.getLogger("videojam.camera")

_BACKOFF = BackoffConfig(first=0.25, most=5.0)
"""Waits while the broker is not there."""


def connect(
    transport: Transport,
    camera: str,
    topics: Collection[str],
    *,
    patience: float,
    stopped: Callable[[], bool],
    monotonic: Callable[[], float],
    sleep: Callable[[float], object],
    rng: np.random.Generator,
) -> Producer:
    """A producer that has seen all topics it will need.

    Args:
        transport: where to send.
        camera: the camera's name.
        topics: those it will need.
        patience: seconds to wait for the cluster and its topics.
        stopped: whether nobody needs the producer any more.
        monotonic: seconds of a clock that is never set.
        sleep: waits so many seconds.
        rng: jitter.

    Raises:
        BrokerError: the cluster was not there, or a topic was not, within ``patience``.
    """
    producer = transport.producer(client_id=f"videojam-camera-{camera}")
    waits = Backoff(_BACKOFF, rng)
    end = monotonic() + patience
    while True:
        try:
            for topic in sorted(topics):
                producer.partitions_for(topic)
        except BrokerError as error:
            left = end - monotonic()
            if left <= 0 or stopped():
                producer.close(0.0)
                raise BrokerError(f"camera {camera} cannot publish: {error}") from error
            _log.info("waiting for the broker: %s", error)
            sleep(min(left, waits.next()))
        else:
            return producer
