"""`AsyncCameraProducer`: the same camera for an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

from dataflow.camera.producer import CameraProducer
from dataflow.camera.sources import Image
from dataflow.camera.stats import CameraStats

_T = TypeVar("_T")


class AsyncCameraProducer:
    """A `CameraProducer` that never blocks the event loop.

    For example::

        async with AsyncCameraProducer("gate-1", kind="fixed") as camera:
            await camera.send(image)

    Args:
        arguments: those of `CameraProducer`.
        options: those of `CameraProducer`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.sync = CameraProducer(*arguments, **options)
        # One thread for frames, so that they keep their order, and one for everything else: a
        # send that waits for room must not keep close() from making some.
        self._frames = ThreadPoolExecutor(1, thread_name_prefix="videojam-camera-send")
        self._others = ThreadPoolExecutor(1, thread_name_prefix="videojam-camera-run")

    async def open(self) -> Self:
        """See `CameraProducer.open`."""
        await self._call(self.sync.open)
        return self

    async def run(
        self, *, duration: float | None = None, max_frames: int | None = None
    ) -> CameraStats:
        """See `CameraProducer.run`. Cancelling it stops the camera, which then ends cleanly."""
        running = asyncio.ensure_future(
            self._call(lambda: self.sync.run(duration=duration, max_frames=max_frames))
        )
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self.sync.stop()
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # looked at: the cancellation is what the caller hears of
            raise

    async def send(
        self, image: Image, captured_at: float | None = None, *, traceparent: str | None = None
    ) -> int:
        """See `CameraProducer.send`. The image must not be changed before this returns."""
        return await asyncio.get_running_loop().run_in_executor(
            self._frames,
            lambda: self.sync.send(image, captured_at, traceparent=traceparent),
        )

    def stop(self) -> None:
        """See `CameraProducer.stop`."""
        self.sync.stop()

    async def close(self, timeout: float | None = None) -> CameraStats:  # noqa: ASYNC109 - a deadline for the broker, not for the coroutine
        """See `CameraProducer.close`."""
        self.sync.stop()
        report = await self._call(lambda: self.sync.close(timeout))
        self._frames.shutdown(wait=False)
        self._others.shutdown(wait=False)
        return report

    @property
    def stats(self) -> CameraStats:
        """See `CameraProducer.stats`."""
        return self.sync.stats

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _call(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._others, function)
