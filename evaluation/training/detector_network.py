"""A small anchor-free vehicle detector: convolutional backbone, feature pyramid, one shared head.

The design follows published ideas: a single-stage detector with decoupled, shared heads on a
feature pyramid (FCOS, Tian et al. 2019; YOLOX, Ge et al. 2021) and blocks that split and
concatenate (CSPNet, Wang et al. 2020). It is written from those papers.
"""

from __future__ import annotations

import torch
from torch import nn

STRIDES = (8, 16, 32)
"""Pixels between neighbouring cells of the three levels."""


class ConvBlock(nn.Sequential):
    """Convolution, batch normalisation, SiLU."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(
                channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False
            ),
            nn.BatchNorm2d(channels_out, momentum=0.03, eps=1e-3),
            nn.SiLU(inplace=True),
        )


class Separable(nn.Sequential):
    """Depthwise 5x5, then pointwise convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            ConvBlock(channels, channels, 5, groups=channels), ConvBlock(channels, channels, 1)
        )


class SplitBlock(nn.Module):
    """Half of the channels pass through residual 3x3 pairs; all intermediate results are merged."""

    def __init__(self, channels: int, repeats: int = 1) -> None:
        super().__init__()
        half = channels // 2
        self.enter = ConvBlock(channels, 2 * half, 1)
        self.pairs = nn.ModuleList(
            nn.Sequential(ConvBlock(half, half), ConvBlock(half, half)) for _ in range(repeats)
        )
        self.leave = ConvBlock((2 + repeats) * half, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float [n, channels, h, w] to the same shape."""
        parts = list(self.enter(x).chunk(2, dim=1))
        for pair in self.pairs:
            parts.append(parts[-1] + pair(parts[-1]))
        return self.leave(torch.cat(parts, dim=1))


class Context(nn.Module):
    """Pooling at three growing windows (SPPF-like), so that a cell sees all of a large vehicle."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = ConvBlock(channels, channels // 2, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.leave = ConvBlock(channels * 2, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float [n, channels, h, w] to the same shape."""
        first = self.enter(x)
        second = self.pool(first)
        third = self.pool(second)
        return self.leave(torch.cat([first, second, third, self.pool(third)], dim=1))


class VehicleDetector(nn.Module):
    """The network.

    Args:
        classes: number of labels.
        width: channels of the pyramid and of the head.
    """

    def __init__(self, classes: int, width: int = 56) -> None:
        super().__init__()
        self.classes = classes
        self.stem = nn.Sequential(ConvBlock(3, 12, 3, 2), ConvBlock(12, 24, 3, 2), SplitBlock(24))
        self.down3 = nn.Sequential(ConvBlock(24, 48, 3, 2), SplitBlock(48))
        self.down4 = nn.Sequential(ConvBlock(48, 80, 3, 2), SplitBlock(80, 2))
        self.down5 = nn.Sequential(ConvBlock(80, 96, 3, 2), SplitBlock(96), Context(96))
        self.side3 = ConvBlock(48, width, 1)
        self.side4 = ConvBlock(80, width, 1)
        self.side5 = ConvBlock(96, width, 1)
        self.fuse4 = Separable(width)
        self.fuse3 = Separable(width)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.box_tower = nn.Sequential(Separable(width), Separable(width))
        self.class_tower = nn.Sequential(Separable(width), Separable(width))
        self.box_out = nn.Conv2d(width, 4, 1)
        self.score_out = nn.Conv2d(width, 1, 1)
        self.class_out = nn.Conv2d(width, classes, 1)
        self.scales = nn.Parameter(torch.zeros(len(STRIDES)))
        nn.init.constant_(self.score_out.bias, -4.6)  # a prior of 1 % keeps the first steps calm

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Raw outputs by level.

        Args:
            images: float [n, 3, h, w], RGB in 0..1; h and w multiples of 32.

        Returns:
            For each stride float [n, 4 + 1 + classes, h/stride, w/stride]: distances from the
            cell's centre to left, top, right, bottom in strides (positive), then logits.
        """
        third = self.down3(self.stem(images))
        fourth = self.down4(third)
        fifth = self.side5(self.down5(fourth))
        fourth = self.fuse4(self.side4(fourth) + self.up(fifth))
        third = self.fuse3(self.side3(third) + self.up(fourth))
        outputs = []
        for index, level in enumerate((third, fourth, fifth)):
            boxes = self.box_tower(level)
            distances = torch.exp((self.box_out(boxes) + self.scales[index]).clamp(max=6.0))
            logits = self.class_out(self.class_tower(level))
            outputs.append(torch.cat([distances, self.score_out(boxes), logits], dim=1))
        return outputs


class Deployed(nn.Module):
    """The detector with its decoding, as it is exported."""

    def __init__(self, network: VehicleDetector) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Decoded candidates.

        Args:
            images: float [n, 3, h, w], RGB in 0..1.

        Returns:
            Float [n, cells, 5 + classes]: centre x, centre y, width, height in pixels, score in
            0..1, probability of each label (summing to 1).
        """
        rows = []
        for level, stride in zip(self.network(images), STRIDES, strict=True):
            ones = torch.ones_like(level[:, :1])
            x = torch.cumsum(ones, dim=3) - 0.5
            y = torch.cumsum(ones, dim=2) - 0.5
            left, top, right, bottom = level[:, :4].chunk(4, dim=1)
            box = torch.cat(
                [x + (right - left) / 2, y + (bottom - top) / 2, left + right, top + bottom], dim=1
            )
            score = torch.sigmoid(level[:, 4:5])
            labels = torch.softmax(level[:, 5:], dim=1)
            rows.append(torch.cat([box * stride, score, labels], dim=1).flatten(2))
        return torch.cat(rows, dim=2).transpose(1, 2)
