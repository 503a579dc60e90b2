"""A launch of a kernel, and the work that it does."""

from __future__ import annotations

import math

from roomie.devices import Device
from roomie.profiles import Kernel
from roomie.synthetic.layers import Shape
from roomie.synthetic.timing import Work, duration_ns

FLOAT = 4
"""Bytes of an element."""

Launch = tuple[Kernel, Work]
"""The kernel, its duration not yet known, and its work."""


def kernel_launch(
    name: str,
    grid: Shape | int,
    threads: Shape | int,
    registers: int,
    *,
    shared: int = 0,
    work: Work,
) -> Launch:
    """A launch.

    Args:
        name: of the kernel.
        grid: blocks; up to three dimensions.
        threads: of a block; up to three dimensions.
        registers: of a thread.
        shared: bytes of dynamic shared memory of a block.
        work: what the launch does.
    """
    return (
        Kernel(
            name=name,
            duration_ns=0,
            grid=_three(grid),
            block=_three(threads),
            registers=registers,
            static_shared=0,
            dynamic_shared=shared,
        ),
        work,
    )


def _three(size: Shape | int) -> tuple[int, int, int]:
    parts = (size,) if isinstance(size, int) else size
    x, y, z = (*parts, 1, 1)[:3]
    return max(x, 1), max(y, 1), max(z, 1)


def blocks_for(value: float, unit: int) -> int:
    """Blocks that hold some elements, so many each; at least one."""
    return max(1, math.ceil(value / unit))


def timed(launch: Launch, device: Device) -> Kernel:
    """The kernel with its duration alone on a device."""
    kernel, work = launch
    return Kernel(
        name=kernel.name,
        duration_ns=duration_ns(kernel, work, device),
        grid=kernel.grid,
        block=kernel.block,
        registers=kernel.registers,
        static_shared=0,
        dynamic_shared=kernel.dynamic_shared,
    )
