from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cli.forecaster_record import LoadWatch
from dataflow.accounting import DropReport
from dataflow.config import parse_config
from dataflow.errors import ConfigError
from dataflow.functions.base import Box, Detection
from dataflow.messages import FrameId, Part, WorkItem
from dataflow.results import build_result
from dataflow.topics import create_declared_topics
from dataflow.transport import Record
from dataflow.transport.memory import MemoryTransport
from forecasting.errors import TraceError
from forecasting.recording import FrameTally
from forecasting.traces import read_traces

CONFIG = parse_config(
    """
version: 1
deployment: test
functions:
  look: {partitions: 1}
  read: {partitions: 1}
pipelines:
  street: {cameras: [fixed], steps: [{function: look}, {function: read}]}
  lane: {cameras: [mobile], steps: [{function: look}]}
results: {partitions: 2}
"""
)


@pytest.fixture
def transport() -> Iterator[MemoryTransport]:
    with MemoryTransport() as transport:
        create_declared_topics(CONFIG, transport)
        yield transport


def vehicle(x: float) -> Detection:
    return Detection(kind="vehicle", label="car", score=0.9, box=Box(x=x, y=1, w=9, h=9))


def item(frame: int, part: str = "", *vehicles: float, pipeline: str = "street") -> WorkItem:
    return WorkItem(
        frame=FrameId(camera="gate", stream="run", sequence=frame),
        pipeline=pipeline,
        step="read",
        captured_at=1.7e9 + frame / 20,
        data=b"jpeg",
        part=Part.parse(part),
        carried=tuple(vehicle(x) for x in vehicles),
    )


def result(frame: int, part: str = "", *vehicles: float, pipeline: str = "street") -> Record:
    done = item(frame, part, *vehicles, pipeline=pipeline)
    value = build_result(done, 1.7e9 + 99).to_json()
    return Record(topic=f"test.results.{pipeline}", key=done.id.encode(), value=value)


def drop(frame: int, part: str) -> Record:
    lost = item(frame, part)
    report = DropReport(
        id=lost.id,
        pipeline="street",
        camera="gate",
        stream="run",
        sequence=frame,
        part=part,
        function="read",
        replica="r1",
        reason="queue-full",
        at=1.7e9 + 99,
    )
    return Record(topic="test.accounting", key=b"gate", value=report.model_dump_json().encode())


def dead(frame: int, part: str) -> Record:
    headers = [*item(frame, part).headers(), ("vj_dead_reason", b"image-empty")]
    return Record(topic="test.read.dead", value=b"", headers=list(headers))


def watch(
    transport: MemoryTransport, *records: Record, pipelines: tuple[str, ...] = ()
) -> LoadWatch:
    producer = transport.producer()
    for record in records:
        producer.send(record)
    assert producer.close() == 0
    watching = LoadWatch(CONFIG, transport, pipelines=pipelines, start="earliest")
    while watching.poll(0.0):
        pass
    watching.close()
    return watching


def counts(watching: LoadWatch) -> list[tuple[int, int]]:
    return [(frame, vehicles) for _, frame, vehicles, _ in watching.tally.rows()]


def test_vehicles_of_all_parts_of_a_frame_are_added(transport: MemoryTransport) -> None:
    watching = watch(
        transport, result(0, "0/2", 10), result(0, "1/2", 50), result(1), result(2, "", 1, 2, 3)
    )
    assert counts(watching) == [(0, 2), (1, 0), (2, 3)]


def test_what_is_delivered_twice_counts_once(transport: MemoryTransport) -> None:
    watching = watch(transport, *[result(0, "0/1", 10)] * 3, result(0, "0/2", 10))
    assert counts(watching) == [(0, 1)]


def test_what_was_dropped_or_is_dead_was_demanded_too(transport: MemoryTransport) -> None:
    watching = watch(transport, result(0, "0/3", 10), drop(0, "1/3"), dead(0, "2/3"))
    assert counts(watching) == [(0, 3)]


def test_a_part_that_was_dropped_and_then_processed_counts_once(
    transport: MemoryTransport,
) -> None:
    watching = watch(transport, drop(0, "0/1"), result(0, "0/1", 10))
    assert counts(watching) == [(0, 1)]


def test_a_frame_that_was_lost_whole_says_nothing(transport: MemoryTransport) -> None:
    watching = watch(transport, result(0, "", 1), drop(1, ""), result(2, "", 1))
    assert counts(watching) == [(0, 1), (2, 1)]


def test_a_frame_all_of_whose_parts_were_lost_is_timed_by_its_neighbours(
    transport: MemoryTransport,
) -> None:
    lost = [drop(2, "0/2"), drop(2, "1/2"), drop(9, "0/1")]
    watching = watch(transport, result(0, "", 1), *lost, result(4, "", 1))
    rows = list(watching.tally.rows())
    assert [(frame, vehicles) for _, frame, vehicles, _ in rows] == [(0, 1), (2, 2), (4, 1)]
    assert [seconds for *_, seconds in rows] == pytest.approx([0.0, 0.1, 0.2])


def test_only_the_pipelines_asked_for_are_counted(transport: MemoryTransport) -> None:
    records = [result(0, "", 1), result(0, "", 1, 2, pipeline="lane"), drop(0, "0/1")]
    assert counts(watch(transport, *records, pipelines=("lane",))) == [(0, 2)]
    with pytest.raises(ConfigError, match="no pipeline 'road'"):
        LoadWatch(CONFIG, transport, pipelines=("road",))


def test_records_that_nobody_can_read_are_counted_and_left(transport: MemoryTransport) -> None:
    broken = [
        Record(topic="test.results.street", key=b"k", value=b"nonsense"),
        Record(topic="test.accounting", key=b"k", value=b"{}"),
        replace(dead(1, "0/1"), headers=[("vj_pipeline", b"\xff")]),
    ]
    watching = watch(transport, *broken, result(0, "", 1))
    assert counts(watching) == [(0, 1)]
    assert watching.unreadable == 3


def test_what_is_recorded_can_be_trained_on(transport: MemoryTransport, tmp_path: Path) -> None:
    records = [result(frame, "", *range(frame % 5)) for frame in range(0, 200, 2)]
    file = tmp_path / "folder" / "mine.csv"
    assert watch(transport, *records).tally.write(file) == 100
    (trace,) = read_traces(file)
    assert trace.name == "gate/run/street"
    assert trace.fps == pytest.approx(10.0)
    assert trace.vehicles.tolist() == [frame % 5 for frame in range(0, 200, 2)]
    assert trace.slots(20.0).tolist() == [40.0] * 10
    assert [entry.name for entry in file.parent.iterdir()] == ["mine.csv"]


def test_nothing_recorded_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    tally = FrameTally()
    tally.lost("a", 0, "0/1")
    with pytest.raises(TraceError, match="no result came"):
        tally.write(file)
    assert not file.exists()
    tally.seen("a", 0, "", captured_at=1.0, vehicles=set())
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(TraceError, match="cannot be written"):
        tally.write(blocked / "mine.csv")


def test_a_clock_that_is_set_back_does_not_turn_the_trace_back() -> None:
    tally = FrameTally()
    for frame, at in enumerate((10.0, 10.1, 9.0, 10.2)):
        tally.seen("a", frame, "", captured_at=at, vehicles={frame})
    assert [row[3] for row in tally.rows()] == pytest.approx([0.0, 0.1, 0.1, 0.2])
