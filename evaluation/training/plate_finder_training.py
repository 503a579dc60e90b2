"""Trains the small plate finder: a heatmap of plate centres, with boxes.

The head and the losses follow CenterNet (Zhou, Wang, Kraehenbuehl 2019, arXiv:1904.07850).
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from evaluation.training.plate_export import strip_metadata
from evaluation.training.plate_settings import TrainSettings
from evaluation.training.shard_pool import ShardPool

logger = logging.getLogger(__name__)

STRIDE = 8
"""Pixels of the input per cell of the heatmap."""

HELD_OUT = 300
"""Scenes of the first shard that are kept for validation."""


def _conv(inside: int, outside: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, dilation, dilation, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    )


class PlateFinderNet(nn.Module):
    """BGR images float32 [N, 3, H, W] in 0..255 -> [N, 5, H/8, W/8]; H, W multiples of 16.

    Channel 0 is the logit of a plate's centre lying in the cell; 1 and 2 the centre's offset from
    the cell's middle in cells; 3 and 4 the logarithms of width and height in cells.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            _conv(3, 16, 2), _conv(16, 24, 2), _conv(24, 32), _conv(32, 48, 2), _conv(48, 56)
        )
        self.coarse = nn.Sequential(_conv(56, 64, 2), _conv(64, 64, dilation=2))
        self.lateral = nn.Conv2d(56, 64, 1)
        self.head = nn.Sequential(_conv(64, 48), nn.Conv2d(48, 5, 1))
        last = self.head[1]
        if isinstance(last, nn.Conv2d) and last.bias is not None:
            last.bias.data[0] = -4.0  # nearly every cell holds no plate

    def forward(self, x: Tensor) -> Tensor:
        """Run the network; see the class."""
        fine = self.fine(x / 64.0 - 2.0)
        wide = functional.interpolate(self.coarse(fine), scale_factor=2.0, mode="nearest")
        return self.head(functional.relu(self.lateral(fine) + wide))


