"""Traces through engines and from cameras, on the in-memory transport."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from agents.assembly import build_engine
from dataflow.camera import CameraProducer
from dataflow.functions.base import Detection, Function, Item
from dataflow.messages import WorkItem
from dataflow.transport import Record
from dataflow.transport.memory import MemoryTransport
from tests.agents.plant import Plant, Running, Scripted, jpeg, vehicle, wait_until
from tests.tracing.spans import Spans, identity, parent


@pytest.fixture
def transport() -> Iterator[MemoryTransport]:
    with MemoryTransport() as transport:
        yield transport


def traced(plant: Plant, spans: Spans, name: str, function: Function, replica: str) -> Running:
    return Running(
        build_engine(
            config=plant.config,
            name=name,
            function=function,
            transport=plant.transport,
            replica=replica,
            tracing=spans.tracing,
        )
    )


def two_vehicles(_: Item) -> list[Detection]:
    return [vehicle(4), vehicle(30)]


def test_a_frame_is_one_trace_from_camera_to_result(transport: MemoryTransport) -> None:
    spans = Spans()
    plant = Plant(transport)
    with (
        traced(plant, spans, "find", Scripted(two_vehicles), "find-0"),
        traced(plant, spans, "read", Scripted(), "read-0"),
        CameraProducer(
            "gate", "any", config=plant.config, transport=transport, tracing=spans.tracing
        ) as camera,
    ):
        camera.send(jpeg())
        plant.wait_for_ends(1)
        wait_until(lambda: len(spans.names) == 4, "the spans of a frame and its two vehicles")
    (frame,), (found,) = spans.named("camera gate"), spans.named("find")
    read = spans.named("read")
    assert parent(frame) is None
    assert parent(found) == identity(frame)
    assert [parent(span) for span in read] == [identity(found)] * 2
    assert {span.attributes["videojam.part"] for span in read if span.attributes} == {"0/2", "1/2"}
    onward = [
        WorkItem.from_record(record.headers, record.value)
        for record in plant.read_all(plant.names.work("read"))
    ]
    assert {entry.traceparent for entry in onward} == {identity(found)}
    results = [dict(r.headers)["traceparent"] for r in plant.read_all(plant.names.results("p"))]
    assert sorted(results) == sorted(identity(span).encode() for span in read)


def test_without_tracing_the_context_is_handed_on_as_it_came(transport: MemoryTransport) -> None:
    plant = Plant(transport)
    with (
        plant.engine("find", Scripted(two_vehicles)),
        plant.engine("read", Scripted()),
        CameraProducer("gate", "any", config=plant.config, transport=transport) as camera,
    ):
        outside = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        camera.send(jpeg(), traceparent=outside)
        plant.wait_for_ends(1)
    results = [dict(r.headers)["traceparent"] for r in plant.read_all(plant.names.results("p"))]
    assert results == [outside.encode()] * 2


def test_an_offloaded_item_comes_to_its_peer_by_the_span_of_the_offload(
    transport: MemoryTransport,
) -> None:
    spans = Spans()
    plant = Plant(
        transport,
        find={"partitions": 2, "balancing": {"policy": "videojam"}},
        read={"partitions": 1},
    )
    with (
        traced(plant, spans, "find", Scripted(seconds=0.02), "find-0") as one,
        traced(plant, spans, "find", Scripted(seconds=0.02), "find-1") as two,
    ):
        one.wait_for_partitions(1)
        two.wait_for_partitions(1)
        for partition, count in ((0, 8), (1, 8), (0, 100)):
            for number in range(count):
                camera = f"cam-{partition}-{count}"
                item = plant.item(camera, number)
                plant.producer.send(
                    Record(
                        topic=plant.names.work("find"),
                        key=camera.encode(),
                        value=item.data,
                        headers=item.headers(),
                        partition=partition,
                    )
                )
            plant.producer.flush(5)
            if count == 8:
                time.sleep(0.2)
        plant.wait_for_ends(116)
    offloads = {identity(span): span for span in spans.named("find offload")}
    assert offloads
    moved = [span for span in spans.named("find") if parent(span) in offloads]
    assert moved
    for span in moved:
        before = offloads[parent(span) or ""]
        assert before.attributes is not None
        assert span.attributes is not None
        for name in ("videojam.camera", "videojam.sequence", "videojam.hops"):
            assert span.attributes[name] == before.attributes[name]
        assert span.attributes["videojam.replica"] == before.attributes["videojam.peer"]


def test_a_dropped_item_is_in_its_trace(transport: MemoryTransport) -> None:
    spans = Spans()
    plant = Plant(transport, find={"queue": {"items": 2}, "balancing": {"policy": "none"}})
    with traced(plant, spans, "find", Scripted(seconds=0.05), "find-0"):
        plant.send_frames(20)
        accounts = plant.wait_for_ends(20)
    drops = spans.named("find drop")
    assert len(drops) == sum(a.dropped.total() for a in accounts.values()) > 0
    assert {span.status.description for span in drops} == {"queue-full: dropped"}
