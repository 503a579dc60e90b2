"""What the vehicle detector learns from: which cells answer for which vehicle, and the loss."""

from __future__ import annotations

import torch
from torch.nn import functional

from evaluation.training.detector_network import STRIDES

_SIZE_RANGES = ((0.0, 56.0), (40.0, 144.0), (112.0, 1e9))
"""Longer side, in pixels, of the vehicles each level answers for; neighbours overlap."""

_CENTRE_RADIUS = 1.5
"""Cells within this many strides of a vehicle's centre answer for it (FCOS' centre sampling)."""

_HIDDEN = 0.2
"""Vehicles less visible than this are neither asked for nor punished."""


def cell_centres(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres and strides of all cells.

    Args:
        height: of the picture, a multiple of 32.
        width: of the picture, a multiple of 32.

    Returns:
        Float [cells, 2] in pixels (x, y), float [cells].
    """
    centres, strides = [], []
    for stride in STRIDES:
        x = (torch.arange(width // stride) + 0.5) * stride
        y = (torch.arange(height // stride) + 0.5) * stride
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
        centres.append(grid)
        strides.append(torch.full((len(grid),), float(stride)))
    return torch.cat(centres), torch.cat(strides)


def assign(
    objects: torch.Tensor, centres: torch.Tensor, strides: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decide which vehicle each cell answers for.

    Args:
        objects: float [n, m, 6]: left, top, right, bottom, label (-1: unused row), visible.
        centres: float [cells, 2].
        strides: float [cells].

    Returns:
        Index of the object or -1, int64 [n, cells]; whether the cell counts as background when it
        answers for none, bool [n, cells].
    """
    boxes = objects[..., :4]
    used = objects[..., 4] >= 0
    wanted = used & (objects[..., 5] >= _HIDDEN)
    x, y = centres[:, 0], centres[:, 1]
    inside = (
        (x > boxes[..., 0:1])
        & (x < boxes[..., 2:3])
        & (y > boxes[..., 1:2])
        & (y < boxes[..., 3:4])
    )
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    offset = torch.maximum((x - middle[..., 0:1]).abs(), (y - middle[..., 1:2]).abs())
    near = offset < _CENTRE_RADIUS * strides
    side = (boxes[..., 2:] - boxes[..., :2]).amax(dim=-1, keepdim=True)
    low = torch.zeros_like(strides)
    high = torch.zeros_like(strides)
    for stride, (least, most) in zip(STRIDES, _SIZE_RANGES, strict=True):
        low = torch.where(strides == stride, least, low)
        high = torch.where(strides == stride, most, high)
    level = (side >= low) & (side < high)
    area = ((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]))[..., None]
    cost = torch.where(inside & near & level & wanted[..., None], area, torch.inf)
    best, owner = cost.min(dim=1)
    owner = torch.where(torch.isinf(best), -1, owner)
    unclear = (inside & (used & ~wanted)[..., None]).any(dim=1)
    return owner, ~unclear


def giou(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised IoU (Rezatofighi et al. 2019) and IoU of boxes [n, 4] given by their corners."""
    overlap_low = torch.maximum(first[:, :2], second[:, :2])
    overlap_high = torch.minimum(first[:, 2:], second[:, 2:])
    overlap = (overlap_high - overlap_low).clamp(min=0).prod(dim=1)
    union = (
        (first[:, 2:] - first[:, :2]).prod(dim=1)
        + (second[:, 2:] - second[:, :2]).prod(dim=1)
        - overlap
    )
    hull_low = torch.minimum(first[:, :2], second[:, :2])
    hull_high = torch.maximum(first[:, 2:], second[:, 2:])
    hull = (hull_high - hull_low).prod(dim=1).clamp(min=1e-6)
    iou = overlap / union.clamp(min=1e-6)
    return iou - (hull - union) / hull, iou


def detector_loss(
    outputs: list[torch.Tensor], objects: torch.Tensor, centres: torch.Tensor, strides: torch.Tensor
) -> torch.Tensor:
    """Quality focal loss on the score (Li et al. 2020), GIoU on boxes, cross entropy on labels.

    Args:
        outputs: what :class:`VehicleDetector` returns.
        objects: float [n, m, 6], see :func:`assign`.
        centres: float [cells, 2].
        strides: float [cells].

    Returns:
        A scalar.
    """
    rows = torch.cat([level.flatten(2) for level in outputs], dim=2).transpose(1, 2)
    owner, background = assign(objects, centres, strides)
    positive = owner >= 0
    count = positive.sum().clamp(min=1).float()
    picture, cell = torch.nonzero(positive, as_tuple=True)
    target = objects[picture, owner[picture, cell]]
    distances = rows[picture, cell, :4] * strides[cell, None]
    corners = torch.cat([centres[cell] - distances[:, :2], centres[cell] + distances[:, 2:]], dim=1)
    quality, iou = giou(corners, target[:, :4])
    wanted = torch.zeros_like(rows[..., 4])
    wanted[picture, cell] = iou.detach().clamp(0.05, 1.0).to(wanted.dtype)
    logits = rows[..., 4]
    focus = (wanted - torch.sigmoid(logits)).abs().pow(2.0)
    score = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * focus
    score = (score * (positive | background)).sum() / count
    box = (1.0 - quality).sum() / count
    label = (
        functional.cross_entropy(rows[picture, cell, 5:], target[:, 4].long(), reduction="sum")
        / count
    )
    return 2.0 * score + 2.0 * box + 0.3 * label
