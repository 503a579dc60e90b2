"""The producer SDK: cameras publish their frames."""

from dataflow.camera.aio import AsyncCameraProducer
from dataflow.camera.buffer import BufferConfig, WhenFull
from dataflow.camera.pacing import BackoffConfig
from dataflow.camera.producer import CameraProducer
from dataflow.camera.sources import Frame, Image, Source, SourceSpec, open_source
from dataflow.camera.stats import CameraStats

__all__ = [
    "AsyncCameraProducer",
    "BackoffConfig",
    "BufferConfig",
    "CameraProducer",
    "CameraStats",
    "Frame",
    "Image",
    "Source",
    "SourceSpec",
    "WhenFull",
    "open_source",
]
