"""The model of topics.yaml: each key, its default and its meaning, written once."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from dataflow.config.parts import ConfigModel, Name
from dataflow.config.roomie import RoomieConfig
from dataflow.config.units import Duration, PositiveSize, Size
from dataflow.errors import ConfigError
from dataflow.plugins import installed, remedy_for


class SecurityConfig(ConfigModel):
    """How clients prove who they are and whom they trust. Values may be ``${ENVIRONMENT}``."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Kafka's security.protocol."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """Kafka's sasl.mechanism; needed with a SASL protocol."""
    username: str | None = None
    """SASL user."""
    password: SecretStr | None = None
    """SASL password; write ``${KAFKA_PASSWORD}`` rather than the password itself."""
    ca_file: str | None = None
    """PEM file of the authority that signed the brokers' certificates."""
    certificate_file: str | None = None
    """PEM file of the client's own certificate."""
    key_file: str | None = None
    """PEM file of the client's private key."""
    key_password: SecretStr | None = None
    """Password of the private key."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.protocol.startswith("SASL") and (
            self.sasl_mechanism is None or self.username is None or self.password is None
        ):
            raise ValueError(
                f"protocol {self.protocol} needs sasl_mechanism, username and password"
            )
        return self


class ClusterConfig(ConfigModel):
    """The Kafka cluster."""

    bootstrap_servers: str = "localhost:9092"
    """Comma-separated host:port list. The option --bootstrap-servers overrides it."""
    replication: int = Field(default=1, ge=1, le=32767)
    """Copies of each partition; 3 in production."""
    min_insync_replicas: int = Field(default=1, ge=1)
    """Copies that must have a record before it counts as written; 2 in production."""
    max_message_size: Size = Field(default=Size(10 * 1024 * 1024))
    """Largest record: a frame with its headers."""
    session_timeout: Duration = Field(default=6.0, ge=0.1, le=300)
    """After so long without a heartbeat a replica's partitions go to the others. Brokers refuse
    less than their group.min.session.timeout.ms, which is 6 s unless it was set; clients more than
    the 5 minutes after which a replica that does not poll leaves its group."""
    security: SecurityConfig = SecurityConfig()
    """Authentication and encryption."""

    @model_validator(mode="after")
    def _writable(self) -> Self:
        if self.min_insync_replicas > self.replication:
            raise ValueError(
                f"min_insync_replicas ({self.min_insync_replicas}) above replication "
                f"({self.replication}): no record could ever be written"
            )
        return self


class BatchConfig(ConfigModel):
    """Batches of 1..max items."""

    max: int = Field(default=1, ge=1, le=1024)
    """Most items in one call of the function."""
    wait: Duration = 0.02
    """How long an incomplete batch waits for more."""


class QueueConfig(ConfigModel):
    """The replica's own queue between Kafka and the function."""

    items: int = Field(default=150, ge=1)
    """Most items waiting."""
    size: Size = Field(default=Size(128 * 1024 * 1024))
    """Most bytes waiting."""
    when_full: Literal["drop-oldest", "block"] = "drop-oldest"
    """drop-oldest keeps live video live; block leaves the rest in Kafka and loses nothing."""


class RetentionConfig(ConfigModel):
    """How long Kafka keeps records."""

    time: Duration = 3600.0
    """Age above which records are deleted."""
    size: Size | None = None
    """Bytes per partition above which the oldest are deleted; no limit when absent."""


BALANCERS = "videojam.balancers"
"""Entry-point group of balancers."""


def _installed_balancer(name: str) -> str:
    try:
        known = installed(BALANCERS, "balancer")
    except ConfigError as error:
        raise ValueError(error.message) from error
    if name not in known:
        raise ValueError(f"no such balancer; {remedy_for(name, known, 'balancer')}")
    return name


