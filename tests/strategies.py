"""Hypothesis strategies for the values on the wire."""

from __future__ import annotations

from hypothesis import strategies as st

from dataflow.functions.base import Box, Detection
from dataflow.messages import FrameId, Part, Stage, WorkItem

names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
tenths = st.integers(-50_000, 50_000).map(lambda n: n / 10)
"""Pixels, as they are rounded on the wire."""
micros = st.integers(0, 4_000_000_000_000_000).map(lambda n: round(n / 1_000_000, 6))
"""Seconds since the epoch, as they are rounded on the wire."""


@st.composite
def detections(draw: st.DrawFn) -> Detection:
    return Detection(
        kind=draw(st.sampled_from(["region", "vehicle", "plate", "person"]) | texts),
        label=draw(texts),
        box=Box(x=draw(tenths), y=draw(tenths), w=draw(tenths), h=draw(tenths)),
        score=draw(st.integers(0, 10_000)) / 10_000,
        text=draw(st.none() | texts),
    )


@st.composite
def parts(draw: st.DrawFn) -> Part:
    counts = draw(st.lists(st.integers(1, 999), max_size=4))
    return Part(tuple((draw(st.integers(0, count - 1)), count) for count in counts))


@st.composite
def stages(draw: st.DrawFn) -> Stage:
    return Stage(
        function=draw(names),
        replica=draw(names),
        received=draw(micros),
        started=draw(micros),
        finished=draw(micros),
    )


@st.composite
def items(draw: st.DrawFn) -> WorkItem:
    return WorkItem(
        frame=FrameId(
            camera=draw(names), stream=draw(names), sequence=draw(st.integers(0, 2**63 - 1))
        ),
        pipeline=draw(names),
        step=draw(names),
        captured_at=draw(micros),
        data=draw(st.binary(min_size=1, max_size=20)),
        content_type=draw(st.sampled_from(["image/jpeg", "image/png"])),
        part=draw(parts()),
        origin=draw(st.tuples(st.integers(0, 9999), st.integers(0, 9999))),
        detections=tuple(draw(st.lists(detections(), max_size=3))),
        carried=tuple(draw(st.lists(detections(), max_size=3))),
        stages=tuple(draw(st.lists(stages(), max_size=3))),
        hops=draw(st.integers(0, 9)),
        traceparent=draw(st.none() | st.just("00-" + "a" * 32 + "-" + "b" * 16 + "-01")),
    )
