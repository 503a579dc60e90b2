"""Background subtraction: the regions of a fixed camera's picture in which something moves.

A mixture of Gaussians per pixel (MOG2; Z. Zivkovic, "Improved adaptive Gaussian mixture model for
background subtraction", ICPR 2004) at a reduced resolution, one model a camera. The model follows
its camera to another replica as a snapshot: the background picture and a few numbers.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from dataflow.errors import RecordError
from dataflow.functions._background import (
    FOREGROUND,
    BackgroundModel,
    BackgroundSettings,
    BackgroundSnapshot,
)
from dataflow.functions._regions import MaskRegion, find_regions
from dataflow.functions.base import Box, Detection, FunctionParams, Item

_log = logging.getLogger(__name__)


class BackgroundSubtractionParams(FunctionParams):
    """Parameters of background subtraction."""

    work_size: int = Field(
        default=640, ge=64, le=4096, description="longest side of the modelled picture, pixels"
    )
    history: int = Field(
        default=500, ge=2, description="frames over which the background is learnt"
    )
    variance_threshold: float = Field(
        default=16.0, gt=0, description="squared distance, in variances, of the foreground"
    )
    shadows: bool = Field(default=True, description="leave cast shadows out")
    exposure_compensation: bool = Field(
        default=True, description="undo fast changes of the camera's exposure"
    )
    min_area: float = Field(
        default=0.0015, gt=0, lt=1, description="smallest region, as a part of the frame"
    )
    close_gap: float = Field(
        default=0.02,
        ge=0,
        le=0.2,
        description="widest gap bridged within one region, as a part of the longer side",
    )
    margin: float = Field(
        default=0.1, ge=0, le=1, description="added on each side, as a part of the region"
    )
    max_regions: int = Field(default=32, ge=1, description="regions a frame, largest first")
    warmup_frames: int = Field(
        default=25, ge=1, description="frames of a new camera before regions are reported"
    )
    global_change: float = Field(
        default=0.6,
        gt=0,
        le=1,
        description="foreground part of the frame beyond which nothing is reported",
    )
    global_change_frames: int = Field(
        default=5,
        ge=1,
        description="frames in a row beyond `global_change` after which the model starts anew",
    )
    max_cameras: int = Field(
        default=64, ge=1, description="models kept; the least recently seen goes first"
    )


class BackgroundSubtraction:
    """Finds moving regions, ``Detection(kind="region")``, boxes in pixels of the whole frame.

    The score is the part of the region (before the margin) that is foreground. Regions come
    largest first. A camera's frames must come in order; one that is delivered again or late is
    compared with the background but not learnt.
    """

    Params: ClassVar[type[FunctionParams]] = BackgroundSubtractionParams

    def __init__(self, params: BackgroundSubtractionParams) -> None:
        self._params = params
        self._settings = BackgroundSettings(
            work_size=params.work_size,
            history=params.history,
            variance_threshold=params.variance_threshold,
            shadows=params.shadows,
            warmup_frames=params.warmup_frames,
            exposure_compensation=params.exposure_compensation,
        )
        self._models: OrderedDict[str, BackgroundModel] = OrderedDict()

    def process(self, batch: Sequence[Item]) -> Sequence[Sequence[Detection]]:
        """Find the moving regions of each frame.

        Raises:
            ImageError: an item is not an image; no model has changed by it.
        """
        return [self._regions(item) for item in batch]

    def close(self) -> None:
        """Drop all models."""
        self._models.clear()

    def snapshot(self, camera: str) -> bytes | None:
        """The camera's background, less than 200 KB; None where there is none yet."""
        model = self._models.get(camera)
        snapshot = None if model is None else model.snapshot()
        return None if snapshot is None else snapshot.to_bytes()

    def restore(self, camera: str, state: bytes) -> None:
        """Go on with the background of a snapshot. Invalid bytes are ignored with a warning."""
        try:
            snapshot = BackgroundSnapshot.from_bytes(state)
        except RecordError as error:
            _log.warning("camera %s: its background is learnt anew: %s", camera, error)
            return
        self._keep(
            camera,
            BackgroundModel.from_snapshot(self._settings, snapshot),
        )

    def forget(self, camera: str) -> None:
        """Drop the model of a camera; unknown cameras are no error."""
        self._models.pop(camera, None)

    def _keep(self, camera: str, model: BackgroundModel) -> None:
        self._models[camera] = model
        self._models.move_to_end(camera)
        while len(self._models) > self._params.max_cameras:
            dropped, _ = self._models.popitem(last=False)
            _log.info(
                "camera %s: its background was dropped, more than %d cameras are served",
                dropped,
                self._params.max_cameras,
            )

    def _regions(self, item: Item) -> list[Detection]:
        image = item.image
        height, width = image.shape[:2]
        model = self._models.get(item.camera)
        if model is None or (model.width, model.height) != (width, height):
            model = BackgroundModel(self._settings, width=width, height=height)
        self._keep(item.camera, model)
        learned_before = model.learned
        mask = model.foreground(image, sequence=item.sequence, captured_at=item.captured_at)
        foreground = np.where(mask == FOREGROUND, 255, 0).astype(np.uint8)
        if learned_before < self._params.warmup_frames:
            return []
        if np.count_nonzero(foreground) > self._params.global_change * foreground.size:
            model.bad_frames += model.learned - learned_before  # a repeated frame counts once
            if model.bad_frames >= self._params.global_change_frames:
                _log.info("camera %s: the whole picture changed, learning it anew", item.camera)
                model.reset()
            return []
        model.bad_frames = 0
        regions = find_regions(
            foreground,
            min_area_px=self._params.min_area * foreground.size,
            max_regions=self._params.max_regions,
            close_fraction=self._params.close_gap,
        )
        scale_x, scale_y = width / foreground.shape[1], height / foreground.shape[0]
        return [
            Detection(
                kind="region",
                box=_full_size_box(region, scale_x, scale_y, self._params.margin, (width, height)),
                score=region.fill,
            )
            for region in regions
        ]


def _full_size_box(
    region: MaskRegion, scale_x: float, scale_y: float, margin: float, size: tuple[int, int]
) -> Box:
    """The region in whole pixels of the frame, with the margin, inside the frame."""
    extra_x, extra_y = margin * region.w, margin * region.h
    left = max(0, math.floor((region.x - extra_x) * scale_x))
    top = max(0, math.floor((region.y - extra_y) * scale_y))
    right = min(size[0], math.ceil((region.x + region.w + extra_x) * scale_x))
    bottom = min(size[1], math.ceil((region.y + region.h + extra_y) * scale_y))
    return Box(x=left, y=top, w=right - left, h=bottom - top)
