"""The section ``roomie`` of topics.yaml."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from dataflow.config.parts import ConfigModel, Name
from dataflow.config.units import Duration, Size

Moment = Annotated[Duration, Field(gt=0)]
"""A duration that may not be nothing."""


class AutoscalingConfig(ConfigModel):
    """How models that declare max_instances grow and shrink."""

    policy: Name = "roomie"
    """Who decides: an entry point under videojam.autoscalers, for example infaas for INFaaS's
    ratios, or none."""
    every: Moment = 2.0
    """How often."""
    window: Moment = 10.0
    """Over how long arrivals are counted."""
    forecaster: str | None = None
    """Entry point under videojam.forecasters, to grow before the load comes; none when absent."""


class RoomieConfig(ConfigModel):
    """ROOMIE: which models run on which GPU."""

    placer: str = "roomie"
    """Who chooses the GPU: an entry point under videojam.placers."""
    profiles: tuple[str, ...] = Field(default=("synthetic",), min_length=1)
    """Folders and files of kernel profiles; the word synthetic for those that ship."""
    devices: str | None = None
    """File of GPUs that are added to those that are known."""
    seed: int = Field(default=0, ge=0)
    """Of the placer's random draws."""
    lease: Moment = 5.0
    """A worker that has not been heard for so long is lost, and its instances go elsewhere."""
    report: Moment = 1.0
    """How often a worker says that it is there; and what its instances did."""
    tick: Moment = 0.5
    """How often the controller looks at everything anew."""
    session_timeout: Duration = Field(default=6.0, ge=0.1, le=60)
    """A standby takes over from a controller that has been silent for so long: a minute at most."""
    ready_timeout: Moment = 120.0
    """A new version that is not ready after so long is rolled back; and an instance that is not
    is tried elsewhere."""
    drain: Moment = 10.0
    """How long an instance that leaves may finish what it has."""
    retry: Moment = 10.0
    """How long a GPU on which an instance failed is left out for that model; doubles each time."""
    probation: Duration = 20.0
    """How long a new version runs beside the old one, and is watched, before that goes; up to three
    times as long where it has answered nothing well yet."""
    probation_requests: int = Field(default=20, ge=1)
    """Answers from which a new version is judged: by its errors at once, by its speed when its
    probation is over. Fewer are enough then: three with two errors among them, and for its speed
    three reports with answers. One that never answers is rolled back if the old one answered so
    many meanwhile."""
    probation_share: float = Field(default=0.2, gt=0, le=1)
    """Part of its speed that an instance of a new version is given meanwhile."""
    moves: int = Field(default=0, ge=0)
    """Most running instances that are moved to make room for a new one."""
    move_size: Size | None = None
    """Most bytes of weights that these have to load; no limit when absent."""
    autoscaling: AutoscalingConfig = AutoscalingConfig()
    """How models that declare max_instances grow and shrink."""
    batching_every: Duration = 10.0
    """How often the time that servers wait for a batch is adapted to what arrives; 0 for never."""
    retention: Moment = 7 * 86400.0
    """How long orders and the record of decisions are kept."""

    @model_validator(mode="after")
    def _workers_are_heard(self) -> Self:
        if self.lease < 2 * self.report:
            raise ValueError(
                f"roomie.lease: {self.lease:g} s is less than two reports of {self.report:g} s: "
                "a worker with a late one would count as lost"
            )
        return self
