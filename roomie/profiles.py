"""What is known of a model at a batch size on a device: its kernels in order, memory and time."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, NamedTuple

from roomie.devices import Device, DeviceTable
from roomie.errors import ProfileError
from roomie.occupancy import Occupancy, occupancy

Origin = Literal["measured", "imported", "synthetic", "scaled"]
"""Recorded by `videojam roomie profile`; read from another profiler's file; computed from a
network's layers; or carried over from another device by `scale_to`."""

ORIGINS: tuple[Origin, ...] = ("measured", "imported", "synthetic", "scaled")

MEMORY_BOUND_SHARE = 0.25
"""Share of an SM's warps that saturates its part of the memory bandwidth (an assumption)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """One kernel launch.

    Attributes:
        name: as the profiler names it.
        duration_ns: as profiled, the profiler's overhead included.
        grid: blocks in x, y, z.
        block: threads in x, y, z.
        registers: of a thread.
        static_shared: bytes of a block.
        dynamic_shared: bytes of a block.
        stream: CUDA stream.
    """

    name: str
    duration_ns: int
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    registers: int
    static_shared: int
    dynamic_shared: int
    stream: int = 0

    @property
    def grid_blocks(self) -> int:
        """Blocks of the launch."""
        return math.prod(self.grid)

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return math.prod(self.block)

    @property
    def shared_memory(self) -> int:
        """Bytes of a block, static and dynamic."""
        return self.static_shared + self.dynamic_shared

    def occupancy(self, device: Device) -> Occupancy:
        """Resident blocks on an SM of ``device``."""
        return occupancy(
            device.limits,
            threads=self.threads,
            registers=self.registers,
            shared_memory=self.shared_memory,
        )


class Variant(NamedTuple):
    """What is placed: a model at a batch size."""

    model: str
    batch: int

    def __str__(self) -> str:
        return f"{self.model}@{self.batch}"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A model at a batch size on a device.

    Attributes:
        variant: model and batch size.
        device: where it was profiled, or is to be thought of as running.
        origin: where the figures come from.
        tool: what wrote them, with its version.
        inference_time_s: of one batch alone on the device, without a profiler's overhead.
        memory_bytes: device memory that an instance needs, weights included.
        weight_bytes: what a move of the instance has to load.
        kernels: in launch order; at least one.
        note: anything a person should know.
    """

    variant: Variant
    device: Device
    origin: Origin
    tool: str
    inference_time_s: float
    memory_bytes: int
    weight_bytes: int
    kernels: tuple[Kernel, ...] = field(repr=False)
    note: str = ""

    @cached_property
    def profiled_time_s(self) -> float:
        """Sum of the kernels' durations as profiled."""
        return sum(kernel.duration_ns for kernel in self.kernels) * 1e-9

    @property
    def overhead(self) -> float:
        """Profiled over measured time; what is above 1 is the profiler's, or streams overlap.

        Durations are divided by it, so that they sum up to the inference time (baselines.md,
        "profiled sum differs from inference time").
        """
        return self.profiled_time_s / self.inference_time_s

    @property
    def throughput(self) -> float:
        """Items a second, alone on the device."""
        return self.variant.batch / self.inference_time_s


def check_kernels(kernels: Sequence[Kernel], device: Device) -> None:
    """Refuse kernels that ``device`` cannot run.

    Raises:
        ProfileError: a kernel exceeds an SM; without a file, its position is in the message.
    """
    for position, kernel in enumerate(kernels):
        problem = excess(kernel, device)
        if problem is not None:
            key, message, value = problem
            raise ProfileError(
                f"kernel {position} ({kernel.name[:60]}) {message}",
                key=key,
                value=value,
                remedy=f"was it profiled on another GPU than {device.name}?",
            )


def excess(kernel: Kernel, device: Device) -> tuple[str, str, int] | None:
    """What of a kernel exceeds an SM of the device: field, sentence, value; None if it fits."""
    found = kernel.occupancy(device)
    if found.blocks > 0:
        return None
    limits = device.limits
    if found.limited_by == "warps":
        return (
            "block",
            f"has more threads in a block than {device.name} allows ({limits.threads_per_block})",
            kernel.threads,
        )
    if found.limited_by == "registers":
        return (
            "registers",
            (
                f"needs more registers than an SM of {device.name} has for one block of "
                f"{kernel.threads} threads (at most {limits.registers_per_thread} a thread, "
                f"{limits.registers} an SM)"
            ),
            kernel.registers,
        )
    return (
        "dynamic_shared",
        (
            f"needs more shared memory in a block than {device.name} allows "
            f"({limits.shared_memory_per_block} bytes)"
        ),
        kernel.shared_memory,
    )


