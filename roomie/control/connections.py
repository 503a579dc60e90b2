"""Connections to the servers of a client's instances: opened when they are needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from roomie.triton.server import InferenceServer


@dataclass
class Connection:
    """A connection to a server.

    Attributes:
        server: what can be asked of it.
        warm: whether the last call was answered. Else the next one may have to connect first, and
            how long that takes says nothing about the server.
        users: calls that are under way.
    """

    server: InferenceServer
    warm: bool = False
    users: int = 0


class Connections:
    """One connection to each server that is used. Safe for threads.

    Args:
        connect: opens one, by the server's address.
    """

    def __init__(self, connect: Callable[[str], InferenceServer]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._open: dict[str, Connection] = {}
        self._kept: frozenset[str] = frozenset()

    @contextmanager
    def use(self, url: str) -> Iterator[Connection]:
        """A connection for one call. An error of the call leaves it cold, as does its opening."""
        with self._lock:
            connection = self._open.get(url)
            if connection is None:
                connection = self._open[url] = Connection(self._connect(url))
            connection.users += 1
        answered = False
        try:
            yield connection
            answered = True
        finally:
            with self._lock:
                connection.users -= 1
                connection.warm = answered
            self._close_idle()

    def keep(self, urls: Collection[str]) -> None:
        """Close all others: those that are in use when they are not any more."""
        with self._lock:
            self._kept = frozenset(urls)
        self._close_idle()

    def close(self) -> None:
        """Close all."""
        self.keep(())

    def _close_idle(self) -> None:
        with self._lock:
            idle = [u for u, c in self._open.items() if u not in self._kept and not c.users]
            closing = [self._open.pop(url) for url in idle]
        for connection in closing:
            connection.server.close()