class BalancingConfig(ConfigModel):
    """How the replicas of a function share their work."""

    policy: Annotated[str, AfterValidator(_installed_balancer)] | None = None
    """Entry point under videojam.balancers. videojam forecasts and sends surplus straight to peers;
    wrr deals round by speed; jsq sends each item where it is done first; shared-queue lets idle
    replicas ask for work; none leaves items where Kafka puts them. Absent: videojam, but none for a
    stateful function."""
    parameters: dict[str, object] = Field(default_factory=dict)
    """Passed to the balancer, which validates them; wrr has original_weights and keep_dead."""
    forecaster: str | None = None
    """Entry point under videojam.forecasters; the one that ships when absent."""
    forecaster_parameters: dict[str, object] = Field(default_factory=dict)
    """Passed to the forecaster, which validates them."""
    forecaster_broken: Literal["error", "last-window"] = "error"
    """What a worker does when the forecaster's model cannot be used: refuse to start, or warn and
    forecast that the next window is like the last."""
    forecaster_finetune: bool = False
    """Whether each replica learns the last layer of its network anew, in the background, from the
    load of its own cameras; for mixture and dense."""
    rhythm: Literal["reactive", "thesis"] = "reactive"
    """reactive decides anew each second and whenever queues turn out other than expected; thesis
    decides every ten seconds, as printed."""
    order: Literal["fifo", "thesis"] = "fifo"
    """fifo bounds the response time; thesis takes the newest item four times out of five."""
    hop_limit: int = Field(default=2, ge=1, le=16)
    """How often an item may be handed on."""
    bytes_per_second: PositiveSize | None = None
    """Most bytes that a replica hands on in a second; no limit when absent."""
    exchange: Literal["direct", "faust"] = "direct"
    """How rows and signals travel: through a reader of the replica's own, or Faust agents."""


class FunctionConfig(ConfigModel):
    """One function type and its topic group."""

    plugin: str | None = None
    """Entry point under videojam.functions; the function's own name when absent."""
    parameters: dict[str, object] = Field(default_factory=dict)
    """Passed to the plugin, which validates them."""
    replicas: int = Field(default=1, ge=0)
    """Worker processes that `videojam up` starts."""
    partitions: int = Field(default=4, ge=1)
    """Partitions of the work topic: the most replicas that can ever share the work."""
    partitioning: Literal["camera", "spread"] = "camera"
    """camera keeps one camera's items together and in order; spread deals them round."""
    batch: BatchConfig = BatchConfig()
    """How items are grouped for one call."""
    queue: QueueConfig = QueueConfig()
    """Limits of a replica's queue."""
    retention: RetentionConfig = RetentionConfig(time=600.0, size=Size(1024**3))
    """Retention of the work topic."""
    dead_retention: Duration = 7 * 86400.0
    """How long dead letters are kept."""
    attempts: int = Field(default=2, ge=1, le=10)
    """How often a failing item is tried before it is a dead letter."""
    stall_limit: Duration = 60.0
    """A call that takes longer counts as hung: the worker reports it and restarts."""
    stateful: bool = False
    """The function keeps state per camera, which follows the camera through a snapshots topic."""
    snapshot_every: Duration = 5.0
    """How often a stateful function's cameras are saved."""
    balancing: BalancingConfig = BalancingConfig()
    """How its replicas share their work."""

    @property
    def balancing_policy(self) -> str:
        """The balancer in force."""
        return self.balancing.policy or ("none" if self.stateful else "videojam")

    @model_validator(mode="after")
    def _state_stays_at_home(self) -> Self:
        if self.stateful and self.balancing_policy != "none":
            raise ValueError(
                f"balancing.policy {self.balancing.policy} would take items away from the replica "
                "that holds their camera's state: a stateful function needs policy: none"
            )
        return self

    @model_validator(mode="after")
    def _enough_partitions(self) -> Self:
        if self.replicas > self.partitions:
            raise ValueError(
                f"{self.replicas} replicas cannot share {self.partitions} partitions: "
                f"raise partitions to at least {self.replicas}"
            )
        if self.stateful and self.partitioning != "camera":
            raise ValueError("a stateful function needs partitioning: camera")
        return self


class RouteConfig(ConfigModel):
    """Where the detections of a step go."""

    to: Name
    """Id of a later step."""
    send: Literal["image", "crops"] = "image"
    """image hands on the same picture; crops cuts one new item for each detection."""
    of: Name | None = None
    """Only detections of this kind (region, vehicle, plate); required with crops."""
    labels: tuple[str, ...] | None = None
    """Only detections with one of these labels."""
    min_score: float = Field(default=0.0, ge=0.0, le=1.0)
    """Only detections at least this sure."""
    min_width: float = Field(default=0.0, ge=0.0)
    """Only detections at least this wide, in pixels: what is too small to be read costs no time."""
    margin: float = Field(default=0.0, ge=0.0, le=1.0)
    """Border added around a crop, as a fraction of its size."""
    quality: int = Field(default=95, ge=1, le=100)
    """JPEG quality of the crops."""

    @model_validator(mode="after")
    def _crops_of_something(self) -> Self:
        if self.send == "crops" and self.of is None:
            raise ValueError("send: crops needs 'of', the kind of detection to cut out")
        return self


class StepConfig(ConfigModel):
    """One step of a pipeline."""

    function: Name
    """One of the declared functions."""
    id: Name | None = None
    """Name of the step within the pipeline; the function's name when absent."""
    then: tuple[RouteConfig, ...] | None = None
    """Where results go. Absent: the same image goes to the next step in the list."""

    @property
    def name(self) -> str:
        """The step's id."""
        return self.id or self.function


