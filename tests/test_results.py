"""Results: what an item becomes, and what is read back from JSON."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.errors import RecordError
from dataflow.functions.base import Box, Detection
from dataflow.messages import FrameId, Part, Stage, WorkItem
from dataflow.results import Result, build_result, parse_part, reportable
from tests.strategies import items, micros

BOX = Box(x=1.04, y=2.0, w=30.0, h=40.0)


def item(*carried: Detection, stages: tuple[Stage, ...] = ()) -> WorkItem:
    return WorkItem(
        frame=FrameId(camera="gate", stream="s1", sequence=7),
        pipeline="fixed",
        step="read",
        captured_at=100.0,
        data=b"jpeg",
        part=Part(((1, 2),)),
        carried=carried,
        stages=stages,
    )


@given(items(), micros)
def test_a_result_is_read_back_as_it_was_written(work: WorkItem, finished_at: float) -> None:
    result = build_result(work, finished_at)
    assert Result.from_json(result.to_json()) == result
    assert result.frame == work.frame
    assert result.id == work.id
    assert parse_part(result) == work.part


@given(items(), micros)
def test_each_reportable_detection_is_reported_once(work: WorkItem, finished_at: float) -> None:
    result = build_result(work, finished_at)
    kinds = [found.kind for found in work.carried]
    assert len(result.vehicles) == kinds.count("vehicle")
    assert len(result.plates) == kinds.count("plate")
    assert len(result.vehicles + result.others) + len(result.plates) == sum(
        reportable(found) for found in work.carried
    )
    assert all(found.kind not in ("vehicle", "plate", "region") for found in result.others)


def test_what_was_found_keeps_its_words_and_places() -> None:
    result = build_result(
        item(
            Detection(kind="vehicle", label="car", box=BOX, score=0.91236),
            Detection(kind="plate", box=BOX, score=0.5, text="AB 123"),
            Detection(kind="person", box=BOX, score=0.25),
            Detection(kind="region", box=BOX, score=1.0),
        ),
        101.5,
    )
    (vehicle,), (plate,), (other,) = result.vehicles, result.plates, result.others
    assert (vehicle.label, vehicle.score, vehicle.box.x) == ("car", 0.9124, 1.0)
    assert (plate.text, plate.confidence) == ("AB 123", 0.5)
    assert (other.kind, other.label) == ("person", "")
    assert result.response_seconds == 1.5
    assert result.id == "gate/s1/7/1/2"
    assert result.captured_at.timestamp() == 100.0


@pytest.mark.parametrize(
    ("score", "reported"), [(-0.1, 0.0), (1.00001, 1.0), (0.0, 0.0), (1.0, 1.0)]
)
def test_scores_lie_in_the_unit_interval(score: float, reported: float) -> None:
    found = build_result(item(Detection(kind="vehicle", box=BOX, score=score)), 101.0)
    assert found.vehicles[0].score == reported


def test_stages_tell_where_the_time_went() -> None:
    stages = (
        Stage(function="f", replica="a", received=101.0, started=101.5, finished=102.0),
        Stage(function="g", replica="b", received=102.25, started=103.0, finished=103.5),
    )
    first, second = build_result(item(stages=stages), 104.0).stages
    assert (first.transit, first.waited, first.took) == (1.0, 0.5, 0.5)
    assert (second.transit, second.waited, second.took) == (0.25, 0.75, 0.5)
    assert (first.function, first.replica) == ("f", "a")


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_cannot_be_written_is_a_record_error(wrong: float) -> None:
    box = Box(x=wrong, y=0.0, w=1.0, h=1.0)
    for found in (
        Detection(kind="vehicle", box=box, score=1.0),
        Detection(kind="plate", box=box, score=1.0, text="A"),
        Detection(kind="plate", box=BOX, score=1.0, text="\ud800"),
        Detection(kind="vehicle", box=BOX, score=math.nan),
    ):
        with pytest.raises(RecordError) as caught:
            build_result(item(found), 101.0)
        assert caught.value.reason == "bad-result"


VALID = json.loads(
    build_result(item(Detection(kind="vehicle", box=BOX, score=1.0)), 101.0).to_json()
)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        *(
            json.dumps({**VALID, **change}).encode()
            for change in (
                {"version": 2},
                {"sequence": -1},
                {"sequence": "x"},
                {"captured_at": "2026-01-01T00:00:00"},
                {"captured_at": "yesterday"},
                {"response_seconds": math.nan},
                {"unknown": 1},
                {"vehicles": [{"kind": "vehicle"}]},
                {"vehicles": None},
            )
        ),
        json.dumps({key: value for key, value in VALID.items() if key != "id"}).encode(),
    ],
    ids=lambda value: repr(value)[-40:],
)
def test_what_is_no_result_is_a_record_error(value: bytes | None) -> None:
    with pytest.raises(RecordError) as caught:
        Result.from_json(value)
    assert caught.value.reason == "bad-result"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(st.sampled_from(sorted(VALID)), json_values)
def test_any_json_is_a_result_or_a_record_error(key: str, value: object) -> None:
    try:
        result = Result.from_json(json.dumps({**VALID, key: value}).encode())
    except RecordError as error:
        assert error.reason == "bad-result"  # noqa: PT017 - either outcome is right
    else:
        assert Result.from_json(result.to_json()) == result


def test_a_part_that_is_none_is_a_record_error() -> None:
    result = Result.from_json(json.dumps({**VALID, "part": "3/2"}).encode())
    with pytest.raises(RecordError) as caught:
        parse_part(result)
    assert caught.value.reason == "bad-result"
