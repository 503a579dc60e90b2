"""Orders on the wire: CloudEvents 1.0 in Kafka's binary content mode.

The attributes are headers with the prefix ``ce_``, the value is JSON: of a deploy and of an update
the whole `ModelSpec`, of a scale ``{"instances": 3}``, of an undeploy ``{}``. Unlike records that
ROOMIE's parts write for each other, an order is written by people: unknown keys are refused.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dataflow.config import TopicNames
from dataflow.errors import RecordError
from dataflow.moments import parse_rfc3339, rfc3339
from dataflow.transport import Received, Record
from roomie.control.records import ORDER_TYPES, TYPE_PREFIX, Count, ModelName, ModelSpec, Order

VERSION = "v1"
MAX_BYTES = 64 * 1024
"""Largest value of an order that is read."""
_DETAIL_BYTES = 1000
"""Longest detail in the header of a refused record."""
_SPECVERSION = "1.0"

OrderType = Literal["deploy", "update", "scale", "undeploy"]


class SpecData(ModelSpec):
    """Data of a deploy or an update: what is wanted of the model."""

    model_config = ConfigDict(extra="forbid")


class ScaleData(BaseModel):
    """Data of a scale."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    instances: Count
    """How many are always wanted from now on."""


class UndeployData(BaseModel):
    """Data of an undeploy: none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OrderEvent(BaseModel):
    """An order as a CloudEvent in structured mode; what is published as a JSON Schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    specversion: Literal["1.0"]
    """Of CloudEvents."""
    id: str
    """The same id is acted on once."""
    type: Literal[
        "io.videojam.roomie.deploy.v1",
        "io.videojam.roomie.update.v1",
        "io.videojam.roomie.scale.v1",
        "io.videojam.roomie.undeploy.v1",
    ]
    """What is asked for."""
    source: str
    """Who asks."""
    subject: ModelName
    """Which model."""
    time: str
    """When, RFC 3339 with an offset from UTC."""
    datacontenttype: Literal["application/json"] = "application/json"
    """Of the data."""
    data: SpecData | ScaleData | UndeployData = Field(union_mode="left_to_right")
    """What is wanted: a spec of a deploy or an update, instances of a scale, nothing of an
    undeploy."""


def new_order(
    kind: OrderType,
    model: str,
    *,
    source: str,
    at: float,
    spec: ModelSpec | None = None,
    instances: int | None = None,
    order_id: Callable[[], str] = lambda: uuid.uuid4().hex,
) -> Order:
    """An order with an id of its own.

    Args:
        kind: what is asked for.
        model: of which model.
        source: who asks.
        at: seconds since the epoch.
        spec: of a deploy or an update.
        instances: of a scale.
        order_id: makes the id.

    Raises:
        RecordError: reason ``bad-order``: what is asked for makes no sense.
    """
    try:
        order = Order(
            id=order_id(),
            type=kind,
            source=source,
            at=at,
            model=model,
            spec=spec,
            instances=instances,
        )
    except ValidationError as error:
        raise RecordError("bad-order", _first(error)) from error
    _check(order)
    return order


def encode_order(names: TopicNames, order: Order) -> Record:
    """The record of an order."""
    data: dict[str, Any] = {}
    if order.spec is not None:
        data = order.spec.model_dump(mode="json", exclude_none=True)
    elif order.instances is not None:
        data = {"instances": order.instances}
    headers = {
        "ce_specversion": _SPECVERSION,
        "ce_id": order.id,
        "ce_type": f"{TYPE_PREFIX}{order.type}.{VERSION}",
        "ce_source": order.source,
        "ce_subject": order.model,
        "ce_time": rfc3339(order.at),
        "content-type": "application/json",
    }
    return Record(
        topic=names.deploy,
        key=order.model.encode(),
        value=json.dumps(data).encode(),
        headers=[(name, value.encode()) for name, value in headers.items()],
    )