class PipelineConfig(ConfigModel):
    """Which cameras pass which functions, in which order."""

    cameras: tuple[Name, ...] = Field(min_length=1)
    """Kinds of camera whose frames enter this pipeline."""
    steps: tuple[StepConfig, ...] = Field(min_length=1)
    """The first step receives the frames."""

    @model_validator(mode="after")
    def _routes_lead_forward(self) -> Self:
        names = [step.name for step in self.steps]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two steps are called {name!r}: give one of them an id")
        for position, step in enumerate(self.steps):
            for route in step.then or ():
                if route.to not in names:
                    raise ValueError(
                        f"step {step.name!r} leads to {route.to!r}, which is no step of this "
                        f"pipeline (its steps: {', '.join(names)})"
                    )
                if names.index(route.to) <= position:
                    raise ValueError(
                        f"step {step.name!r} leads back to {route.to!r}: routes go forward only"
                    )
        return self

    def step(self, name: str) -> StepConfig | None:
        """The step of that id, or None."""
        return self._steps.get(name)

    def routes(self, name: str) -> tuple[RouteConfig, ...]:
        """Where the results of step ``name`` go; empty for a last step."""
        return self._routes.get(name, ())

    # Asked for each item, so made once.

    @cached_property
    def _steps(self) -> dict[str, StepConfig]:
        return {step.name: step for step in self.steps}

    @cached_property
    def _routes(self) -> dict[str, tuple[RouteConfig, ...]]:
        following = (*self.steps[1:], None)
        return {
            step.name: step.then
            if step.then is not None
            else (() if after is None else (RouteConfig(to=after.name),))
            for step, after in zip(self.steps, following, strict=True)
        }


class OverloadConfig(ConfigModel):
    """What goes first when a function's replicas together lack capacity."""

    policy: Literal["none", "rate", "oldest", "priority"] = "none"
    """rate thins cameras evenly where their frames enter; priority thins the less important ones;
    oldest drops the oldest items of the cameras that have most waiting; none leaves it to the
    limits of the queues."""
    priorities: dict[str, int] = Field(default_factory=dict)
    """Importance of cameras, larger is more; 0 for those that are not listed."""

    @model_validator(mode="after")
    def _priorities_are_used(self) -> Self:
        if self.priorities and self.policy not in ("priority", "oldest"):
            raise ValueError(f"priorities have no meaning with policy: {self.policy}")
        return self


class ResultsConfig(ConfigModel):
    """The topics that results are published on."""

    partitions: int = Field(default=4, ge=1)
    """Partitions of each results topic."""
    retention: RetentionConfig = RetentionConfig(time=7 * 86400.0)
    """Retention of results."""
    accounting_retention: Duration = 86400.0
    """How long the account of produced and dropped frames is kept."""


class Config(ConfigModel):
    """The whole of topics.yaml."""

    version: Literal[1]
    """Version of this file's format."""
    deployment: Name = "videojam"
    """Prefix of all topic and group names."""
    cluster: ClusterConfig = ClusterConfig()
    """The Kafka cluster."""
    functions: dict[Name, FunctionConfig] = Field(min_length=1)
    """Function types, by name."""
    pipelines: dict[Name, PipelineConfig] = Field(min_length=1)
    """Pipelines, by name."""
    overload: OverloadConfig = OverloadConfig()
    """What goes first when there is more work than capacity."""
    results: ResultsConfig = ResultsConfig()
    """The topics that results are published on."""
    roomie: RoomieConfig | None = None
    """ROOMIE, which places models on GPUs: its topics and its controller; neither when absent."""

    @model_validator(mode="after")
    def _steps_are_declared(self) -> Self:
        for name, pipeline in self.pipelines.items():
            for position, step in enumerate(pipeline.steps):
                if step.function not in self.functions:
                    raise ValueError(
                        f"pipelines.{name}.steps.{position}.function: {step.function!r} is not "
                        f"declared under functions (declared: {', '.join(self.functions)})"
                    )
        return self

    @property
    def camera_kinds(self) -> tuple[str, ...]:
        """All kinds of camera that some pipeline takes, sorted."""
        kinds = {kind for pipeline in self.pipelines.values() for kind in pipeline.cameras}
        return tuple(sorted(kinds))

    def pipelines_for(self, kind: str) -> tuple[str, ...]:
        """Names of the pipelines that take frames of a camera of this kind."""
        return tuple(name for name, pipeline in self.pipelines.items() if kind in pipeline.cameras)
