"""Where an item goes after a step: to later steps, whole or cut into crops, or into a result.

Pure but for the pixels: the same item and detections always give the same parts, so that an item
processed twice gives the same identities twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dataflow.config import PipelineConfig, RouteConfig
from dataflow.errors import RecordError
from dataflow.functions.base import Box, Detection
from dataflow.images import encode_jpeg
from dataflow.messages import WorkItem
from dataflow.results import reportable

_FARTHEST = 1e7
"""Pixels: no image is so large, and sums of such numbers are still exact to a thousandth."""


@dataclass(frozen=True, slots=True)
class Routed:
    """What becomes of an item.

    Attributes:
        onward: items for later steps.
        ends: items whose ``carried`` detections are a result.
    """

    onward: tuple[WorkItem, ...]
    ends: tuple[WorkItem, ...]


def route(
    pipeline: PipelineConfig,
    item: WorkItem,
    detections: Sequence[Detection],
    pixels: Callable[[], NDArray[np.uint8]],
) -> Routed:
    """Follow the routes of the step that ``item`` has passed.

    Args:
        pipeline: the item's pipeline.
        item: with the step's own stage already appended.
        detections: what the step found, boxes in the item's pixels.
        pixels: decodes the item's image, uint8 [height, width, 3]; called only to cut crops.

    Raises:
        RecordError: reason ``bad-detection``: a box or a score is not a number, or a place so far
            away that no image reaches it; or what `pixels` raises.
    """
    for found in detections:
        _check(found)
    matched: set[int] = set()
    plans: list[tuple[RouteConfig, tuple[Detection, ...]]] = []
    for way in pipeline.routes(item.step):
        indices = [i for i, found in enumerate(detections) if _matches(way, found)]
        matched.update(indices)
        if way.send == "crops":
            plans.extend((way, (detections[i],)) for i in indices)
        elif way.of is None or indices:
            plans.append((way, tuple(detections[i] for i in indices)))
    rest = tuple(f for i, f in enumerate(detections) if i not in matched and reportable(f))
    if not plans:
        return Routed((), (_finding(item, rest),))
    if len(plans) == 1 and plans[0][0].send == "image" and not rest:
        way, found_here = plans[0]
        return Routed((_onward(item, way, found_here),), ())
    count = len(plans) + bool(rest)
    onward = []
    for index, (way, found_here) in enumerate(plans):
        child = replace(item, part=item.part.child(index, count))
        if way.send == "crops":
            onward.append(_crop(child, way, found_here[0], pixels()))
        else:
            onward.append(_onward(child, way, found_here))
    if not rest:
        return Routed(tuple(onward), ())
    last = replace(item, part=item.part.child(count - 1, count))
    return Routed(tuple(onward), (_finding(last, rest),))


def _check(found: Detection) -> None:
    box = found.box
    # A comparison with NaN is false.
    if not all(abs(pixels) <= _FARTHEST for pixels in (box.x, box.y, box.w, box.h)):
        raise RecordError("bad-detection", f"the function returned {found}")
    if not math.isfinite(found.score):
        raise RecordError("bad-detection", f"the function returned {found}")


def _matches(way: RouteConfig, found: Detection) -> bool:
    return (
        (way.of is None or found.kind == way.of)
        and (way.labels is None or found.label in way.labels)
        and found.score >= way.min_score
        and found.box.w >= way.min_width
    )


def _finding(item: WorkItem, found: Sequence[Detection]) -> WorkItem:
    """The item with what was found in it added to what it carries, in the frame's pixels."""
    return replace(item, carried=_carried(item, found), detections=())


def _carried(item: WorkItem, found: Sequence[Detection]) -> tuple[Detection, ...]:
    x, y = item.origin
    own = tuple(replace(f, box=f.box.shifted(x, y)) for f in found if reportable(f))
    return (*item.carried, *own)


def _onward(item: WorkItem, way: RouteConfig, found: tuple[Detection, ...]) -> WorkItem:
    return replace(item, step=way.to, carried=_carried(item, found), detections=found)


def _crop(item: WorkItem, way: RouteConfig, found: Detection, image: NDArray[np.uint8]) -> WorkItem:
    height, width = image.shape[:2]
    box = found.box
    grown = Box(
        x=box.x - box.w * way.margin,
        y=box.y - box.h * way.margin,
        w=box.w * (1 + 2 * way.margin),
        h=box.h * (1 + 2 * way.margin),
    ).clipped(width, height)
    left, top = int(grown.x), int(grown.y)
    right = min(width, max(left + 1, math.ceil(grown.x + grown.w)))
    bottom = min(height, max(top + 1, math.ceil(grown.y + grown.h)))
    # A box outside of the image still names one pixel of it: the item must end somewhere.
    left, top = min(left, right - 1), min(top, bottom - 1)
    cut = _finding(item, (found,))
    if (left, top, right, bottom) == (0, 0, width, height):
        return replace(cut, step=way.to)  # the bytes as they are: no second encoding
    return replace(
        cut,
        step=way.to,
        data=encode_jpeg(image[top:bottom, left:right], quality=way.quality),
        content_type="image/jpeg",
        origin=(item.origin[0] + left, item.origin[1] + top),
    )
