"""Blocked matrix products: the tiles that libraries have, and which of them they take.

Marked [T]: launch configuration read off the real trace (see `timing`). Marked [A]: assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

from roomie.devices import Device
from roomie.synthetic.launches import FLOAT, Launch, blocks_for, kernel_launch
from roomie.synthetic.timing import Unit, Work, duration_ns

TF32_EFFICIENCY = 0.81
"""[T] implicit GEMM on tensor cores: 0.79 to 0.83."""
SCUDNN_EFFICIENCY = 0.94
"""[T] direct FP32 convolution."""
SGEMM_EFFICIENCY = 0.70
"""[T] FP32 matrix products of fully connected layers: 0.63 to 0.77."""

_SPLITS = (1, 2, 4, 8, 16)
"""[A] of the inner dimension, where the output alone has too few tiles; the trace shows 6."""
_LEAST_SPLIT = 64


@dataclass(frozen=True)
class Tile:
    """A blocked matrix product: m x n of the output a block."""

    name: str
    m: int
    n: int
    threads: int
    registers: int
    shared: int
    unit: Unit
    efficiency: float
    oldest: str = "7.0"

    def launch(self, *, m: int, n: int, k: int, batches: int, moved: float, splits: int) -> Launch:
        """The launch for a product.

        Args:
            m: rows of the output.
            n: columns of the output.
            k: inner dimension.
            batches: products at a time.
            moved: bytes read and written, without partial sums.
            splits: parts of the inner dimension, each by blocks of its own.
        """
        grid = (blocks_for(n, self.n), blocks_for(m, self.m), batches * splits)
        flops = 2.0 * grid[0] * self.n * grid[1] * self.m * k * batches
        if splits > 1:  # partial sums are added in memory
            moved += 2.0 * FLOAT * m * n * batches * splits
        return kernel_launch(
            self.name,
            grid,
            self.threads,
            self.registers,
            shared=self.shared,
            work=Work(flops=flops, bytes=moved, unit=self.unit, compute_efficiency=self.efficiency),
        )


CONVOLUTIONS = (
    Tile("xmma_fprop_implicit_gemm_tf32_128x128x16", 128, 128, 128, 252, 67584, "tf32",
          TF32_EFFICIENCY, "8.0"),  # [T]
    Tile("xmma_fprop_implicit_gemm_tf32_128x64x16", 128, 64, 128, 168, 49152, "tf32",
          0.70, "8.0"),  # [A]
    Tile("xmma_fprop_implicit_gemm_tf32_64x32x32", 64, 32, 64, 128, 36864, "tf32",
          0.50, "8.0"),  # [A]
    Tile("scudnn_128x64_relu", 128, 64, 128, 160, 16384, "fp32", SCUDNN_EFFICIENCY),  # [T]
    Tile("scudnn_128x32_relu", 128, 32, 128, 96, 12288, "fp32", 0.80),  # [A]
)  # fmt: skip
DIRECT_CONVOLUTIONS = tuple(tile for tile in CONVOLUTIONS if tile.unit == "fp32")
GEMMS = (
    Tile("sgemm_128x128_tn", 128, 128, 256, 122, 33280, "fp32", 0.90),  # [A]
    Tile("sgemm_128x64_tn", 128, 64, 128, 122, 24576, "fp32", 0.85),  # [A]
    Tile("sgemm_32x32_sliced1x4_tn", 32, 32, 128, 86, 32768, "fp32", SGEMM_EFFICIENCY),  # [T]
)


def fastest(
    tiles: tuple[Tile, ...], device: Device, *, m: int, n: int, k: int, batches: int, moved: float
) -> Launch:
    """What a library's heuristic would take."""
    capability = _version(device.compute_capability)
    launches = [
        tile.launch(m=m, n=n, k=k, batches=batches, moved=moved, splits=splits)
        for tile in tiles
        for splits in _SPLITS
        if capability >= _version(tile.oldest) and (splits == 1 or k >= splits * _LEAST_SPLIT)
    ]
    return min(launches, key=lambda launch: duration_ns(launch[0], launch[1], device))


def _version(capability: str) -> tuple[int, ...]:
    return tuple(map(int, capability.split(".")))
