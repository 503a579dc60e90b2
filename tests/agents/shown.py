"""Rows of replicas as they are shown."""

from __future__ import annotations

from typing import Any

from agents.balancing import Row
from agents.overview import Sighting
from agents.state import Balance, ReplicaState

NOW = 1_700_000_000.0


def row(replica: str, **more: Any) -> Row:
    known = {"replica": replica, "incarnation": "i", "at": NOW, "load": 3, "mu": 20.0, "slot": 1}
    return Row.model_validate({**known, **more})


def state(replica: str = "find-0", *, balance: Balance | None = None, **more: Any) -> ReplicaState:
    known: dict[str, Any] = {
        "replica": replica,
        "incarnation": "i",
        "function": "find",
        "host": "edge-1",
        "pid": 42,
        "at": NOW,
        "started_at": NOW - 60,
        "partitions": (0, 1),
        "queued": 3,
        "queued_bytes": 3000,
        "processed": 100,
        "dropped": 0,
        "dead": 1,
        "rate": 12.5,
        "busy": 0.75,
        "service_seconds": 0.05,
        "response_seconds": 0.2,
        "balance": balance or Balance(policy="videojam", row=row(replica)),
    }
    return ReplicaState.model_validate({**known, **more})


def sighting(
    replica: str = "find-0", *, age: float = 0.5, earlier: ReplicaState | None = None, **more: Any
) -> Sighting:
    return Sighting(state=state(replica, **more), age=age, earlier=earlier)