def scale_to(profile: Profile, device: Device) -> Profile:
    """Carry a profile over to a device of the same compute capability, such as a MIG slice.

    A kernel takes longer by the waves that it now needs where it is bound by computing, or by the
    bandwidth that it has lost where it filled the memory system; the larger of the two, and never
    less than before. An estimate: its origin becomes ``scaled``.

    Raises:
        ProfileError: the capabilities differ, or a kernel does not fit.
    """
    source = profile.device
    if source.compute_capability != device.compute_capability:
        raise ProfileError(
            f"a profile of {source.name} says nothing about {device.name}: their compute "
            "capabilities differ, and so do the kernels that libraries choose",
            key="device",
            value=device.name,
            remedy=f"record a profile on {device.name}",
        )
    check_kernels(profile.kernels, device)
    bandwidth = 1.0
    if source.bandwidth_gb_s and device.bandwidth_gb_s:
        bandwidth = source.bandwidth_gb_s / device.bandwidth_gb_s
    # Not below 1: a larger device is not assumed to help a kernel that does not fill this one.
    factors = [
        max(
            1.0, _waves(kernel, device) / _waves(kernel, source), _stalls(kernel, source, bandwidth)
        )
        for kernel in profile.kernels
    ]
    kernels = tuple(
        replace(kernel, duration_ns=round(kernel.duration_ns * factor))
        for kernel, factor in zip(profile.kernels, factors, strict=True)
    )
    scaled = sum(kernel.duration_ns for kernel in kernels) * 1e-9
    return replace(
        profile,
        device=device,
        origin="scaled",
        inference_time_s=profile.inference_time_s * scaled / profile.profiled_time_s,
        kernels=kernels,
        note=f"scaled from a {profile.origin} profile of {source.name}",
    )


def _waves(kernel: Kernel, device: Device) -> float:
    """How often the device must be filled for the grid; at least once."""
    return max(1.0, kernel.grid_blocks / (kernel.occupancy(device).blocks * device.sms))


def _stalls(kernel: Kernel, device: Device, bandwidth: float) -> float:
    """The slowdown of a kernel that kept the memory system busy when bandwidth is divided."""
    found = kernel.occupancy(device)
    resident = min(found.blocks, kernel.grid_blocks / device.sms)
    warps = resident * found.warps_per_block / device.limits.warps
    return bandwidth * min(1.0, warps / MEMORY_BOUND_SHARE)


class ProfileStore:
    """Profiles by device, model and batch size; what a device lacks is scaled from a relative.

    Args:
        profiles: in any order; two of one device, model and batch size are a fault.
        devices: the table of devices.
    """

    def __init__(self, profiles: Iterable[Profile], devices: DeviceTable) -> None:
        self._profiles: dict[tuple[str, Variant], Profile] = {}
        self.devices = devices
        for profile in profiles:
            key = (profile.device.name, profile.variant)
            if key in self._profiles:
                raise ProfileError(
                    f"two profiles of {profile.variant} on {profile.device.name}",
                    remedy="remove one of the two files, or the lines of one",
                )
            self._profiles[key] = profile
        self._scaled: dict[tuple[str, Variant], Profile] = {}

    def __len__(self) -> int:
        return len(self._profiles)

    def __iter__(self) -> Iterator[Profile]:
        return iter(self._profiles.values())

    @property
    def models(self) -> tuple[str, ...]:
        """All models, sorted."""
        return tuple(sorted({variant.model for _, variant in self._profiles}))

    @property
    def variants(self) -> tuple[Variant, ...]:
        """All models and batch sizes, sorted."""
        return tuple(sorted({variant for _, variant in self._profiles}))

    def remedy(self, model: str) -> str:
        """What to do where a model, or a batch size of it, has no profile."""
        sizes = [str(variant.batch) for variant in self.variants if variant.model == model]
        if sizes:
            return f"profiled batch sizes: {', '.join(sizes)}"
        return f"{self.meant(model)}profiled models: {', '.join(self.models)}"

    def meant(self, model: str) -> str:
        """A question that begins a remedy, where only a model of a similar name has a profile."""
        near = difflib.get_close_matches(model, self.models, n=1)
        return f"did you mean {near[0]!r}? " if near and model not in self.models else ""

    def batches(self, model: str, device: Device) -> tuple[int, ...]:
        """Batch sizes for which `find` has an answer, ascending."""
        return tuple(
            variant.batch
            for variant in self.variants
            if variant.model == model and self.find(variant, device) is not None
        )

    def find(self, variant: Variant, device: Device) -> Profile | None:
        """The profile for that device, scaled from a relative where it has none of its own.

        Relatives: the slice's whole GPU, a slice's other slices, then any device of the same
        compute capability; among several, the one with the nearest number of SMs, then by name.

        Returns:
            None where there is nothing to go by, or a kernel does not fit.
        """
        key = (device.name, variant)
        own = self._profiles.get(key) or self._scaled.get(key)
        if own is not None:
            return own
        relatives = [
            profile
            for (_, other), profile in self._profiles.items()
            if other == variant and profile.device.compute_capability == device.compute_capability
        ]
        if not relatives:
            return None
        family = device.parent or device.name
        nearest = min(
            relatives,
            key=lambda p: (
                p.device.name != family,
                (p.device.parent or p.device.name) != family,
                abs(p.device.sms - device.sms),
                p.device.name,
            ),
        )
        try:
            scaled = scale_to(nearest, device)
        except ProfileError:
            return None
        self._scaled[key] = scaled
        return scaled
