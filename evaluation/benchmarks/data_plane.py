"""The data plane against a bare loop: frames of 100 KB through one worker with a no-op function.

    python -m evaluation.benchmarks.data_plane
    python -m evaluation.benchmarks.data_plane --bootstrap-servers localhost:9092 --rounds 5

Each round sends the same number of frames to fresh topics and moves them on to a second topic:

- ``bare``: confluent-kafka's consumer and idempotent producer in a loop, with automatic commits:
  what no worker can beat, and it loses what is in flight when it dies.
- ``worker``: the engine of `videojam worker` with a function that finds nothing.
- ``faust``: a Faust agent that forwards each event, which is what the worker would be if Faust
  fetched its frames.

The order of the three changes from round to round. What counts is the ratio; the machine's own
speed is in the absolute figures.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import statistics
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import typer
from confluent_kafka import Consumer, Producer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from agents.assembly import build_engine
from dataflow.config import Config, TopicNames, declared_topics
from dataflow.functions.base import Detection, FunctionParams, Item
from dataflow.messages import FrameId, WorkItem
from dataflow.topics import create_declared_topics
from dataflow.transport import Record
from dataflow.transport.kafka import KafkaTransport
from evaluation.command import json_option, known_names, run
from evaluation.errors import MeasurementError
from evaluation.kafka import temporary_broker
from evaluation.waiting import Stall

_CONTENDERS = ("bare", "worker", "faust")
_PATIENCE_SECONDS = 60.0
"""A contender that moves no frame for so long stands still."""


class _NoParams(FunctionParams):
    """No parameters."""


class NoOp:
    """Finds nothing, and hands every item on.

    Args:
        frames: how many to wait for: asking the engine for its status costs what is measured.
    """

    Params: ClassVar[type[FunctionParams]] = _NoParams

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self.seen = 0
        self.began: float | None = None
        self.finished = threading.Event()

    def process(self, batch: Sequence[Item]) -> Sequence[Sequence[Detection]]:
        """Nothing for each item."""
        self.began = self.began or time.monotonic()
        self.seen += len(batch)
        if self.seen >= self._frames:
            self.finished.set()
        return [()] * len(batch)

    def close(self) -> None:
        """Nothing to release."""


def main(
    *,
    bootstrap_servers: Annotated[
        str | None, typer.Option(help="An outside cluster; default: a temporary broker.")
    ] = None,
    frames: Annotated[int, typer.Option(min=100, help="Frames per contender and round.")] = 6000,
    size: Annotated[int, typer.Option(min=100, help="Bytes of a frame.")] = 100_000,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each contender.")] = 3,
    contenders: Annotated[
        str, typer.Option(help="Which are measured; `bare` must be among them.")
    ] = "bare,worker,faust",
    json_file: Annotated[Path | None, json_option()] = None,
) -> None:
    """Measure the data plane as a ratio to a bare consume-produce loop."""
    chosen = known_names(contenders.split(","), _CONTENDERS, "--contenders")
    if "bare" not in chosen:
        raise typer.BadParameter(
            "`bare` is what the others are compared with", param_hint="--contenders"
        )
    logging.getLogger("faust").setLevel(logging.ERROR)
    console = Console()
    with _cluster(bootstrap_servers) as servers:
        figures: dict[str, list[float]] = {name: [] for name in chosen}
        orders = itertools.cycle([chosen, chosen[::-1]])
        for _, order in zip(track(range(rounds), "rounds", console=console), orders, strict=False):
            for name in order:
                figures[name].append(_measure(name, servers, frames, size))
    table = Table(title=f"{frames} frames of {size / 1000:g} KB, {rounds} rounds")
    for column in ("contender", "frames/s (median)", "MB/s", "ratio to bare (median of rounds)"):
        table.add_column(column, justify="left" if column == "contender" else "right")
    summary = {}
    for name, rates in figures.items():
        ratios = [rate / bare for rate, bare in zip(rates, figures["bare"], strict=True)]
        summary[name] = {"frames_per_second": rates, "ratio": statistics.median(ratios)}
        rate = statistics.median(rates)
        table.add_row(
            name, f"{rate:.0f}", f"{rate * size / 1e6:.0f}", f"{summary[name]['ratio']:.2f}"
        )
    console.print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(summary, indent=2), encoding="utf-8")


@contextmanager
def _cluster(bootstrap_servers: str | None) -> Iterator[str]:
    if bootstrap_servers is not None:
        yield bootstrap_servers
        return
    with temporary_broker() as broker:
        yield broker.bootstrap_servers


def _measure(contender: str, servers: str, frames: int, size: int) -> float:
    """Frames a second of one contender on fresh topics."""
    config = Config.model_validate(
        {
            "version": 1,
            "deployment": f"bench-{uuid.uuid4().hex[:8]}",
            "functions": {
                # Room for a whole second of frames: nothing may be dropped.
                "no-op": {"batch": {"max": 16, "wait": 0}, "queue": {"when_full": "block"}},
                "sink": {},
            },
            "pipelines": {
                "bench": {
                    "cameras": ["any"],
                    "steps": [{"function": "no-op"}, {"function": "sink"}],
                }
            },
        }
    )
    names = TopicNames(config.deployment)
    with KafkaTransport(servers) as transport:
        create_declared_topics(config, transport)
        try:
            _fill(transport, names.work("no-op"), frames, size)
            run = {"bare": _bare, "worker": _worker, "faust": _faust}[contender]
            return run(transport, config, frames)
        finally:
            admin = transport.admin()
            admin.delete([spec.name for spec in declared_topics(config)])
            admin.close()


def _fill(transport: KafkaTransport, topic: str, frames: int, size: int) -> None:
    payload = np.random.default_rng(0).bytes(size)
    producer = transport.producer()
    for number in range(frames):
        item = WorkItem(
            frame=FrameId(camera=f"camera-{number % 16}", stream="s", sequence=number // 16),
            pipeline="bench",
            step="no-op",
            captured_at=time.time(),
            data=payload,
        )
        producer.send(
            Record(topic=topic, value=item.data, headers=item.headers(), partition=number % 4)
        )
        if number % 200 == 0:
            producer.flush(60)
    left = producer.close(60)
    if left:
        raise MeasurementError(f"{left} frames could not be written within 60 s")


def _stall(contender: str, frames: int) -> Stall:
    return Stall(contender, frames, seconds=_PATIENCE_SECONDS)


def _bare(transport: KafkaTransport, config: Config, frames: int) -> float:
    names = TopicNames(config.deployment)
    largest = 10 * 1024 * 1024
    consumer = Consumer(
        {
            "bootstrap.servers": transport.bootstrap_servers,
            "group.id": f"bare-{config.deployment}",
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": largest,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": transport.bootstrap_servers,
            "enable.idempotence": True,
            "message.max.bytes": largest,
            "linger.ms": 2,
        }
    )
    target = names.work("sink")
    began = None
    seen = 0
    stall = _stall("bare", frames)
    with closing(consumer):  # it commits, and leaves the group, as the worker does
        consumer.subscribe([names.work("no-op")])
        while seen < frames:
            stall.check(seen)
            message = consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            began = began or time.monotonic()
            value, key, headers = message.value(), message.key(), message.headers()
            while True:
                try:
                    producer.produce(target, value, key, headers=headers)
                    break
                except BufferError:
                    stall.check(seen)
                    producer.poll(0.05)
            producer.poll(0)
            seen += 1
        left = producer.flush(_PATIENCE_SECONDS)
    if left:
        raise MeasurementError(f"bare: {left} frames were not taken in {_PATIENCE_SECONDS:g} s")
    return frames / (time.monotonic() - (began or 0.0))


def _worker(transport: KafkaTransport, config: Config, frames: int) -> float:
    function = NoOp(frames)
    engine = build_engine(
        config=config, name="no-op", function=function, transport=transport, replica="bench"
    )
    thread = threading.Thread(target=engine.run, daemon=True)
    thread.start()
    stall = _stall("worker", frames)
    try:
        while not function.finished.wait(1.0):
            stall.check(function.seen)
            if not thread.is_alive():
                raise MeasurementError("the worker ended before the last frame")
    finally:
        engine.stop()
        thread.join(_PATIENCE_SECONDS)  # the last commit is part of the work
    return frames / (time.monotonic() - (function.began or 0.0))


def _faust(transport: KafkaTransport, config: Config, frames: int) -> float:
    import faust  # noqa: PLC0415 - slow to import, and needed by this contender alone

    from dataflow.transport.faust_thread import scratch  # noqa: PLC0415 - likewise

    names = TopicNames(config.deployment)
    app = faust.App(
        f"faust-{config.deployment}",
        broker=f"kafka://{transport.bootstrap_servers}",
        topic_disable_leader=True,
        web_enabled=False,
        broker_max_poll_records=64,
        stream_buffer_maxsize=256,
        producer_max_request_size=10 * 1024 * 1024,
        consumer_max_fetch_size=10 * 1024 * 1024,
        datadir=scratch(),
        loop=None,
    )
    source = app.topic(names.work("no-op"), value_serializer="raw", key_serializer="raw")
    target = app.topic(names.work("sink"), value_serializer="raw", key_serializer="raw")
    times: dict[str, float] = {}
    seen = 0
    finished = asyncio.Event()

    @app.agent(source)
    async def forward(stream: Any) -> None:
        nonlocal seen
        pending = []
        async for event in stream.events():
            times.setdefault("began", time.monotonic())
            pending.append(
                await target.send(key=event.key, value=event.value, headers=event.headers)
            )
            seen += 1
            if seen >= frames:
                await asyncio.gather(*pending)
                times["ended"] = time.monotonic()
                finished.set()

    async def run() -> None:
        stall = _stall("faust", frames)
        await app.start()
        try:
            while not finished.is_set():
                stall.check(seen)
                with suppress(TimeoutError):
                    await asyncio.wait_for(finished.wait(), 1.0)
        finally:
            await app.stop()

    asyncio.run(run())
    return frames / (times["ended"] - times["began"])


if __name__ == "__main__":
    run(main)
