"""What all importers share: kernels of one inference and their device, made into a profile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from roomie.devices import Device, DeviceTable
from roomie.errors import DeviceError, ProfileError
from roomie.profiles import Kernel, Profile, Variant, excess

READABLE = (
    "give a trace of PyTorch's profiler (JSON, gzip or not), an SQLite export of Nsight Systems "
    "(nsys export --type sqlite), or a CSV table of Nsight Compute (ncu --csv --page raw)"
)
"""What can be imported, as a remedy."""

_NVIDIA = "NVIDIA "


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """What a profiler's file does not say.

    Attributes:
        model: which network was profiled.
        batch: its batch size.
        memory_bytes: device memory that an instance needs.
        weight_bytes: of them, weights.
        inference_time_s: of one batch, measured without a profiler; None takes the time during
            which kernels ran, the profiler's overhead included.
        device: the name of the GPU in the table of devices, where the file calls it otherwise or
            not at all.
        annotation: the name, or a part of it, of the range that encloses one inference; None takes
            the last range or step that has kernels.
    """

    model: str
    batch: int
    memory_bytes: int
    weight_bytes: int = 0
    inference_time_s: float | None = None
    device: str | None = None
    annotation: str | None = None


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A kernel as recorded.

    Attributes:
        kernel: its launch and duration.
        start_ns: when it began, by the profiler's clock.
        place: line or row in the file; None where there is none.
    """

    kernel: Kernel
    start_ns: int
    place: int | None = None


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Kernels of one inference.

    Attributes:
        file: where they were read.
        tool: which profiler wrote it.
        kernels: in the order in which they began; at least one.
        device: as the file calls it; None if it does not.
        compute_capability: of the device; None if the file does not say.
        sms: of the device; None if the file does not say.
        memory_bytes: of the device; None if the file does not say.
        note: what a person should know.
    """

    file: Path
    tool: str
    kernels: tuple[Recorded, ...]
    device: str | None
    compute_capability: str | None
    sms: int | None
    memory_bytes: int | None
    note: str = ""


def to_profile(recording: Recording, settings: ImportSettings, devices: DeviceTable) -> Profile:
    """A profile of a recording.

    Raises:
        DeviceError: the device's limits are not known, or it is not the one that was named.
        ProfileError: a kernel exceeds the device, or all take no time.
    """
    device = _device(recording, settings, devices)
    for recorded in recording.kernels:
        problem = excess(recorded.kernel, device)
        if problem is not None:
            key, message, value = problem
            raise ProfileError(
                f"the kernel {recorded.kernel.name[:60]} {message}",
                file=recording.file,
                line=recorded.place,
                key=key,
                value=value,
                remedy=f"was it profiled on another GPU than {device.name}?",
            )
    busy = busy_time_s(recording.kernels)
    if busy <= 0:
        raise ProfileError("all kernels take no time", file=recording.file)
    return Profile(
        variant=Variant(settings.model, settings.batch),
        device=device,
        origin="imported",
        tool=recording.tool,
        inference_time_s=settings.inference_time_s or busy,
        memory_bytes=settings.memory_bytes,
        weight_bytes=settings.weight_bytes,
        kernels=tuple(recorded.kernel for recorded in recording.kernels),
        note=recording.note,
    )


def busy_time_s(kernels: Sequence[Recorded]) -> float:
    """Time during which at least one kernel ran; streams that overlap count once."""
    total, end = 0, -math.inf
    for recorded in sorted(kernels, key=lambda r: r.start_ns):
        start, stop = recorded.start_ns, recorded.start_ns + recorded.kernel.duration_ns
        total += int(max(0, stop - max(start, end)))
        end = max(end, stop)
    return total * 1e-9


def _device(recording: Recording, settings: ImportSettings, devices: DeviceTable) -> Device:
    named = (recording.device or "").removeprefix(_NVIDIA)
    if settings.device is not None:
        device = devices.device(settings.device)
        for what, recorded, known in (
            ("compute_capability", recording.compute_capability, device.compute_capability),
            ("sms", recording.sms, device.sms),
        ):
            if recorded is not None and recorded != known:
                raise DeviceError(
                    f"recorded on {recording.device or 'a GPU'} with {what} {recorded}, which is "
                    f"not {device.name} ({known})",
                    file=recording.file,
                    key="device",
                    value=settings.device,
                    remedy="name the GPU that it was recorded on, or leave --device out",
                )
        return device
    for candidate in (named, named.replace(" ", "-")):
        if candidate in devices.devices:
            return replace(devices.devices[candidate])
    if recording.compute_capability is None or recording.sms is None:
        raise DeviceError(
            "the file does not say enough of its GPU (compute capability, SMs)",
            file=recording.file,
            key="device",
            value=recording.device,
            remedy="name the GPU with --device; `videojam roomie devices` lists those known",
        )
    try:
        limits = devices.limits_of(recording.compute_capability)
    except DeviceError as error:
        raise replace(error, file=recording.file) from error
    return Device(
        name=named or f"gpu-{recording.compute_capability}-{recording.sms}sm",
        compute_capability=recording.compute_capability,
        limits=limits,
        sms=recording.sms,
        memory_bytes=recording.memory_bytes or settings.memory_bytes,
    )
