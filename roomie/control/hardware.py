"""Which GPUs this machine has: as NVIDIA's driver says, or as somebody declares."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from roomie.control.records import GpuReport
from roomie.devices import DeviceTable
from roomie.errors import DeviceError
from roomie.units import parse_size


@dataclass(frozen=True, kw_only=True)
class LocalGpu:
    """A GPU, or a MIG slice, of this machine.

    Attributes:
        device: its kind, as in `videojam roomie devices`.
        index: how the server counts it; None where models run on the processor instead.
        memory_bytes: where it is not the kind's.
        uuid: as the driver names it; None for a declared one.
        used_bytes: memory taken by all processes; None where nobody tells.
    """

    device: str
    index: int | None = None
    memory_bytes: int | None = None
    uuid: str | None = None
    used_bytes: int | None = None


def report(worker: str, position: int, gpu: LocalGpu) -> GpuReport:
    """As a worker announces it."""
    return GpuReport(
        id=f"{worker}/{position}",
        device=gpu.device,
        memory_bytes=gpu.memory_bytes,
    )


def parse_declared(words: Sequence[str], table: DeviceTable) -> tuple[LocalGpu, ...]:
    """GPUs as declared: ``DEVICE`` or ``DEVICE:MEMORY``, such as ``T4`` or ``A10:12GiB``.

    Sizes are pydantic's: ``12GiB`` is 12 * 2^30 bytes, ``12GB`` 12 * 10^9.

    Their models run on the processor: this is for machines without GPUs.

    Raises:
        DeviceError: an unknown kind, or a size that is none.
    """
    found = []
    for word in words:
        name, colon, size = word.partition(":")
        try:
            device = table.device(name)
        except DeviceError as error:
            raise replace(error, key="--gpu", value=word) from error
        memory = None
        if colon:
            with suppress(ValueError):
                memory = parse_size(size)
            if memory is None or not 0 < memory <= device.memory_bytes:
                raise DeviceError(
                    f"not a size of memory that {name} can have",
                    key="--gpu",
                    value=word,
                    remedy=f"write DEVICE:SIZE with at most {device.memory_bytes} bytes, "
                    f"for example {name}:8GiB",
                )
        found.append(LocalGpu(device=device.name, memory_bytes=memory))
    return tuple(found)


class Driver:
    """NVIDIA's driver on this machine, through NVML (nvidia-ml-py, of the extra ``triton``).

    Args:
        nvml: the module, for tests; imported when None.
    """

    def __init__(self, nvml: Any | None = None) -> None:
        self._nvml: Any = nvml if nvml is not None else _nvml()
        self.fault: str | None = None
        """Why `gpus` found no driver the last time, with what to do about it."""

    def gpus(self, table: DeviceTable) -> tuple[LocalGpu, ...]:
        """All GPUs and MIG slices, none where there is no driver. Slices stand for their GPU.

        Raises:
            DeviceError: one of a kind that is not known.
        """
        nvml = self._nvml
        self.fault = None
        if nvml is None:
            self.fault = (
                "its Python library is not installed (pip install 'videojam[triton]' brings "
                "nvidia-ml-py)"
            )
            return ()
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            self.fault = f"it does not answer ({error}; `nvidia-smi` should work here)"
            return ()
        try:
            found: list[LocalGpu] = []
            for index in range(nvml.nvmlDeviceGetCount()):
                whole = nvml.nvmlDeviceGetHandleByIndex(index)
                slices = self._slices(whole)
                if slices:
                    found += [self._describe(part, None, table) for part in slices]
                else:
                    found.append(self._describe(whole, index, table))
            return tuple(found)
        except nvml.NVMLError as error:
            raise DeviceError(
                f"the GPU driver does not say what there is: {error}",
                key="--gpu",
                remedy="see that `nvidia-smi` works, or declare the GPUs with --gpu",
            ) from error
        finally:
            with suppress(nvml.NVMLError):
                nvml.nvmlShutdown()

    def _slices(self, whole: Any) -> list[Any]:
        nvml = self._nvml
        try:
            enabled, _ = nvml.nvmlDeviceGetMigMode(whole)
        except nvml.NVMLError:
            return []  # a kind without MIG
        if not enabled:
            return []
        found = []
        for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(whole)):
            with suppress(nvml.NVMLError):  # not every number is taken
                found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(whole, number))
        return found

    def _describe(self, handle: Any, index: int | None, table: DeviceTable) -> LocalGpu:
        nvml = self._nvml
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        return LocalGpu(
            device=device_name(_text(nvml.nvmlDeviceGetName(handle)), table),
            index=index,
            memory_bytes=int(memory.total),
            uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
            used_bytes=int(memory.used),
        )


def choose(gpus: Sequence[LocalGpu], wanted: Sequence[str]) -> tuple[LocalGpu, ...]:
    """The GPUs that one server is to use, counted as it will count them.

    Args:
        gpus: of the machine.
        wanted: UUIDs or their beginnings; all when empty.

    Raises:
        DeviceError: an unknown UUID, or several MIG slices: a process can use only one.
    """
    chosen = list(gpus)
    if wanted:
        chosen = []
        for word in wanted:
            hits = [gpu for gpu in gpus if gpu.uuid is not None and gpu.uuid.startswith(word)]
            if len(hits) != 1:
                have = ", ".join(f"{gpu.uuid} ({gpu.device})" for gpu in gpus) or "none"
                raise DeviceError(
                    f"{'no' if not hits else 'more than one'} GPU of this machine is meant",
                    key="--device",
                    value=word,
                    remedy=f"it has: {have}",
                )
            chosen += hits
    if len(chosen) > 1 and any("/" in gpu.device for gpu in chosen):
        have = ", ".join(f"{gpu.uuid} ({gpu.device})" for gpu in chosen)
        raise DeviceError(
            "a Triton server can use only one MIG slice",
            key="--device",
            remedy=f"start a node for each, with --device UUID and one --node name: {have}",
        )
    return tuple(
        LocalGpu(
            device=gpu.device,
            index=position,
            memory_bytes=gpu.memory_bytes,
            uuid=gpu.uuid,
            used_bytes=gpu.used_bytes,
        )
        for position, gpu in enumerate(chosen)
    )


_ALIASES = {
    "H100 80GB HBM3": "H100-SXM5-80GB",
    "Tesla V100-SXM2-32GB": "V100-SXM2-32GB",
    "Tesla T4": "T4",
}
"""What the driver calls some kinds, without ``NVIDIA``."""
_MIG = re.compile(r"^(?P<whole>.+?) MIG (?P<profile>\d+g\.\d+gb)$")


def device_name(driver_name: str, table: DeviceTable) -> str:
    """The kind that the driver means.

    Args:
        driver_name: for example ``NVIDIA A100-SXM4-40GB MIG 1g.5gb``.
        table: kinds that are known.

    Raises:
        DeviceError: it is not among them.
    """
    name = driver_name.removeprefix("NVIDIA ").strip()
    match = _MIG.match(name)
    whole, profile = (match["whole"], f"/{match['profile']}") if match else (name, "")
    return table.device(_ALIASES.get(whole, whole) + profile).name


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _nvml() -> Any | None:
    try:
        import pynvml  # noqa: PLC0415 - optional
    except ImportError:
        return None
    return pynvml
