"""Reading the account from topics that anybody may write to."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.accounting import Account, Auditor, CameraReport, DroppedFrame, DropReport
from dataflow.config import parse_config
from dataflow.messages import MAX_CUTS, FrameId, Part, WorkItem
from dataflow.results import build_result
from dataflow.topics import create_declared_topics
from dataflow.transport import Record
from dataflow.transport.memory import MemoryTransport

CONFIG = parse_config(
    """
version: 1
deployment: test
functions:
  look: {partitions: 1}
  read: {partitions: 1}
pipelines:
  street: {cameras: [fixed], steps: [{function: look}, {function: read}]}
results: {partitions: 2}
"""
)
RESULTS, DEAD, ACCOUNTING = "test.results.street", "test.look.dead", "test.accounting"
TOPICS = (RESULTS, DEAD, ACCOUNTING)


def new_transport() -> MemoryTransport:
    transport = MemoryTransport()
    create_declared_topics(CONFIG, transport)
    return transport


def publish(transport: MemoryTransport, *records: Record) -> None:
    producer = transport.producer()
    for record in records:
        producer.send(record)
    assert producer.close() == 0


@pytest.fixture
def transport() -> MemoryTransport:
    return new_transport()


@pytest.fixture
def auditor(transport: MemoryTransport) -> Iterator[Auditor]:
    auditor = Auditor(CONFIG, transport)
    yield auditor
    auditor.close()


def read_all(auditor: Auditor) -> list[Account]:
    while auditor.poll(0.0):
        pass
    return list(auditor.ledger.accounts())


def item(sequence: int, part: str = "") -> WorkItem:
    return WorkItem(
        frame=FrameId(camera="gate", stream="run", sequence=sequence),
        pipeline="street",
        step="look",
        captured_at=1.7e9,
        data=b"jpeg",
        part=Part.parse(part),
    )


def result(sequence: int, part: str = "") -> Record:
    done = item(sequence, part)
    value = build_result(done, 1.7e9 + 1).to_json()
    return Record(topic=RESULTS, key=done.id.encode(), value=value)


def dead(sequence: int, part: str = "", **changed: str) -> Record:
    headers = dict(item(sequence, part).headers()) | {
        "vj_dead_reason": b"image-empty",
        "vj_dead_function": b"look",
    }
    headers |= {name: value.encode() for name, value in changed.items()}
    return Record(topic=DEAD, value=b"", headers=list(headers.items()))


def drop(sequence: int, part: str = "") -> Record:
    report = DropReport(
        id="any",
        pipeline="street",
        camera="gate",
        stream="run",
        sequence=sequence,
        part=part,
        function="read",
        replica="read-0",
        reason="queue-full",
        at=0.0,
    )
    return Record(topic=ACCOUNTING, value=report.model_dump_json().encode())


def camera(produced: int, *dropped: int) -> Record:
    report = CameraReport(
        camera="gate",
        stream="run",
        pipeline="street",
        kind="fixed",
        produced=produced,
        acked=produced,
        dropped=tuple(DroppedFrame(sequence=s, reason="buffer-full") for s in dropped),
        closed=True,
        at=0.0,
    )
    return Record(topic=ACCOUNTING, value=report.model_dump_json().encode())


def test_each_way_to_end_is_found(transport: MemoryTransport, auditor: Auditor) -> None:
    publish(
        transport,
        camera(7, 6),
        result(0),
        result(1, "0/2"),
        result(1, "1/2"),
        result(1, "1/2"),
        result(2, "0/2"),
        drop(2, "1/2"),
        dead(3),
        dead(4, "0/1.2/3"),
        result(5, "0/2"),
    )
    (account,) = read_all(auditor)
    assert account == Account(
        pipeline="street",
        camera="gate",
        produced=7,
        processed=2,
        dropped=account.dropped,
        dead=account.dead,
        open=2,
        duplicates=1,
        closed=True,
    )
    assert account.dropped == {"queue-full at read": 1, "buffer-full": 1}
    assert account.dead == {"image-empty at look": 1}
    assert not auditor.ledger.unattributed


RESULT = json.loads(result(0).value or b"")


def changed(**fields: object) -> bytes:
    return json.dumps(RESULT | fields).encode()


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff",
        b"[]",
        b"5",
        b"[" * 100_000,
        changed(sequence=-1),
        changed(sequence=2**63),
        changed(sequence=1.5),
        changed(sequence=True),
        changed(sequence="7"),
        changed(sequence=float("inf")),
        changed(camera=["gate"]),
        changed(camera=5),
        changed(camera=""),
        changed(pipeline=None),
        changed(stream={}),
        changed(part=5),
        changed(part="2/2"),
        changed(part=".".join(["0/1"] * (MAX_CUTS + 1))),
        changed(camera="\ud800"),
    ],
)
def test_what_is_no_result_is_counted_as_unattributed(
    transport: MemoryTransport, auditor: Auditor, value: bytes | None
) -> None:
    publish(transport, Record(topic=RESULTS, value=value), result(0))
    (account,) = read_all(auditor)
    assert (account.produced, account.processed) == (1, 1)
    assert auditor.ledger.unattributed == {"bad-result": 1}


@pytest.mark.parametrize(
    "headers",
    [
        {"vj_sequence": "-1"},
        {"vj_sequence": "many"},
        {"vj_sequence": "9" * 5000},
        {"vj_camera": ""},
        {"vj_part": "3/2"},
        {"vj_pipeline": ""},
    ],
)
def test_a_dead_letter_that_names_no_frame_is_unattributed_under_its_reason(
    transport: MemoryTransport, auditor: Auditor, headers: dict[str, str]
) -> None:
    publish(transport, dead(0, **headers), Record(topic=DEAD, value=None))
    assert read_all(auditor) == []
    assert auditor.ledger.unattributed == {"image-empty": 1, "unknown": 1}


@pytest.mark.parametrize("part", ["1/1", "x", "0/1/2", "0/0"])
def test_a_drop_of_an_impossible_part_is_a_bad_report(
    transport: MemoryTransport, auditor: Auditor, part: str
) -> None:
    publish(transport, drop(0, part))
    assert read_all(auditor) == []
    assert auditor.ledger.unattributed == {"bad-report": 1}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
near_misses = st.builds(
    lambda whole, fields, gone: json.dumps(
        {k: v for k, v in (whole | fields).items() if k not in gone}
    ).encode(),
    st.sampled_from(
        [RESULT, *(json.loads(r.value or b"") for r in (camera(3, 1), drop(0, "0/2")))]
    ),
    st.dictionaries(st.sampled_from(sorted(RESULT)), json_values, max_size=2),
    st.sets(st.sampled_from(sorted(RESULT)), max_size=1),
)
header_names = st.sampled_from(
    ["vj_camera", "vj_stream", "vj_sequence", "vj_part", "vj_pipeline", "vj_dead_reason"]
)
records = st.builds(
    Record,
    topic=st.sampled_from(TOPICS),
    value=st.none() | st.binary(max_size=20) | near_misses,
    headers=st.lists(
        st.tuples(header_names, st.sampled_from([b"0", b"gate", b"0/1"]) | st.binary(max_size=6)),
        max_size=7,
    ),
)


@given(st.lists(records, max_size=8))
def test_whatever_is_on_the_topics_is_read_and_adds_up(history: list[Record]) -> None:
    transport = new_transport()
    auditor = Auditor(CONFIG, transport)
    publish(transport, *history)
    accounts = read_all(auditor)
    for account in accounts:
        ended = account.processed + account.dropped.total() + account.dead.total()
        assert account.produced == ended + account.open
        assert account.open >= 0
    # Each dead letter and result is an end of a frame or unattributed.
    said = sum(record.topic != ACCOUNTING for record in history)
    assert auditor.ledger.unattributed.total() <= len(history)
    assert bool(accounts) or auditor.ledger.unattributed.total() >= said
    auditor.close()


def test_catching_up_stops_at_what_was_there_at_the_start(transport: MemoryTransport) -> None:
    publish(transport, *(result(sequence) for sequence in range(1200)))
    auditor = Auditor(CONFIG, transport)
    publish(transport, camera(5000))
    seen: list[int] = []
    (account,) = auditor.catch_up(seen.append).accounts()
    assert account.processed == 1200
    assert seen == sorted(seen)
    assert seen[-1] >= 1200
    assert auditor.caught_up()
    auditor.close()
