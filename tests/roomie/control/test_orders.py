"""Orders on the wire, and what is published of ROOMIE's records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from dataflow.config import TopicNames
from dataflow.errors import RecordError
from dataflow.transport import Received
from roomie.control.orders import decode_order, encode_order, name_of, new_order, refusal
from roomie.control.records import ModelSpec, Order, Placement, Status
from roomie.control.schema import (
    main,
    order_schema,
    placement_schema,
    schema_files,
    status_schema,
)
from tests.roomie.control.world import World

ROOT = Path(__file__).parents[3]
NAMES = TopicNames("d")

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,10}(\.[A-Za-z0-9_-]{1,5})?", fullmatch=True)
positive = st.floats(1e-3, 1e6)
specs = st.builds(
    ModelSpec,
    model=names,
    version=st.integers(1, 10_000),
    profile=st.none() | names,
    instances=st.integers(1, 50),
    max_instances=st.none() | st.integers(50, 100),
    batch=st.none() | st.integers(1, 64),
    rate=st.none() | positive,
    latency=st.none() | positive,
    memory_bytes=st.none() | st.integers(1, 2**40),
    reserved=st.booleans(),
    spread=st.sampled_from(["none", "prefer", "require"]),
    error_limit=st.floats(0, 1),
    slow_limit=positive,
)
times = st.floats(0, 4e9).map(lambda t: round(t, 6))


@st.composite
def orders(draw: st.DrawFn) -> Order:
    kind = draw(st.sampled_from(["deploy", "update", "scale", "undeploy"]))
    spec = draw(specs)
    return new_order(
        kind,  # type: ignore[arg-type] # one of the four
        spec.model,
        source=draw(st.text(min_size=1, max_size=20).filter(lambda t: t.isprintable())),
        at=draw(times),
        spec=spec if kind in ("deploy", "update") else None,
        instances=draw(st.integers(1, 100)) if kind == "scale" else None,
        order_id=lambda: draw(names),
    )


@given(order=orders())
def test_an_order_is_read_as_it_was_written(order: Order) -> None:
    record = encode_order(NAMES, order)
    read = decode_order(record.headers, record.value)
    assert read.model_copy(update={"at": 0.0}) == order.model_copy(update={"at": 0.0})
    assert read.at == pytest.approx(order.at, abs=1e-5)
    assert record.key == order.model.encode()


@given(order=orders())
def test_what_is_written_keeps_the_published_schema(order: Order) -> None:
    record = encode_order(NAMES, order)
    heads = {k.removeprefix("ce_"): v.decode() for k, v in record.headers if k.startswith("ce_")}
    event = {**heads, "data": json.loads(record.value or b"{}")}
    Draft202012Validator(order_schema()).validate(event)


@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from(["ce_id", "ce_type", "ce_subject", "ce_time", "ce_specversion", "x"]),
            st.binary(max_size=12) | st.none(),
        )
    ),
    value=st.none() | st.binary(max_size=40),
)
def test_nothing_that_comes_in_does_more_than_be_refused(
    headers: list[tuple[str, bytes | None]], value: bytes | None
) -> None:
    with pytest.raises(RecordError):
        decode_order(headers, value)


def good(**changes: bytes | None) -> list[tuple[str, bytes]]:
    order = new_order("deploy", "m", source="/t", at=1.0, spec=ModelSpec(model="m"))
    heads = {**dict(encode_order(NAMES, order).headers), **changes}
    return [(key, value) for key, value in heads.items() if value is not None]


@pytest.mark.parametrize(
    ("changes", "value", "reason", "said"),
    [
        ({"ce_specversion": b"0.3"}, b'{"model": "m"}', "bad-header", "ce_specversion is '0.3'"),
        ({"ce_specversion": None}, b'{"model": "m"}', "bad-header", "binary mode"),
        ({"ce_type": b"x.y"}, b'{"model": "m"}', "unknown-type", "io.videojam.roomie.deploy.v1"),
        ({"ce_id": b""}, b'{"model": "m"}', "bad-header", "ce_id is missing"),
        ({"ce_id": b"a b"}, b'{"model": "m"}', "bad-header", "id: "),
        ({"ce_subject": b"a/b"}, b'{"model": "a/b"}', "bad-order", "model: "),
        ({"ce_subject": b"n"}, b'{"model": "m"}', "bad-order", "the subject is 'n'"),
        ({"ce_time": b"noon"}, b'{"model": "m"}', "bad-header", "ce_time"),
        ({"ce_time": None}, b'{"model": "m"}', "bad-header", "ce_time is missing"),
        ({"ce_source": b"\xff"}, b'{"model": "m"}', "bad-header", "not UTF-8"),
        ({}, b'{"model": "m", "instnaces": 2}', "bad-order", "instnaces: unknown key"),
        ({}, b'{"model": "m", "instances": 0}', "bad-order", "instances: "),
        ({}, b'{"model": "m", "instances": 3, "max_instances": 2}', "bad-order", "below"),
        ({}, b"{", "bad-order", "JSON"),
        ({}, b" " * 70_000, "bad-order", "at most 65536"),
        ({"ce_type": b"io.videojam.roomie.scale.v1"}, b"{}", "bad-order", "instances: "),
        ({"ce_type": b"io.videojam.roomie.undeploy.v1"}, b'{"x": 1}', "bad-order", "x: unknown"),
    ],
)
def test_what_is_wrong_is_named(
    changes: dict[str, bytes | None], value: bytes, reason: str, said: str
) -> None:
    with pytest.raises(RecordError) as caught:
        decode_order(good(**changes), value)
    assert caught.value.reason == reason
    assert said in caught.value.detail


def test_an_order_that_makes_no_sense_is_not_even_sent() -> None:
    with pytest.raises(RecordError, match="needs a spec"):
        new_order("deploy", "m", source="/t", at=1.0)
    with pytest.raises(RecordError, match="instances belong to a scale"):
        new_order("undeploy", "m", source="/t", at=1.0, instances=2)
    with pytest.raises(RecordError, match="takes no spec"):
        new_order("undeploy", "m", source="/t", at=1.0, spec=ModelSpec(model="m"))
    with pytest.raises(RecordError, match="instances"):
        new_order("scale", "m", source="/t", at=1.0, instances=0)


def test_a_refused_record_is_kept_as_it_came() -> None:
    record = Received("d.roomie.deploy", 0, 7, b"m", b"x" * 70_000, good(), 0)
    kept = refusal(NAMES, record, RecordError("bad-order", "no"), at=2.0)
    heads = dict(kept.headers)
    assert kept.topic == "d.roomie.dead"
    assert heads["vj_dead_origin"] == b"d.roomie.deploy/0/7"
    assert heads["vj_dead_reason"] == b"bad-order"
    assert heads["vj_dead_size"] == b"70000"
    assert heads["ce_subject"] == b"m"
    assert len(kept.value or b"") == 65536


def test_model_and_id_are_told_where_they_can_be() -> None:
    def received(headers: list[tuple[str, bytes]], key: bytes | None) -> Received:
        return Received("t", 0, 0, key, b"", headers, 0)

    assert name_of(received([("ce_subject", b"m"), ("ce_id", b"1")], None)) == ("m", "1")
    assert name_of(received([("ce_id", b"a b")], b"m")) == ("m", None)
    assert name_of(received([("ce_subject", b"\xff")], None)) == (None, None)


@pytest.mark.parametrize("name", sorted(schema_files()))
def test_the_committed_schema_is_up_to_date(name: str) -> None:
    committed = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert committed == schema_files()[name], "run `python -m roomie.control.schema docs`"


def test_the_schemas_are_written_where_asked_for(tmp_path: Path) -> None:
    main(tmp_path / "new")
    assert {f.name: f.read_text() for f in (tmp_path / "new").iterdir()} == schema_files()


@pytest.mark.parametrize("schema", [order_schema(), placement_schema(), status_schema()])
def test_each_schema_is_one_and_describes_each_key(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    for definition in (schema, *schema.get("$defs", {}).values()):
        for key, value in definition.get("properties", {}).items():
            target = schema.get("$defs", {}).get(value.get("$ref", "").rpartition("/")[2], {})
            assert value.get("description") or target.get("description"), key


@pytest.mark.parametrize(
    "event",
    [
        {"type": "io.videojam.roomie.deploy.v1", "data": {"instances": 2}},
        {"type": "io.videojam.roomie.scale.v1", "data": {}},
        {"type": "io.videojam.roomie.undeploy.v1", "data": {"instances": 2}},
        {"type": "io.videojam.roomie.deploy.v1", "data": {"model": "m", "instnaces": 2}},
        {"type": "io.videojam.roomie.destroy.v1", "data": {}},
    ],
)
def test_the_schema_refuses_what_the_controller_refuses(event: dict[str, Any]) -> None:
    whole = {
        "specversion": "1.0",
        "id": "1",
        "source": "/t",
        "subject": "m",
        "time": "2026-01-01T00:00:00+00:00",
        **event,
    }
    with pytest.raises(ValidationError):
        Draft202012Validator(order_schema()).validate(whole)


def test_what_the_controller_writes_keeps_the_published_schemas() -> None:
    world = World(2)
    world.run(1)
    world.deploy(instances=2)
    world.settle()
    world.update(version=2)
    world.run(2)
    placements, statuses = (
        Draft202012Validator(placement_schema()),
        Draft202012Validator(status_schema()),
    )
    for step in world.steps:
        for _, placement in step.placements:
            assert placement is not None
            placements.validate(json.loads(placement.to_json()))
            assert Placement.from_json(placement.to_json()) == placement
        for status in step.statuses:
            statuses.validate(json.loads(status.to_json()))
            assert Status.from_json(status.to_json()) == status
