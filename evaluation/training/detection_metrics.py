"""Average precision of detections, in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureResult:
    """Detections and truth of one picture; boxes are left, top, right, bottom in pixels.

    Attributes:
        boxes: detected, float32 [n, 4].
        scores: float32 [n].
        labels: int64 [n].
        truth: float32 [m, 4].
        truth_labels: int64 [m].
        ignored: vehicles that need not be found and do no harm when they are, bool [m].
    """

    boxes: Floats
    scores: Floats
    labels: NDArray[np.int64]
    truth: Floats
    truth_labels: NDArray[np.int64]
    ignored: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Quality over a set of pictures.

    Attributes:
        average_precision: area under the precision-recall curve (all-point interpolation), labels
            disregarded.
        recall: share of the vehicles found at the score threshold.
        precision: share of the detections that are vehicles at the score threshold.
        label_accuracy: share of the found vehicles whose label is right.
        vehicles: number of vehicles that counted.
    """

    average_precision: float
    recall: float
    precision: float
    label_accuracy: float
    vehicles: int


def iou_matrix(first: Floats, second: Floats) -> Floats:
    """Intersection over union of all pairs, float32 [n, m]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - overlap
    return np.asarray(overlap / np.maximum(union, 1e-6), np.float32)


def evaluate(
    results: Sequence[PictureResult], *, iou: float = 0.5, score_threshold: float = 0.4
) -> Score:
    """Match detections to truth greedily by score, as PASCAL VOC does, and sum up.

    Args:
        results: one entry a picture.
        iou: overlap at which a detection counts as right.
        score_threshold: where recall, precision and label accuracy are taken.
    """
    scores: list[float] = []
    hits: list[bool] = []
    right_labels = found = vehicles = 0
    for result in results:
        vehicles += int((~result.ignored).sum())
        overlaps = iou_matrix(result.boxes, result.truth)
        taken = np.zeros(len(result.truth), bool)
        for index in np.argsort(-result.scores):
            row = np.where(taken, -1.0, overlaps[index])
            best = int(row.argmax()) if len(row) else -1
            hit = best >= 0 and bool(row[best] >= iou)
            if hit:
                taken[best] = True
                if result.ignored[best]:
                    continue
            elif len(row) and (overlaps[index] * result.ignored).max(initial=0.0) >= iou:
                continue
            scores.append(float(result.scores[index]))
            hits.append(hit)
            if hit and result.scores[index] >= score_threshold:
                found += 1
                right_labels += int(result.labels[index] == result.truth_labels[best])
    reported = int(sum(score >= score_threshold for score in scores))
    return Score(
        average_precision=_area(np.array(scores), np.array(hits, bool), vehicles),
        recall=found / max(vehicles, 1),
        precision=found / max(reported, 1),
        label_accuracy=right_labels / max(found, 1),
        vehicles=vehicles,
    )


def _area(scores: NDArray[np.float64], hits: NDArray[np.bool_], vehicles: int) -> float:
    """Area under the precision-recall curve, precision made monotone."""
    if not len(scores) or not vehicles:
        return 0.0
    order = np.argsort(-scores, kind="stable")
    true = np.cumsum(hits[order])
    precision = true / np.arange(1, len(order) + 1)
    recall = np.concatenate([[0.0], true / vehicles])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(((recall[1:] - recall[:-1]) * envelope).sum())
