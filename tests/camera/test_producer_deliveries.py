"""What becomes of frames whose delivery fails, or waits, and how it is accounted for."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow import CameraProducer
from dataflow.accounting import CameraReport
from dataflow.camera import BufferConfig, WhenFull
from dataflow.config import Config
from dataflow.errors import (
    BrokerError,
    RecordTooLargeError,
)
from dataflow.transport.base import Record
from tests.camera.conftest import (
    Clock,
    Make,
    balanced,
    check_account,
    items,
    jpeg,
    picture,
)
from tests.camera.fake import FakeTransport


@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    fates=st.lists(
        st.sampled_from(["ok", "ok", "ok", "fails", "too-large", "refused", "full"]),
        min_size=1,
        max_size=40,
    ),
    policy=st.sampled_from(["drop-oldest", "drop-newest", "block"]),
    frames=st.integers(1, 4),
    kind=st.sampled_from(["fixed", "both"]),
)
def test_captured_is_acked_plus_dropped(
    config: Config, fates: list[str], policy: WhenFull, frames: int, kind: str
) -> None:
    transport = FakeTransport()
    transport.capacity = 3

    def fate(record: Record) -> str:
        if not record.topic.endswith(".work"):
            return "ok"
        return fates[items([record])[0].frame.sequence % len(fates)]

    def on_send(record: Record) -> None:
        if fate(record) == "refused":
            raise BrokerError("no such topic")

    def verdict(record: Record) -> BrokerError | None:
        if fate(record) == "fails":
            return BrokerError("timed out")
        return RecordTooLargeError("too large") if fate(record) == "too-large" else None

    transport.on_send, transport.verdict = on_send, verdict
    camera = CameraProducer(
        "c",
        kind,
        source=[jpeg()] * 60,
        config=config,
        transport=transport,
        pace="fast",
        buffer=BufferConfig(frames=frames, in_flight=2, when_full=policy),
        report_every=0.0,
    )
    with camera:
        report = camera.run()
    assert report.captured == 60
    assert report.open == 0
    assert balanced(report)
    if policy == "block":
        assert "buffer-full" not in report.dropped
    check_account(transport, camera.stats)


def test_reasons_of_failed_deliveries(make: Make, transport: FakeTransport) -> None:
    errors = [None, BrokerError("timed out"), RecordTooLargeError("large"), None]

    def verdict(record: Record) -> BrokerError | None:
        return errors[items([record])[0].frame.sequence] if record.topic[-4:] == "work" else None

    def on_send(record: Record) -> None:
        if record.topic[-4:] == "work" and items([record])[0].frame.sequence == 3:
            raise RecordTooLargeError("larger than message.max.bytes")

    transport.verdict, transport.on_send = verdict, on_send
    with make(source=[picture()] * 4) as camera:
        report = camera.run()
    assert dict(report.dropped) == {"delivery-failed": 1, "too-large": 2}
    assert (report.failed, report.acked) == (2, 1)
    reasons = {d.sequence: d.reason for r in transport.reports() for d in r.dropped}
    camera_reasons = {1: "delivery-failed", 2: "too-large", 3: "too-large"}
    assert reasons == camera_reasons


def test_a_full_client_holds_the_sender_until_there_is_room(
    make: Make, transport: FakeTransport
) -> None:
    transport.capacity = 1
    with make(source=[picture()] * 20) as camera:
        report = camera.run()
    assert report.acked == 20
    assert transport.full > 0


def test_a_broker_that_is_away_leaves_the_choice_to_the_policy(
    make: Make, transport: FakeTransport
) -> None:
    limits = BufferConfig(frames=3, in_flight=2, when_full="drop-oldest")
    camera = make(buffer=limits)
    camera.open()
    transport.held.set()
    for _ in range(50):
        camera.send(jpeg())
    stats = camera.stats
    assert stats.sent <= 2
    assert stats.dropped["buffer-full"] >= 50 - 3 - 3
    assert balanced(stats)
    transport.held.clear()  # it is back
    report = camera.close()
    newest = [item.frame.sequence for item in items(transport.work())][-3:]
    assert newest == [47, 48, 49]
    assert balanced(report)
    assert report.open == 0
    check_account(transport, report)


def test_a_broker_that_never_comes_back_ends_in_a_final_account(
    make: Make, transport: FakeTransport
) -> None:
    camera = make(buffer=BufferConfig(frames=5, in_flight=2, when_full="drop-newest"))
    camera.open()
    transport.held.set()
    for _ in range(10):
        camera.send(jpeg())
    report = camera.close(timeout=0.0)
    assert report.open == 0
    assert report.acked == 0
    assert set(report.dropped) <= {"delivery-failed", "unsent", "buffer-full"}
    assert report.lost == 10


def test_reports_that_get_lost_are_told_again(make: Make, transport: FakeTransport) -> None:
    lose = [True]

    def verdict(record: Record) -> BrokerError | None:
        if record.topic.endswith(".accounting"):
            return BrokerError("timed out") if lose[0] else None
        return BrokerError("timed out") if items([record])[0].frame.sequence == 0 else None

    transport.verdict = verdict
    with make(source=[picture()] * 30, report_every=0.0) as camera:
        camera.run()
        assert transport.reports() == []
        lose[0] = False
    assert [d.sequence for r in transport.reports() for d in r.dropped] == [0]
    assert transport.reports()[-1].closed


def test_reports_are_repeated_with_the_key_of_the_account(
    make: Make, transport: FakeTransport
) -> None:
    with make(source=[picture()] * 5, report_every=0.0) as camera:
        camera.run()
    records = [r for r in transport.records if r.topic == "test.accounting"]
    assert {r.key for r in records} == {f"camera/gate-1/{camera.stream}/one".encode()}
    produced = [r.produced for r in transport.reports()]
    assert len(produced) > 1
    assert produced == sorted(produced)
    last = json.loads(records[-1].value or b"")
    assert (last["type"], last["version"], last["kind"]) == ("camera", 1, "fixed")
    assert CameraReport.model_validate(last).closed


def test_waiting_for_a_broker_that_comes(
    make: Make, transport: FakeTransport, clock: Clock
) -> None:
    transport.away = 3
    with make(source=[picture()], monotonic=clock, sleep=clock.sleep) as camera:
        assert camera.run().acked == 1
    assert len(clock.slept) == 3


def test_waiting_for_a_broker_has_an_end(
    make: Make, transport: FakeTransport, clock: Clock
) -> None:
    transport.away = 10**6
    camera = make(wait_for_broker=20.0, monotonic=clock, sleep=clock.sleep)
    with pytest.raises(BrokerError, match="gate-1 cannot publish: no broker"):
        camera.open()
    assert sum(clock.slept) == pytest.approx(20.0)
    assert transport.closed


def test_a_missing_topic_is_an_error_at_the_start(make: Make, transport: FakeTransport) -> None:
    transport.topics = {"test.look.work": 3}
    with pytest.raises(BrokerError, match=r"topic test\.accounting"):
        make(wait_for_broker=0.0).open()


def test_a_fault_of_the_sender_is_raised(make: Make, transport: FakeTransport) -> None:
    def broken(record: Record) -> None:
        raise ZeroDivisionError(record.topic)

    transport.on_send = broken
    camera = make(source=[picture()], loop=True)
    with pytest.raises(BrokerError, match="the sender failed: test"):
        camera.run()
    assert balanced(camera.close())
