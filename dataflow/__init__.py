"""Cameras, messages, topics and functions: everything between a lens and a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataflow.camera import AsyncCameraProducer, CameraProducer

__all__ = ["AsyncCameraProducer", "CameraProducer"]


def __getattr__(name: str) -> object:
    # On demand: OpenCV and the Kafka client take a second to load, and most of what is under
    # `dataflow` needs neither.
    if name in __all__:
        from dataflow import camera  # noqa: PLC0415 - OpenCV is slow to import

        return getattr(camera, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
