"""Training of the vehicle detector: batches, the loop, validation, and the model card."""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch.nn import functional

from evaluation.scenes.vehicles import LABELS
from evaluation.training.detection_metrics import PictureResult, Score, evaluate
from evaluation.training.detector_export import export_onnx
from evaluation.training.detector_loss import cell_centres, detector_loss
from evaluation.training.detector_network import Deployed, VehicleDetector
from evaluation.training.rendered import RenderedSet, render_set

_SIDES = (224, 256, 288, 320, 448)
"""Sides that batches are resized to, one drawn for each step."""
_BATCH_PIXELS = 10 * 320 * 320
_LEAST_SIDE_PX = 4.0  # vehicles that become smaller than this need not be found
_EMA_DECAY = 0.998
_WARM_UP = 0.03  # share of the time during which the learning rate rises


def make_batch(
    data: RenderedSet, indices: NDArray[np.int64], side: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures and objects of one step, resized, some mirrored, channel gains varied.

    Returns:
        Float [n, 3, side, side], RGB in 0..1, channels last in memory; float [n, m, 6].
    """
    pictures = np.asarray(data.images[np.sort(indices)])
    objects = data.objects[np.sort(indices)].copy()
    images = torch.from_numpy(np.ascontiguousarray(pictures[..., ::-1])).permute(0, 3, 1, 2)
    images = images.float().div_(255.0)
    rendered = images.shape[-1]
    if side != rendered:
        images = functional.interpolate(
            images, (side, side), mode="bilinear", antialias=side < rendered, align_corners=False
        )
        objects[..., :4] *= side / rendered
        tiny = (objects[..., 2:4] - objects[..., :2]).min(axis=-1) < _LEAST_SIDE_PX
        objects[..., 5] = np.where(tiny, 0.0, objects[..., 5])
    if rng.random() < 0.5:
        images = images.flip(3)
        objects[..., [0, 2]] = side - objects[..., [2, 0]]
    gains = torch.from_numpy(rng.uniform(0.8, 1.2, (len(images), 3, 1, 1)).astype(np.float32))
    images = (images * gains).clamp_(0, 1).to(memory_format=torch.channels_last)
    return images, torch.from_numpy(objects)


def fit(
    data: RenderedSet,
    *,
    seed: int,
    minutes: float,
    learning_rate: float,
    checkpoint: Path,
    console: Console,
) -> tuple[VehicleDetector, int]:
    """Train for a time.

    Args:
        data: rendered samples.
        seed: of weights, order and augmentation.
        minutes: wall time to spend.
        learning_rate: the highest of the schedule.
        checkpoint: file that receives the averaged weights about every two minutes.
        console: for progress.

    Returns:
        The network with exponentially averaged weights, and the number of pictures it saw.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = VehicleDetector(len(LABELS)).to(memory_format=torch.channels_last)
    average = copy.deepcopy(network).eval()
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}],
        lr=learning_rate,
    )
    grids = {side: cell_centres(side, side) for side in _SIDES}
    started, step, seen, smooth, saved = time.monotonic(), 0, 0, math.nan, 0.0
    order: NDArray[np.int64] = np.empty(0, np.int64)
    with Progress(console=console) as progress:
        task = progress.add_task("training", total=minutes * 60)
        while (elapsed := time.monotonic() - started) < minutes * 60:
            done = elapsed / (minutes * 60)
            rate = learning_rate * min(done / _WARM_UP + 1e-3, 0.5 * (1 + math.cos(math.pi * done)))
            for group in optimiser.param_groups:
                group["lr"] = rate
            side = int(rng.choice(_SIDES))
            count = max(2, _BATCH_PIXELS // side**2)
            if len(order) < count:
                order = np.concatenate([order, rng.permutation(len(data))])
            images, objects = make_batch(data, order[:count], side, rng)
            order = order[count:]
            loss = detector_loss(network(images), objects, *grids[side])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimiser.step()
            step, seen = step + 1, seen + count
            _average(average, network, min(_EMA_DECAY, step / (step + 20)))
            value = float(loss.detach())
            smooth = value if math.isnan(smooth) else 0.98 * smooth + 0.02 * value
            progress.update(
                task, completed=elapsed, description=f"step {step}, {seen} seen, loss {smooth:.3f}"
            )
            if elapsed - saved > 120:
                saved = elapsed
                torch.save(average.state_dict(), checkpoint)
                console.log(f"{elapsed:.0f} s: step {step}, {seen} seen, loss {smooth:.3f}")
    torch.save(average.state_dict(), checkpoint)
    return average, seen


def _average(average: VehicleDetector, network: VehicleDetector, decay: float) -> None:
    with torch.no_grad():
        for kept, new in zip(
            average.state_dict().values(), network.state_dict().values(), strict=True
        ):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)


