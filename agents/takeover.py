"""What a worker was doing when it died is taken over at once, where its supervisor outlives it.

The broker gives a silent member's partitions away after ``cluster.session_timeout``. Whoever
started the worker knows at once that it has ended, and says goodbye in its place: what is left is
the time that the others take to hear of it, half a second. A machine that goes away as a whole is
still missed for the session timeout, and a worker that was the only one of its function leaves an
empty group behind, where the next one waits for ``group.initial.rebalance.delay.ms`` instead.
"""

from __future__ import annotations

import asyncio
import logging
import threading

from dataflow.config import Config, TopicNames

_log = logging.getLogger("videojam.up")


class Takeover:
    """Makes workers of this machine that have died leave their groups.

    Args:
        config: the declaration; its cluster is where the groups are.
    """

    def __init__(self, config: Config) -> None:
        self._cluster = config.cluster
        self._names = TopicNames(config.deployment)

    def hasten(self, function: str) -> threading.Thread:
        """A worker of ``function`` has ended; returns at once, what there is to do goes on beside.

        Returns:
            Who does it; it gives up after the session timeout, when there is nothing left to do.
        """
        thread = threading.Thread(
            target=self._dismiss, args=(self._names.group(function),), name="takeover", daemon=True
        )
        thread.start()
        return thread

    def _dismiss(self, group: str) -> None:
        from dataflow.transport.dismissal import dismiss  # noqa: PLC0415 - slow to import

        try:
            asyncio.run(
                dismiss(
                    group,
                    self._cluster.bootstrap_servers,
                    self._cluster,
                    seconds=self._cluster.session_timeout,
                )
            )
        except Exception:  # noqa: BLE001 - then the session timeout is waited for, as without us
            _log.exception("workers that have died cannot be made to leave %s", group)
