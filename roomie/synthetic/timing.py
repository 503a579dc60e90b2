"""How long a kernel takes, from its work, its launch and the device's peaks.

The larger of three bounds, and a fixed start: computing in waves of resident blocks, the memory
system, and the latency of a wave. The efficiencies were fitted to the kernels of one real trace,
AlexNet at batch 128 on an A100 (HolisticTraceAnalysis, MIT); `tests/roomie/test_synthetic.py` fits
them again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from roomie.devices import Device
from roomie.profiles import MEMORY_BOUND_SHARE, Kernel

Unit = Literal["fp32", "tf32"]

START_NS = 2500
"""Of any kernel: the trace's smallest take 4 to 5 us with almost nothing to do."""
WAVE_NS = 2400
"""Least time of a wave: the trace's shortest waves, of additions, take 2.5 us."""
TAIL_EXPONENT = 0.5
"""A last wave of a share s of the blocks takes s ** 0.5 of a full one: a block that has its SM for
itself runs faster than when it shares it. With it, the trace's three implicit GEMMs of 1.6 and 2.3
waves have one efficiency (0.79 to 0.83)."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a kernel does.

    Attributes:
        flops: floating-point operations of the launch, padding of its tiles included.
        bytes: read from and written to device memory.
        unit: which peak bounds ``flops``.
        compute_efficiency: share of that peak that full waves reach.
        memory_efficiency: share of the peak bandwidth that a grid of many waves reaches.
    """

    flops: float = 0.0
    bytes: float = 0.0
    unit: Unit = "fp32"
    compute_efficiency: float = 0.8
    memory_efficiency: float = 0.8


def duration_ns(kernel: Kernel, work: Work, device: Device) -> int:
    """Duration of a kernel alone on the device."""
    blocks = max(kernel.occupancy(device).blocks, 1)
    bound = max(
        _compute_s(kernel, work, device, blocks),
        _memory_s(kernel, work, device, blocks),
        kernel.grid_blocks / (blocks * device.sms) * WAVE_NS * 1e-9,
    )
    return START_NS + round(bound * 1e9)


def _compute_s(kernel: Kernel, work: Work, device: Device, blocks: int) -> float:
    if not work.flops:
        return 0.0
    peak = device.tf32_tflops if work.unit == "tf32" and device.tf32_tflops else device.fp32_tflops
    per_sm = peak * 1e12 / device.sms * work.compute_efficiency
    wave_s = blocks * work.flops / kernel.grid_blocks / per_sm
    full, rest = divmod(kernel.grid_blocks, blocks * device.sms)
    tail: float = (math.ceil(rest / device.sms) / blocks) ** TAIL_EXPONENT
    return (full + tail) * wave_s


def _memory_s(kernel: Kernel, work: Work, device: Device, blocks: int) -> float:
    # Few SMs, or few warps on them, cannot keep the memory system busy.
    covered = min(1.0, kernel.grid_blocks / device.sms)
    resident = min(blocks, max(1.0, kernel.grid_blocks / device.sms))
    warps = resident * math.ceil(kernel.threads / 32) / device.limits.warps
    reach = covered * min(1.0, warps / MEMORY_BOUND_SHARE)
    return work.bytes / (device.bandwidth_gb_s * 1e9 * work.memory_efficiency * reach)