def targets(boxes: NDArray[np.float32], size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Heatmap [N, h, w], box values [N, 4, h, w] and where these count [N, h, w]."""
    cells = size // STRIDE
    heat = np.zeros((len(boxes), cells, cells), np.float32)
    values = np.zeros((len(boxes), 4, cells, cells), np.float32)
    counts = np.zeros((len(boxes), cells, cells), np.float32)
    ys, xs = np.mgrid[0:cells, 0:cells].astype(np.float32) + 0.5
    for n, plates in enumerate(boxes):
        for x, y, w, h in plates / STRIDE:
            if w <= 0:
                continue
            spread = np.exp(
                -((xs - x) ** 2) / (2 * max(w / 6, 0.45) ** 2)
                - ((ys - y) ** 2) / (2 * max(h / 6, 0.45) ** 2)
            )
            column, row = min(int(x), cells - 1), min(int(y), cells - 1)
            spread[max(row, 0), max(column, 0)] = 1.0
            heat[n] = np.maximum(heat[n], spread)
            near = spread > 0.6
            counts[n][near] = spread[near]
            values[n, 0][near], values[n, 1][near] = (x - xs)[near], (y - ys)[near]
            values[n, 2][near], values[n, 3][near] = np.log(w), np.log(h)
    return torch.from_numpy(heat), torch.from_numpy(values), torch.from_numpy(counts)


def loss_of(output: Tensor, heat: Tensor, values: Tensor, counts: Tensor) -> Tensor:
    """CenterNet's focal loss on the heatmap plus a weighted L1 on the boxes."""
    p = torch.sigmoid(output[:, 0]).clamp(1e-4, 1 - 1e-4)
    peak = heat >= 0.999
    hit = -((1 - p) ** 2) * torch.log(p) * peak
    miss = -((1 - heat) ** 4) * p**2 * torch.log(1 - p) * ~peak
    focal = (hit.sum() + miss.sum()) / peak.sum().clamp(min=1)
    away = functional.smooth_l1_loss(output[:, 1:], values, reduction="none", beta=0.2).sum(dim=1)
    return focal + (away * counts).sum() / counts.sum().clamp(min=1)


def _augment(
    images: NDArray[np.uint8], boxes: NDArray[np.float32], rng: np.random.Generator
) -> tuple[Tensor, NDArray[np.float32]]:
    """Cheap variation for a scene that comes round again: shift, gain, colour, grey."""
    size = images.shape[1]
    dx, dy = (int(v) for v in rng.integers(-12, 13, 2))
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    batch = torch.roll(batch, (dy, dx), (2, 3))
    moved = boxes.copy()
    there = boxes[:, :, 2] > 0
    moved[there, 0] += dx
    moved[there, 1] += dy
    outside = (moved[:, :, :2] < 4).any(axis=2) | (moved[:, :, :2] > size - 4).any(axis=2)
    moved[outside] = 0
    gain = torch.from_numpy(rng.uniform(0.6, 1.25, (len(images), 3, 1, 1)).astype(np.float32))
    grey = torch.from_numpy(rng.random(len(images)) < 0.2)[:, None, None, None]
    batch = torch.where(grey, batch.mean(dim=1, keepdim=True), batch)
    return (batch * gain).clamp(0, 255), moved


def evaluate(
    net: nn.Module, images: NDArray[np.uint8], boxes: NDArray[np.float32]
) -> tuple[float, float]:
    """Recall at IoU 0.5 of the held-out plates, and false peaks above 0.3 per scene."""
    net.eval()
    found = total = false = 0
    with torch.inference_mode():
        batch = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        output = torch.cat([net(part).float() for part in batch.split(50)])
    net.train()
    heat = torch.sigmoid(output[:, 0])
    peaks = (heat == functional.max_pool2d(heat[:, None], 3, 1, 1)[:, 0]) & (heat > 0.3)
    for n in range(len(images)):
        truth = boxes[n][boxes[n][:, 2] > 0]
        matched = np.zeros(len(truth), bool)
        for row, column in peaks[n].nonzero().tolist():
            dx, dy, lw, lh = output[n, 1:, row, column].tolist()
            x, y = (column + 0.5 + dx) * STRIDE, (row + 0.5 + dy) * STRIDE
            w, h = np.exp(lw) * STRIDE, np.exp(lh) * STRIDE
            iou = [_iou((x, y, w, h), tuple(t)) for t in truth]
            if iou and max(iou) >= 0.5:
                matched[int(np.argmax(iou))] = True
            else:
                false += 1
        found += int(matched.sum())
        total += len(truth)
    return found / max(1, total), false / len(images)


def _iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    w = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    h = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    both = max(0.0, w) * max(0.0, h)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def export(net: nn.Module, path: Path) -> None:
    """Write the network as ONNX with free batch, height and width."""
    net.eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = (
        torch.export.Dim("rows", min=2, max=512),
        torch.export.Dim("columns", min=2, max=512),
    )
    program = torch.onnx.export(
        net,
        (torch.zeros(2, 3, 96, 160),),
        input_names=["images"],
        output_names=["cells"],
        dynamic_shapes=(
            {0: torch.export.Dim("batch", min=1, max=256), 2: 16 * rows, 3: 16 * columns},
        ),
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    program.save(str(path))
    strip_metadata(path)
    net.train()


def train(settings: TrainSettings) -> None:
    """Train until the time is up, with one cosine of the learning rate over that time.

    Raises:
        ConfigError: there are too few shards.
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    pool = ShardPool(settings.data, task="finder", labels="boxes", held_out=HELD_OUT)
    images, boxes = pool.held_out()
    net = PlateFinderNet().to(memory_format=torch.channels_last)
    if settings.start:
        net.load_state_dict(torch.load(settings.start, weights_only=True))
    average = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995), use_buffers=True
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.rate, weight_decay=1e-3)
    began, step = time.monotonic(), 0
    while (spent := (time.monotonic() - began) / 60 / settings.minutes) < 1:
        warm = min(1.0, (step + 1) / 100)
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * warm * (0.01 + 0.99 * (1 + np.cos(np.pi * spent)) / 2)
        scenes, moved = _augment(*pool.batch(rng, settings.batch), rng)
        scenes = scenes.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings.bf16):
            output = net(scenes)
        loss = loss_of(output.float(), *targets(moved, scenes.shape[2]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        average.update_parameters(net)
        step += 1
        if step % 50 == 0:
            logger.info("step %d loss %.3f spent %.2f", step, loss.item(), spent)
        if step % 300 == 0:
            pool.refresh()
            recall, false = evaluate(average, images, boxes)
            logger.info(
                "step %d pool %d recall %.3f false/scene %.3f", step, pool.size, recall, false
            )
            torch.save(average.module.state_dict(), settings.out.with_suffix(".pt"))
    recall, false = evaluate(average, images, boxes)
    logger.info("final: recall %.3f, false peaks per scene %.3f", recall, false)
    torch.save(average.module.state_dict(), settings.out.with_suffix(".pt"))
    export(average.module, settings.out)