def detect(network: VehicleDetector, data: RenderedSet) -> list[PictureResult]:
    """Run the network on each picture of a set, with non-maximum suppression at 0.5."""
    model = Deployed(network).eval()
    results = []
    for image, objects in zip(data.images, data.objects, strict=True):
        pixels = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1)[None]
        with torch.no_grad():
            rows = model(pixels.float() / 255.0)[0].numpy()
        rows = rows[rows[:, 4] > 0.02]
        boxes = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, 2:4]], axis=1)
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), rows[:, 4].tolist(), 0.02, 0.5)
        chosen = np.asarray(kept, np.int64).reshape(-1)
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        used = objects[objects[:, 4] >= 0]
        results.append(
            PictureResult(
                boxes=corners[chosen].astype(np.float32),
                scores=rows[chosen, 4].astype(np.float32),
                labels=rows[chosen, 5:].argmax(axis=1).astype(np.int64),
                truth=used[:, :4],
                truth_labels=used[:, 4].astype(np.int64),
                ignored=used[:, 5] < 0.3,
            )
        )
    return results


def validate(
    network: VehicleDetector, cache: Path, *, seed: int, sides: tuple[int, ...], count: int
) -> dict[int, Score]:
    """Score the network on whole frames of dash cameras in streets it has not seen."""
    scores = {}
    for side in sides:
        data = render_set(cache, seed=seed, count=count, size=side, streets=4, degraded=False)
        scores[side] = evaluate(detect(network, data))
    return scores


def write_card(
    out: Path, *, scores: dict[int, Score], difference: float, facts: dict[str, object]
) -> None:
    """Write the model card beside the network, as JSON."""
    card = {
        "name": out.stem,
        "task": "vehicle detection",
        "labels": list(LABELS),
        "input": "float32 [n, 3, h, w], RGB in 0..1, h and w multiples of 32",
        "output": "float32 [n, cells, 5 + labels]: cx, cy, w, h in pixels, score, label shares",
        "licence": "Apache-2.0",
        "data": "rendered by evaluation.scenes; no photographs",
        "bytes": out.stat().st_size,
        "onnx_minus_torch_max_abs": difference,
        "held_out_street_frames": {str(side): asdict(score) for side, score in scores.items()},
        **facts,
    }
    out.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")


def train(
    *,
    out: Path,
    cache: Path,
    seed: int,
    minutes: float,
    samples: int,
    streets: int,
    size: int,
    learning_rate: float,
    threads: int,
    validation_frames: int,
    console: Console,
) -> None:
    """Render samples, train, validate on held-out streets, export, check, write the card.

    Args:
        out: ONNX file to write; the card goes beside it.
        cache: folder for rendered samples and checkpoints.
        seed: of samples, weights and order.
        minutes: wall time to train, without rendering.
        samples: rendered training pictures.
        streets: rendered streets among them.
        size: side of the rendered pictures, pixels.
        learning_rate: highest of the schedule.
        threads: processor threads.
        validation_frames: held-out frames.
        console: for progress and scores.
    """
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    with Progress(console=console) as progress:
        task = progress.add_task("rendering", total=samples)
        data = render_set(
            cache,
            seed=seed,
            count=samples,
            size=size,
            streets=streets,
            degraded=True,
            advance=lambda: progress.advance(task),
        )
    network, seen = fit(
        data,
        seed=seed,
        minutes=minutes,
        learning_rate=learning_rate,
        checkpoint=cache / "detector.pt",
        console=console,
    )
    scores = validate(network, cache, seed=9001, sides=(416, 640), count=validation_frames)
    for side, score in scores.items():
        console.print(f"{side}: {score}")
    difference = export_onnx(network, out, labels=LABELS)
    console.print(f"largest difference between ONNX Runtime and torch: {difference:.2e}")
    facts: dict[str, object] = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "trained_on": datetime.now(UTC).date().isoformat(),
        "command": (
            f"python -m evaluation.training.train_detector --seed {seed} --minutes {minutes:g} "
            f"--samples {samples} --streets {streets} --size {size} "
            f"--learning-rate {learning_rate:g} --threads {threads}"
        ),
        "pictures_seen": seen,
    }
    write_card(out, scores=scores, difference=difference, facts=facts)
