"""Trains the small plate reader: convolutions and CTC, 1 plate crop -> text.

Layers follow CRNN (Shi, Bai, Yao 2015, arXiv:1507.05717), with dilated convolutions along the
text in place of the recurrent layers; the loss is CTC (Graves et al. 2006).
"""

from __future__ import annotations

import logging
import time
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evaluation.training.plate_export import strip_metadata
from evaluation.training.plate_glyphs import ALPHABET
from evaluation.training.plate_settings import TrainSettings
from evaluation.training.plate_shards import READER_SIZE
from evaluation.training.shard_pool import ShardPool

logger = logging.getLogger(__name__)

HELD_OUT = 2000
"""Rendered plates kept for validation: by default, the whole of the first shard."""


def _block(
    inside: int,
    outside: int,
    kernel: tuple[int, int],
    pad: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride, pad, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    )


class _Along(nn.Module):
    """A residual, dilated convolution along the text."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(
                channels,
                channels,
                (1, 5),
                padding=(0, 2 * dilation),
                dilation=(1, dilation),
                bias=False,
            ),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class PlateReaderNet(nn.Module):
    """Grey crops float32 [N, 1, 48, 144] in 0..255 -> log-probabilities [N, 36, 37].

    Class 0 is the CTC blank, class k the k-th character of ``ALPHABET``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _block(1, 16, (3, 3), (1, 1)),
            nn.MaxPool2d(2),
            _block(16, 32, (3, 3), (1, 1)),
            nn.MaxPool2d(2),
            _block(32, 56, (3, 3), (1, 1)),
            _block(56, 72, (3, 3), (1, 1), (2, 1)),
            _block(72, 88, (3, 3), (1, 1)),
            _block(88, 104, (3, 3), (1, 1), (2, 1)),
            _block(104, 112, (3, 3), (0, 1)),
        )
        self.along = nn.Sequential(_Along(112, 1), _Along(112, 2), nn.Dropout(0.1))
        self.classes = nn.Conv2d(112, len(ALPHABET) + 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Run the network; see the class."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        centred = x - mean
        spread = (centred * centred).mean(dim=(2, 3), keepdim=True).sqrt()
        scores = self.classes(self.along(self.features(centred / (spread + 4.0))))
        return torch.log_softmax(scores.squeeze(2).transpose(1, 2), dim=2)


def decode(log_probabilities: NDArray[np.float32]) -> list[str]:
    """Best path of CTC: [N, T, 37] -> texts."""
    best = log_probabilities.argmax(axis=2)
    return ["".join(ALPHABET[k - 1] for k, _ in groupby(row) if k) for row in best]


def _augment(images: NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
    """What is cheap to vary each time a crop comes round: polarity, a shift, noise."""
    batch = torch.from_numpy(images).float()[:, None]
    flip = torch.from_numpy(rng.random(len(images)) < 0.08)[:, None, None, None]
    batch = torch.where(flip, 255 - batch, batch)
    dx, dy = int(rng.integers(-4, 5)), int(rng.integers(-2, 3))
    batch = torch.roll(batch, (dy, dx), (2, 3))
    sigma = float(rng.choice([0, 0, 2, 4]))
    return batch + sigma * torch.randn_like(batch) if sigma else batch


def evaluate(net: nn.Module, images: NDArray[np.uint8], texts: NDArray[np.str_]) -> float:
    """Share of plates read without a mistake."""
    net.eval()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(images), 250):
            part = torch.from_numpy(images[start : start + 250]).float()[:, None]
            read = decode(net(part).float().numpy())
            right += sum(a == b for a, b in zip(read, texts[start : start + 250], strict=True))
    net.train()
    return right / len(images)


def export(net: nn.Module, path: Path) -> None:
    """Write the network as ONNX with a free batch size."""
    net.eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    example = torch.full((2, 1, READER_SIZE[1], READER_SIZE[0]), 128.0)
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.onnx.export(
        net,
        (example,),
        input_names=["crops"],
        output_names=["log_probabilities"],
        dynamic_shapes=({0: batch},),
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
    pool = ShardPool(settings.data, task="reader", labels="texts", held_out=HELD_OUT)
    images, texts = pool.held_out()
    net = PlateReaderNet().to(memory_format=torch.channels_last)
    if settings.start:
        net.load_state_dict(torch.load(settings.start, weights_only=True))
    average = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=True
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.rate, weight_decay=1e-3)
    loss_of = nn.CTCLoss(blank=0, zero_infinity=True)
    index = {char: k + 1 for k, char in enumerate(ALPHABET)}
    began, step = time.monotonic(), 0
    while (spent := (time.monotonic() - began) / 60 / settings.minutes) < 1:
        warm = min(1.0, (step + 1) / 200)
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * warm * (0.01 + 0.99 * (1 + np.cos(np.pi * spent)) / 2)
        raw, labels = pool.batch(rng, settings.batch)
        crops = _augment(raw, rng).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings.bf16):
            output = net(crops)
        targets = torch.tensor([index[c] for text in labels for c in str(text)])
        lengths = torch.tensor([len(text) for text in labels])
        steps = torch.full((len(labels),), output.shape[1])
        loss = loss_of(output.float().transpose(0, 1), targets, steps, lengths)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        average.update_parameters(net)
        step += 1
        if step % 100 == 0:
            logger.info("step %d loss %.3f pool %d spent %.2f", step, loss.item(), pool.size, spent)
        if step % 500 == 0:
            pool.refresh()
            share = evaluate(average, images, texts)
            logger.info("step %d held out: %.3f of plates right", step, share)
            torch.save(average.module.state_dict(), settings.out.with_suffix(".pt"))
    logger.info("final: %.3f of plates right", evaluate(average, images, texts))
    torch.save(average.module.state_dict(), settings.out.with_suffix(".pt"))
    export(average.module, settings.out)
