"""Headers that a stranger wrote: a dead letter, never a crash, wherever the item goes next."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.errors import RecordError
from dataflow.messages import MAX_CUTS, FrameId, Part, WorkItem
from dataflow.results import Result, build_result

HEADERS = dict(
    WorkItem(
        frame=FrameId(camera="gate", stream="run", sequence=7),
        pipeline="fixed",
        step="find",
        captured_at=1.7e9,
        data=b"jpeg",
    ).headers()
)


def read(**changed: str) -> WorkItem:
    headers = HEADERS | {name: value.encode() for name, value in changed.items()}
    return WorkItem.from_record(list(headers.items()), b"jpeg")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ce_time", "9999-12-31T23:59:59-23:00"),
        ("ce_time", "0001-01-01T00:00:00+00:00"),
        ("vj_part", ".".join(["0/1"] * (MAX_CUTS + 1))),
    ],
)
def test_what_no_worker_writes_is_a_bad_header(name: str, value: str) -> None:
    with pytest.raises(RecordError) as caught:
        read(**{name: value})
    assert caught.value.reason == "bad-header"


unicode = st.text(st.characters(codec="utf-8"), max_size=10)
numbers = st.floats() | st.integers() | st.just(10**400)
words = st.sampled_from(["vehicle", "plate", "region", "\ud800"]) | st.text(max_size=3)
rows = st.lists(
    st.tuples(words, words, *([numbers] * 5)).map(list)
    | st.lists(numbers | words | st.none(), max_size=8),
    max_size=3,
).map(json.dumps)  # which writes NaN and Infinity too


@given(
    carried=rows | unicode,
    stages=rows | unicode,
    origin=st.from_regex(r"-?[0-9]{1,20},-?[0-9]{1,20}", fullmatch=True) | unicode,
    time=st.datetimes().map(lambda t: t.isoformat() + "+05:00") | unicode,
)
def test_what_is_read_can_be_written_as_work_and_ends(
    carried: str, stages: str, origin: str, time: str
) -> None:
    """Any exception but RecordError would stop the worker, and the next one at the same record."""
    with contextlib.suppress(RecordError):
        item = read(vj_carried=carried, vj_stages=stages, vj_origin=origin, ce_time=time)
        item.headers()
        Result.from_json(build_result(item, 1.7e9).to_json())


def test_the_deepest_part_that_is_read_is_the_deepest_that_is_allowed() -> None:
    part = Part(((0, 1),) * MAX_CUTS)
    assert Part.parse(str(part)) == part
    with pytest.raises(ValueError, match="nested"):
        Part.parse(str(part.child(0, 1)))
