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
        probation: how long a new version runs beside the old one.
        probation_requests: answers from which it is judged; at the end of its probation fewer are
            enough (`roomie.control.windows.verdict`).
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

    @property
    def longest_probation(self) -> float:
        """For so long a version may go on that has not answered anything well yet."""
        return 3.0 * self.probation

    @property
    def longest_window(self) -> float:
        """Over how long what instances did is looked back at, at most."""
        return max(self.scale_window, self.longest_probation)

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
