"""Waiting for a cluster that is not there yet."""

from __future__ import annotations

import logging
import time

from dataflow.errors import BrokerError
from dataflow.transport.kafka import KafkaTransport

_log = logging.getLogger("videojam.kafka")

_CHECK_SECONDS = 5.0
"""Deadline of one look whether the cluster answers."""


def wait_for_broker(transport: KafkaTransport, seconds: float) -> None:
    """Wait for the cluster to answer.

    Raises:
        BrokerError: it has not answered for ``seconds`` s.
    """
    deadline = time.monotonic() + seconds
    pause = 0.2
    while True:
        try:
            transport.check(_CHECK_SECONDS)
        except BrokerError as error:
            if time.monotonic() + pause > deadline:
                raise
            _log.warning("%s; trying again", str(error).splitlines()[0])
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
        else:
            return
