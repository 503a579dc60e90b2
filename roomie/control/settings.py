"""What the controller's core has to know of topics.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dataflow.config.roomie import RoomieConfig


@dataclass(frozen=True, kw_only=True)
class ControlSettings:
    """How the controller decides. All times in seconds.

    Attributes:
        lease: default of workers that declare none; half of it without a word of its own makes
            the controller take itself for deaf.
        ready_timeout: an instance that is not ready after this is tried elsewhere, a version
            rolled back.
        retry: how long a GPU is left out for a model after its first failure there.
        probation: how long a new version runs beside the old one; up to three times as long where
            it has answered nothing well yet.
        probation_requests: answers of it from which its speed counts, and errors before its
            probation is over.
        probation_share: part of its speed that it is given meanwhile.
        scale_every: how often autoscaling looks.
        scale_window: over how long it counts arrivals.
        batching_every: how often batching windows are adapted; 0 for never.
    """

    lease: float = 5.0
    ready_timeout: float = 120.0
    retry: float = 10.0
    probation: float = 20.0
    probation_requests: int = 20
    probation_share: float = 0.2
    scale_every: float = 2.0
    scale_window: float = 10.0
    batching_every: float = 10.0

    @classmethod
    def from_config(cls, config: RoomieConfig) -> Self:
        """Those that topics.yaml declares."""
        return cls(
            lease=config.lease,
            ready_timeout=config.ready_timeout,
            retry=config.retry,
            probation=config.probation,
            probation_requests=config.probation_requests,
            probation_share=config.probation_share,
            scale_every=config.autoscaling.every,
            scale_window=config.autoscaling.window,
            batching_every=config.batching_every,
        )
