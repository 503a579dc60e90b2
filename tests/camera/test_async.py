"""The same camera on an event loop."""

from __future__ import annotations

import asyncio

import pytest

from dataflow import AsyncCameraProducer
from dataflow.camera import BufferConfig
from dataflow.config import Config
from dataflow.errors import SourceError
from dataflow.messages import WorkItem
from tests.camera.conftest import jpeg, number_of, picture
from tests.camera.fake import FakeTransport


async def some_frames(camera: AsyncCameraProducer) -> None:
    while camera.stats.acked < 5:  # noqa: ASYNC110 - a camera has no event for this
        await asyncio.sleep(0.001)


async def test_frames_keep_their_order(config: Config, transport: FakeTransport) -> None:
    async with AsyncCameraProducer("a", config=config, transport=transport) as camera:
        numbers = await asyncio.gather(*(camera.send(picture(i)) for i in range(10)))
    assert numbers == list(range(10))
    assert camera.stats.closed
    sent = [WorkItem.from_record(list(r.headers), r.value) for r in transport.work()]
    assert [number_of(item.data) for item in sent] == list(range(10))


async def test_run_does_not_block_the_loop(config: Config, transport: FakeTransport) -> None:
    async with AsyncCameraProducer(
        "a", config=config, transport=transport, source=[jpeg()], loop=True, pace="fast"
    ) as camera:
        running = asyncio.create_task(camera.run())
        await some_frames(camera)
        camera.stop()
        report = await running
    assert report.captured == report.acked
    assert report.open == 0


async def test_a_send_that_waits_for_room_does_not_block_the_loop(
    config: Config, transport: FakeTransport
) -> None:
    camera = AsyncCameraProducer(
        "a",
        config=config,
        transport=transport,
        buffer=BufferConfig(frames=1, in_flight=1, when_full="block"),
    )
    async with camera:
        transport.held.set()
        sends = [asyncio.create_task(camera.send(jpeg())) for _ in range(5)]
        done, waiting = await asyncio.wait(sends, timeout=0.1)
        assert len(done) < 5
        assert waiting
        transport.held.clear()
        await asyncio.gather(*sends)
    assert camera.stats.acked == 5


async def test_a_cancelled_run_ends_cleanly(config: Config, transport: FakeTransport) -> None:
    async with AsyncCameraProducer(
        "a", config=config, transport=transport, source=[jpeg()], loop=True, pace="fast"
    ) as camera:
        running = asyncio.create_task(camera.run())
        await some_frames(camera)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert camera.stats.captured == camera.stats.acked


async def test_errors_reach_the_caller(config: Config, transport: FakeTransport) -> None:
    async with AsyncCameraProducer(
        "a", config=config, transport=transport, source="missing.mp4"
    ) as camera:
        with pytest.raises(SourceError, match="no such file"):
            await camera.run()
