"""The messages between balancers on the wire."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.balancing import (
    CongestionRisk,
    InformationRequest,
    Priority,
    Relayed,
    Row,
    Signal,
    StateUpdate,
    WorkRequest,
    decode_signal,
    priority,
)
from agents.balancing.signals import MAX_BYTES
from dataflow.errors import RecordError
from tests.agents.balancing.rows import row

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
numbers = st.floats(0, 1e12)
rows = st.builds(
    Row,
    replica=names,
    incarnation=names,
    at=numbers,
    load=st.integers(0, 10_000),
    mu=numbers,
    slot=st.integers(0, 2**40),
    history=st.lists(st.integers(0, 999), max_size=5).map(tuple),
    partitions=st.lists(st.integers(0, 99), max_size=3).map(tuple),
    cameras=st.dictionaries(names, numbers, max_size=2),
)
tables = st.lists(st.builds(Relayed, row=rows, age=numbers), max_size=2).map(tuple)
common = {"sender": names, "incarnation": names, "to": st.none() | names, "at": numbers}
signals: st.SearchStrategy[Signal] = st.one_of(
    st.builds(InformationRequest, **common, table=tables),
    st.builds(StateUpdate, **common, table=tables),
    st.builds(CongestionRisk, **common, table=tables, expected=st.integers(0, 999)),
    st.builds(WorkRequest, **common, table=tables, room=st.integers(0, 999)),
)


@given(signals)
def test_what_is_encoded_is_decoded(signal: Signal) -> None:
    assert decode_signal(signal.encode()) == signal


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"kind": "no-such-kind"}',
        b'{"kind":"state-update","version":2,"sender":"a","incarnation":"i","at":1}',
        b'{"kind":"state-update","sender":"","incarnation":"i","at":1}',
        b'{"kind":"state-update","sender":"a","incarnation":"i","at":-1}',
        b'{"kind":"state-update","sender":"a","incarnation":"i","at":NaN}',
        b'{"kind":"congestion-risk","sender":"a","incarnation":"i","at":1,"expected":-5}',
        b"[" * 100_000,
        b" " * (MAX_BYTES + 1),
    ],
)
def test_what_is_no_signal_is_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(RecordError, match="bad-signal"):
        decode_signal(data)


def test_fields_of_later_versions_of_the_same_format_are_ignored() -> None:
    signal = StateUpdate(sender="a", incarnation="i", at=1.0)
    values = {**json.loads(signal.encode()), "later": 1}
    assert decode_signal(json.dumps(values).encode()) == signal


def test_a_table_that_is_too_long_loses_its_last_rows() -> None:
    table = tuple(
        Relayed(row=row(f"replica-{n}", 1.0, history=(1000,) * 1000), age=0.0) for n in range(200)
    )
    signal = StateUpdate(sender="a", incarnation="i", at=1.0, table=table)
    data = signal.encode()
    assert len(data) <= MAX_BYTES
    kept = decode_signal(data).table
    assert 0 < len(kept) < 200
    assert kept == table[: len(kept)]


def test_congestion_comes_before_other_signals_and_these_before_data() -> None:
    risk: Signal = CongestionRisk(sender="a", incarnation="i", at=2.0)
    request: Signal = InformationRequest(sender="a", incarnation="i", at=1.0)
    assert sorted((request, risk), key=priority) == [risk, request]
    assert priority(request) < Priority.DATA
