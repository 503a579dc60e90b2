"""GPUs and their limits per streaming multiprocessor (SM), by compute capability.

The table is data (``data/devices.yaml``); a file of the same form adds to it or replaces entries.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from dataflow.config import load_declaration
from roomie.errors import DeviceError

GIB = 1024**3
_ADD = "add it in a file of the form of roomie/data/devices.yaml, and name that with --devices"

_Count = Annotated[int, Field(ge=1)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Capability = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]?\.[0-9]$")]


class SmLimits(BaseModel):
    """What one SM can hold at a time."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    warps: _Count
    """Most resident warps of 32 threads."""
    blocks: _Count
    """Most resident blocks."""
    registers: _Count = 65536
    """32-bit registers of the SM, which its four partitions share equally."""
    shared_memory: _Count
    """Bytes of shared memory of the SM."""
    shared_memory_per_block: _Count
    """Most bytes of shared memory that a block may ask for (the opt-in limit)."""
    shared_memory_unit: _Count
    """Bytes to which a block's shared memory is rounded up."""
    reserved_shared_memory: Annotated[int, Field(ge=0)]
    """Bytes that the driver takes for itself in each block."""
    registers_per_thread: _Count = 255
    """Most registers a thread may use."""
    register_unit: _Count = 256
    """Registers to which a warp's are rounded up."""
    threads_per_block: _Count = 1024
    """Most threads of a block."""


class _DeviceEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    compute_capability: _Capability
    """As CUDA numbers it, in quotes: "8.0"."""
    sms: _Count
    """Streaming multiprocessors."""
    memory: _Count
    """Bytes of device memory."""
    fp32_tflops: _Positive
    """Peak of plain FP32, TFLOP/s."""
    tf32_tflops: _Positive | None = None
    """Peak of dense TF32, TFLOP/s; absent before compute capability 8.0."""
    bandwidth_gb_s: _Positive
    """Peak memory bandwidth, GB/s."""


class _MigProfile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    sms: _Count
    """Streaming multiprocessors of the slice."""
    memory_gib: _Positive
    """GiB of the slice's memory."""
    compute_slices: Annotated[int, Field(ge=1, le=7)]
    """Of seven."""
    memory_slices: Annotated[int, Field(ge=1, le=8)]
    """Of eight; the slice has that share of the bandwidth."""


class _Mig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    of: list[str]
    """Whole GPUs that have these profiles."""
    profiles: dict[str, _MigProfile]
    """By name, for example 1g.5gb."""


class DeviceFile(BaseModel):
    """A table of devices as written."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    compute_capabilities: dict[_Capability, SmLimits] = {}
    """Limits per SM, by compute capability."""
    devices: dict[str, _DeviceEntry] = {}
    """Whole GPUs by name."""
    mig: list[_Mig] = []
    """MIG profiles of whole GPUs."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """A GPU, or a MIG slice of one.

    Attributes:
        name: for example ``A100-SXM4-40GB`` or ``A100-SXM4-40GB/1g.5gb``.
        compute_capability: for example ``8.0``.
        limits: of one SM.
        sms: streaming multiprocessors.
        memory_bytes: device memory.
        fp32_tflops: peak of plain FP32; 0 where it is not known.
        tf32_tflops: peak of dense TF32, 0 where there is none.
        bandwidth_gb_s: peak memory bandwidth; 0 where it is not known.
        parent: the whole GPU, for a MIG slice.
        compute_slices: of seven, for a MIG slice.
        memory_slices: of eight, for a MIG slice.
    """

    name: str
    compute_capability: str
    limits: SmLimits
    sms: int
    memory_bytes: int
    fp32_tflops: float = 0.0
    tf32_tflops: float = 0.0
    bandwidth_gb_s: float = 0.0
    parent: str | None = None
    compute_slices: int = 7
    memory_slices: int = 8


@dataclass(frozen=True)
class DeviceTable:
    """Devices by name, and limits by compute capability."""

    devices: Mapping[str, Device]
    limits: Mapping[str, SmLimits]

    def device(self, name: str) -> Device:
        """The device of that name.

        Raises:
            DeviceError: there is none.
        """
        found = self.devices.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self.devices, n=1)
            hint = f"did you mean {near[0]!r}? if not, " if near else ""
            raise DeviceError(
                "a GPU whose limits are not known",
                key="device",
                value=name,
                remedy=f"{hint}{_ADD}; `videojam roomie devices` lists those that are known",
            )
        return found

    def limits_of(self, compute_capability: str) -> SmLimits:
        """Limits per SM of a compute capability.

        Raises:
            DeviceError: they are not known.
        """
        found = self.limits.get(compute_capability)
        if found is None:
            raise DeviceError(
                "a compute capability whose limits are not known",
                key="compute_capability",
                value=compute_capability,
                remedy=f"known are {', '.join(sorted(self.limits))}; {_ADD}",
            )
        return found


def load_devices(extra: Path | None = None) -> DeviceTable:
    """The devices that ship, and those of a file of one's own, which win.

    Raises:
        DeviceError: the file contradicts itself.
        ConfigError: the file cannot be read or declares something wrong.
    """
    table = _builtin()
    if extra is None:
        return table
    declared = load_declaration(
        extra, DeviceFile, remedy="write one of the form of roomie/data/devices.yaml"
    )
    return _merge(table, declared, extra)


@lru_cache(maxsize=1)
def _builtin() -> DeviceTable:
    with resources.as_file(resources.files("roomie") / "data" / "devices.yaml") as file:
        return _merge(DeviceTable({}, {}), load_declaration(file, DeviceFile, remedy=""), file)


def _merge(table: DeviceTable, declared: DeviceFile, file: Path) -> DeviceTable:
    limits = {**table.limits, **declared.compute_capabilities}
    # Devices follow limits that were replaced.
    devices = {
        name: replace(device, limits=limits[device.compute_capability])
        for name, device in table.devices.items()
    }
    for name, entry in declared.devices.items():
        if entry.compute_capability not in limits:
            raise DeviceError(
                "its compute capability has no limits",
                file=file,
                key=f"devices.{name}.compute_capability",
                value=entry.compute_capability,
                remedy="add it under compute_capabilities in the same file",
            )
        devices[name] = Device(
            name=name,
            compute_capability=entry.compute_capability,
            limits=limits[entry.compute_capability],
            sms=entry.sms,
            memory_bytes=entry.memory,
            fp32_tflops=entry.fp32_tflops,
            tf32_tflops=entry.tf32_tflops or 0.0,
            bandwidth_gb_s=entry.bandwidth_gb_s,
        )
    for position, group in enumerate(declared.mig):
        for parent in group.of:
            if parent not in devices:
                raise DeviceError(
                    "a MIG profile of a device that is not declared",
                    file=file,
                    key=f"mig.{position}.of",
                    value=parent,
                    remedy=f"known devices: {', '.join(sorted(devices))}",
                )
            for profile, slice_ in group.profiles.items():
                name = f"{parent}/{profile}"
                devices[name] = _slice(devices[parent], name, slice_)
    return DeviceTable(devices, limits)


def _slice(whole: Device, name: str, profile: _MigProfile) -> Device:
    share = profile.sms / whole.sms
    return replace(
        whole,
        name=name,
        sms=profile.sms,
        memory_bytes=int(profile.memory_gib * GIB),
        fp32_tflops=whole.fp32_tflops * share,
        tf32_tflops=whole.tf32_tflops * share,
        bandwidth_gb_s=whole.bandwidth_gb_s * profile.memory_slices / 8,
        parent=whole.name,
        compute_slices=profile.compute_slices,
        memory_slices=profile.memory_slices,
    )
