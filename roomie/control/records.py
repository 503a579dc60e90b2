"""What ROOMIE's parts tell each other over Kafka, as JSON.

| topic | key | record | who writes it |
|---|---|---|---|
| ``roomie.deploy`` | model | `Order`, a CloudEvent in binary mode | whoever wants models to run |
| ``roomie.placements`` | model | `Placement`, compacted | the active controller |
| ``roomie.workers`` | worker | `WorkerReport`, compacted | each worker agent |
| ``roomie.telemetry`` | worker | `Telemetry` | each worker agent |
| ``roomie.status`` | model | `Status`: outcomes of orders, and reasons | the active controller |
| ``roomie.controller`` | controller | `ControllerReport`, compacted | each controller |
| ``roomie.controller`` | ``#orders`` | `OrderMemory`, compacted | the active controller |
| ``roomie.dead`` | model | a refused order, its reason and origin in headers | likewise |

A `Placement` is all that a controller knows of a model: whoever reads the compacted topic to its
end can go on in its place. Workers make what runs like what it says, and report what runs. Each
instance is a model of its own to its Triton server (its id is the name), so that two versions, or
two batch sizes, of a model live side by side on one server.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from dataflow.errors import RecordError

ORDER_TYPES = ("deploy", "update", "scale", "undeploy")
TYPE_PREFIX = "io.videojam.roomie."
"""Of the CloudEvents type: ``io.videojam.roomie.deploy.v1`` and so on."""

ModelName: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}(\.[A-Za-z0-9_-]{1,64})*$")
]
"""As a folder of Triton's model repository may be called, and as a part of a topic's key."""
Id: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,127}$")]
Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Amount: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=10_000)]
InstanceState: TypeAlias = Literal["pending", "loading", "ready", "draining", "failed"]


class Record(BaseModel):
    """Immutable, and read from JSON; what a newer writer adds is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    @classmethod
    def from_json(cls, value: bytes) -> Self:
        """Read one.

        Raises:
            RecordError: reason ``bad-record``: it is no such record.
        """
        try:
            return cls.model_validate_json(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "record"
            raise RecordError(
                "bad-record", f"not a {cls.__name__}: {where}: {first['msg']}"
            ) from error

    def to_json(self) -> bytes:
        """As it goes on the wire."""
        return self.model_dump_json().encode()


class ModelSpec(Record):
    """What is wanted of a model."""

    model: ModelName
    """By this name clients ask for it."""
    version: Count = 1
    """Number of the version's folder in the model repository."""
    profile: ModelName | None = None
    """Whose kernel profile predicts it; that of ``model`` when absent."""
    instances: Count = 1
    """How many are always wanted."""
    max_instances: Count | None = None
    """Most that autoscaling may make of them; no autoscaling when absent."""
    batch: Count | None = None
    """Batch size of each instance; chosen with the GPU when absent."""
    rate: Positive | None = None
    """Items a second that each instance has to serve; as many as it can when absent."""
    latency: Positive | None = None
    """Seconds that an inference may take, interference included."""
    memory_bytes: Annotated[int, Field(gt=0)] | None = None
    """Of the GPU, that an instance needs, where no profile says it; without either, instances are
    only counted."""
    reserved: bool = True
    """Whether its ``instances`` keep their place: others never displace them. What autoscaling
    adds beyond them is never reserved. (Thesis sec. 5.3.2 calls the kept ones primitive.)"""
    spread: Literal["none", "prefer", "require"] = "none"
    """Whether its instances keep to different nodes."""
    error_limit: Share = 0.05
    """A new version that fails a larger share of its requests is rolled back."""
    slow_limit: Positive = 2.0
    """A new version that takes longer than ``latency``, or than this many times the old version
    where no latency is declared, is rolled back."""

    @property
    def most_extra(self) -> int:
        """How many instances autoscaling may add beyond ``instances``."""
        return 0 if self.max_instances is None else max(0, self.max_instances - self.instances)


class Order(Record):
    """What somebody asks of ROOMIE; the CloudEvents id makes it idempotent."""

    id: Id
    """CloudEvents id; the same id is acted on once."""
    type: Literal["deploy", "update", "scale", "undeploy"]
    """Of the CloudEvents type, without prefix and version."""
    source: str
    """CloudEvents source: who asks."""
    at: Amount
    """When, seconds since the epoch."""
    model: ModelName
    """Which one; the CloudEvents subject."""
    spec: ModelSpec | None = None
    """Of a deploy: all of it. Of an update: the new version's."""
    instances: Count | None = None
    """Of a scale: how many are always wanted from now on."""


class PlacedInstance(Record):
    """An instance that should run."""

    id: ModelName
    """Its name to the Triton server; never used again."""
    version: Count
    """Which version it serves."""
    worker: Id
    """On whose server."""
    gpu: Id
    """Id of the GPU or slice: WORKER/INDEX."""
    batch: Count
    """Largest batch that it takes."""
    window: Amount = 0.0
    """Seconds that the server waits for a batch to fill."""
    state: InstanceState = "pending"
    """What its worker said of it last. Clients use those that are ready."""
    url: str | None = None
    """gRPC address of its server, once it is ready."""
    speed: Amount = 0.0
    """Items a second that it is expected to serve: predicted at first, then measured."""
    slowdown: Amount = 0.0
    """Predicted (T~ - T) / T."""
    alone: Amount = 0.0
    """Seconds that a full batch takes alone on this GPU, by its profile; 0 where not known."""
    reserved: bool = True
    """Whether it keeps its place."""
    extra: bool = False
    """Whether autoscaling added it."""
    incoming: bool = False
    """Whether it belongs to the version on its way in."""
    replaces: ModelName | None = None
    """Whose place it takes: that one drains as soon as this one is ready."""
    profile: ModelName | None = None
    """Whose kernel profile it was placed by; None where there was none."""
    memory_bytes: Annotated[int, Field(ge=0)] = 0
    """What it needs of the GPU; 0 where that is not known."""
    weight: Share = 1.0
    """Part of its speed that clients give it; less while its version is on probation."""
    since: Amount = 0.0
    """When it came into its state, seconds since the epoch; pending and loading count as one."""


class Rollout(Record):
    """A version that is on its way in."""

    version: Count
    """The new one."""
    spec: ModelSpec
    """Its own."""
    since: Amount
    """When it began, seconds since the epoch."""
    order: Id
    """Which order asked for it."""
    first: bool = False
    """Whether there is no version to go back to."""
    proving: Amount | None = None
    """When all its instances were ready and its probation began, seconds since the epoch."""


class OpenOrder(Record):
    """An order that has been accepted and has no outcome yet."""

    id: Id
    """Which one."""
    type: Literal["deploy", "update", "scale", "undeploy"]
    """What it asks for."""
    at: Amount
    """When it was accepted, seconds since the epoch."""


class Placement(Record):
    """What should run of a model, and what is known of it."""

    spec: ModelSpec
    """What is wanted; of the version that serves, while a rollout lasts."""
    generation: Annotated[int, Field(ge=0)] = 0
    """Goes up by one with each change."""
    instances: tuple[PlacedInstance, ...] = ()
    """Of all versions."""
    rollout: Rollout | None = None
    """The version on its way in, if there is one."""
    orders: tuple[Id, ...] = ()
    """Ids of the last orders that were acted on, the newest last."""
    open: tuple[OpenOrder, ...] = ()
    """Orders without an outcome, the oldest first."""
    deferred: str | None = None
    """Why instances are missing, if some are."""
    extra: Annotated[int, Field(ge=0)] = 0
    """How many instances autoscaling wants beyond those of ``spec``."""
    leaving: bool = False
    """Whether the model is on its way out: its record goes when its last instance has."""
    life: str = ""
    """Made of the order that deployed it; a part of its instances' names."""
    made: Annotated[int, Field(ge=0)] = 0
    """How many instances it has had in this life."""

    def extra_under(self, spec: ModelSpec) -> int:
        """How many of the instances that autoscaling wants a version's declaration allows."""
        return min(self.extra, spec.most_extra)


class GpuReport(Record):
    """A GPU, or a MIG slice, of a worker."""

    id: Id
    """WORKER/INDEX."""
    device: str
    """Its kind, as in `videojam roomie devices`."""
    memory_bytes: Annotated[int, Field(gt=0)] | None = None
    """Declared size, where it is not the kind's."""


class InstanceReport(Record):
    """What a worker knows of an instance."""

    id: ModelName
    """As placed."""
    state: InstanceState
    """As it is."""
    reason: str | None = None
    """Why it failed."""
    ready_seconds: Amount | None = None
    """From the load call to the first good answer."""


class WorkerReport(Record):
    """A worker, its GPUs and what runs on them."""

    worker: Id
    """Its name."""
    node: Id
    """Its machine; workers of one node fail together."""
    incarnation: str
    """Of its process: another one means that it was restarted."""
    url: str
    """gRPC address of its Triton server."""
    gpus: tuple[GpuReport, ...]
    """What it has."""
    at: Amount
    """When this was written, seconds since the epoch."""
    lease: Positive
    """Seconds after ``at`` for which it may be counted on."""
    server_ready: bool
    """Whether its Triton answers."""
    instances: tuple[InstanceReport, ...] = ()
    """What runs, is coming or has failed."""


class InstanceTelemetry(Record):
    """What an instance did since the last telemetry."""

    id: ModelName
    """Which one."""
    requests: Annotated[int, Field(ge=0)]
    """Answered well."""
    failures: Annotated[int, Field(ge=0)]
    """Answered with an error."""
    items: Annotated[int, Field(ge=0)]
    """Inferred: requests times their batch sizes."""
    queue_seconds: Amount
    """Sum over requests of the time that they waited."""
    compute_seconds: Amount
    """Sum over executions of the time that they took."""
    executions: Annotated[int, Field(ge=0)]
    """Batches run."""
    pending: Annotated[int, Field(ge=0)] = 0
    """Requests that wait now."""
    full_executions: Annotated[int, Field(ge=0)] = 0
    """Batches run that were as large as its largest; those compare with its profile."""
    full_seconds: Amount = 0.0
    """Time that these took."""


class Telemetry(Record):
    """What a worker's instances did over a span of time."""

    worker: Id
    """Whose."""
    at: Amount
    """End of the span, seconds since the epoch."""
    seconds: Positive
    """Its length."""
    instances: tuple[InstanceTelemetry, ...]
    """What ran."""
    used_bytes: dict[str, int] = {}
    """Memory taken on each GPU by all processes, as its driver says; none where it does not."""


OUTCOMES = frozenset(
    {"refused", "ready", "scaled", "rolled-out", "rolled-back", "removed", "superseded"}
)
"""Events that end an order when they name it; each order gets exactly one."""


class Status(Record):
    """What became of an order, or why something was decided. For people, and for who asked."""

    model: ModelName
    """Which one."""
    order: Id | None = None
    """Which order, where one is the cause."""
    event: Literal[
        "accepted",
        "refused",
        "repeated",
        "placed",
        "deferred",
        "ready",
        "scaled",
        "moved",
        "retuned",
        "rolled-out",
        "rolled-back",
        "lost",
        "removed",
        "superseded",
        "proving",
        "failed",
    ]
    """What happened."""
    reason: str
    """Why, in a sentence."""
    instances: tuple[ModelName, ...] = ()
    """Which instances it is about."""
    at: Amount
    """When, seconds since the epoch."""

    @property
    def is_outcome(self) -> bool:
        """Whether it ends its order."""
        return self.order is not None and self.event in OUTCOMES


class ControllerReport(Record):
    """A controller. The active one hears by its own report that it is not deaf."""

    controller: Id
    """Its name."""
    incarnation: str
    """Of its process."""
    active: bool
    """Whether it decides; the others stand by."""
    at: Amount
    """When this was written, seconds since the epoch."""
    since: Amount
    """Since when it has been active, or has stood by."""


ORDERS_KEY = b"#orders"
"""Key of the `OrderMemory` among the controllers' reports."""


class OrderMemory(Record):
    """Which orders have been acted on, or refused; the newest last."""

    ids: tuple[str, ...] = ()
    """A bounded number of them, of all models."""