def decode_order(headers: Sequence[tuple[str, bytes | None]], value: bytes | None) -> Order:
    """Read an order.

    Raises:
        RecordError: reason ``bad-header`` (an attribute is missing or wrong), ``unknown-type``,
            or ``bad-order`` (the data is).
    """
    try:
        texts = {name: (raw or b"").decode() for name, raw in headers}
    except UnicodeDecodeError as error:
        raise RecordError("bad-header", f"a header is not UTF-8: {error}") from error
    if texts.get("ce_specversion") != _SPECVERSION:
        raise RecordError(
            "bad-header",
            f"ce_specversion is {texts.get('ce_specversion')!r}: an order is a CloudEvent "
            f"{_SPECVERSION} in binary mode",
        )
    kind = _kind(texts.get("ce_type"))
    data = _data(kind, value)
    attributes: dict[str, Any] = {"type": kind}
    for field, header in (("id", "ce_id"), ("source", "ce_source"), ("model", "ce_subject")):
        if not texts.get(header):
            raise RecordError("bad-header", f"the header {header} is missing or empty")
        attributes[field] = texts[header]
    try:
        attributes["at"] = parse_rfc3339(texts["ce_time"])
    except KeyError:
        raise RecordError("bad-header", "the header ce_time is missing") from None
    except (ValueError, OverflowError) as error:
        raise RecordError("bad-header", f"ce_time: {error}") from error
    if isinstance(data, SpecData):
        attributes["spec"] = ModelSpec.model_validate(data.model_dump())
    elif isinstance(data, ScaleData):
        attributes["instances"] = data.instances
    try:
        order = Order(**attributes)
    except ValidationError as error:
        raise RecordError("bad-header", _first(error)) from error
    _check(order)
    return order


def _kind(text: str | None) -> OrderType:
    known = {f"{TYPE_PREFIX}{name}.{VERSION}": name for name in ORDER_TYPES}
    if text not in known:
        raise RecordError(
            "unknown-type", f"ce_type is {text!r}; this controller reads {', '.join(known)}"
        )
    return cast(OrderType, known[text])


def _data(kind: OrderType, value: bytes | None) -> SpecData | ScaleData | UndeployData:
    if len(value or b"") > MAX_BYTES:
        raise RecordError("bad-order", f"{len(value or b'')} bytes; at most {MAX_BYTES} are read")
    models: dict[str, type[SpecData | ScaleData | UndeployData]] = {
        "deploy": SpecData,
        "update": SpecData,
        "scale": ScaleData,
        "undeploy": UndeployData,
    }
    try:
        return models[kind].model_validate_json(value or b"{}")
    except ValidationError as error:
        raise RecordError("bad-order", f"{kind}: {_first(error)}") from error


def _check(order: Order) -> None:
    """What the parts of an order say of each other."""
    spec = order.spec
    if order.type in ("deploy", "update"):
        if spec is None:
            raise RecordError("bad-order", f"a {order.type} needs a spec")
        if spec.model != order.model:
            raise RecordError(
                "bad-order", f"the spec is of {spec.model!r}, and the subject is {order.model!r}"
            )
        if spec.max_instances is not None and spec.max_instances < spec.instances:
            raise RecordError(
                "bad-order",
                f"max_instances ({spec.max_instances}) is below instances ({spec.instances})",
            )
    elif spec is not None:
        raise RecordError("bad-order", f"a {order.type} takes no spec")
    if (order.type == "scale") != (order.instances is not None):
        raise RecordError("bad-order", "instances belong to a scale, and a scale needs them")


def refusal(names: TopicNames, record: Received, error: RecordError, *, at: float) -> Record:
    """The record that keeps what could not be obeyed: as it came, with reason and origin.

    Args:
        names: of the deployment's topics.
        record: what was refused.
        error: why.
        at: when, seconds since the epoch.
    """
    extra = {
        "vj_dead_reason": error.reason.encode(),
        "vj_dead_detail": error.detail.encode()[:_DETAIL_BYTES],
        "vj_dead_origin": f"{record.topic}/{record.partition}/{record.offset}".encode(),
        "vj_dead_at": f"{at:.6f}".encode(),
    }
    value = record.value
    if value is not None and len(value) > MAX_BYTES:
        extra["vj_dead_size"] = str(len(value)).encode()
        value = value[:MAX_BYTES]
    return Record(
        topic=names.refused,
        key=record.key,
        value=value,
        headers=[*record.headers, *extra.items()],
    )


def name_of(record: Received) -> tuple[str | None, str | None]:
    """Model and id of an order that may be wrong otherwise; None where they cannot be told."""
    texts = {name: (raw or b"").decode("utf-8", "replace") for name, raw in record.headers}
    model = texts.get("ce_subject") or (record.key or b"").decode("utf-8", "replace")
    return _valid(model, ModelSpec, "model"), _valid(texts.get("ce_id"), Order, "id")


def _valid(text: str | None, model: type[BaseModel], field: str) -> str | None:
    if not text:
        return None
    try:
        model.__pydantic_validator__.validate_assignment(model.model_construct(), field, text)
    except ValidationError:
        return None
    return text


def _first(error: ValidationError) -> str:
    """The first fault, with its key."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(map(str, fault["loc"])) or "the value"
    message = "unknown key" if fault["type"] == "extra_forbidden" else fault["msg"]
    return f"{where}: {message}"
