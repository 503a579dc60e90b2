"""Rows and queues for tests."""

from __future__ import annotations

from typing import Any

from agents.balancing import Queue, Row, Waiting


def row(replica: str, at: float = 0.0, **fields: Any) -> Row:
    values = {"incarnation": "first", "load": 0, "mu": 10.0, "slot": int(at), "partitions": (0,)}
    return Row(replica=replica, at=at, **{**values, **fields})


def queue(items: int, *, hops: int = 0, size: int = 100, in_flight: int = 0) -> Queue:
    """Items 0 (next) to items - 1 (newest)."""
    waiting = [Waiting(key=n, camera=f"c{n % 3}", size=size, hops=hops) for n in range(items)]
    return Queue(waiting=waiting, in_flight=in_flight)
